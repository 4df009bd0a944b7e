"""Remote control: what is refused, and what a setting may allow."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app.control import Control
from celery.worker import state
from celery.worker.control import Panel
from kombu.pidbox import Mailbox

from producers.settings import SettingsError
from worker.broker.base import Refused
from worker.celery_app.remote_control import (
    ALWAYS_REFUSED,
    APPLY,
    REFUSED_UNLESS_ALLOWED,
    RestrictedControl,
    refusal,
    restrict_worker,
)
from worker.settings import REMOTE_CONTROLS, WorkerSettings

LOOKING = {"clock", "conf", "enable_events", "disable_events", "heartbeat"}
"""Control commands that change nothing of a command's way."""


def test_every_remote_control_is_known() -> None:
    """A control command that a new Celery brings would be permitted unseen."""
    control = {name for name, meta in Panel.meta.items() if meta.type == "control"}
    assert control - LOOKING == {*ALWAYS_REFUSED, *REFUSED_UNLESS_ALLOWED}
    assert {*REFUSED_UNLESS_ALLOWED, APPLY} == set(REMOTE_CONTROLS), "what settings take is what is permitted"


def test_what_may_be_allowed_and_what_never() -> None:
    """The setting opens what it names, and nothing opens what loses commands."""
    everything = frozenset({*ALWAYS_REFUSED, *REFUSED_UNLESS_ALLOWED})
    assert {name for name in everything if refusal(name, everything)} == set(ALWAYS_REFUSED)
    assert {name for name in everything if refusal(name, frozenset())} == everything
    assert refusal("ping", frozenset()) is None


@pytest.mark.parametrize("method", ["revoke", "terminate", "purge", "discard_all", "rate_limit", "shutdown"])
def test_our_own_app_refuses_before_it_asks(method: str) -> None:
    """Flower and `celery control` use the app: without this they would say that it was done."""
    app = Celery("test", broker="redis://127.0.0.1:1", set_as_current=False)
    app.control_cls = RestrictedControl
    method_of = getattr(app.control, method)
    given = [p for p in inspect.signature(getattr(Control, method)).parameters.values() if p.default is p.empty][1:]
    with pytest.raises(Refused, match=r"^refused: "):
        method_of(*["x" for parameter in given if parameter.kind is not parameter.VAR_KEYWORD])


def test_settings_name_what_is_hidden_and_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt name would hide nothing, or allow nothing, silently."""
    monkeypatch.setenv("ORDERS_HIDE_ARGUMENTS", "address, order_id")
    monkeypatch.setenv("ORDERS_REMOTE_CONTROL", "shutdown")
    settings = WorkerSettings()
    assert settings.hidden_arguments == {"address", "order_id"}
    assert settings.allowed_remote_controls == {"shutdown"}
    monkeypatch.setenv("ORDERS_HIDE_ARGUMENTS", "adress")
    monkeypatch.setenv("ORDERS_REMOTE_CONTROL", "revoke")
    with pytest.raises(SettingsError, match=r"ORDERS_HIDE_ARGUMENTS: knows no adress.*ORDERS_REMOTE_CONTROL: knows no"):
        WorkerSettings.load()


def test_who_asks_changes_neither_the_clock_nor_where_the_answer_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker may write to every queue, and its clock stands in each of its messages: neither is for askers to use."""
    app = Celery("test", broker="memory://", set_as_current=False)
    app.control_cls = RestrictedControl
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(Mailbox, "_publish_reply", lambda _, *what, **__: sent.append(what[1:3]))
    node = app.control.mailbox.Node("w1", handlers={"ping": lambda _: "pong"}, state=None)
    asked = {"method": "ping", "ticket": "t"}
    for exchange, key in (
        ("", "orders.withdraw"),
        (["x"], "k"),
        ("reply.celery.pidbox", "k" * 256),
        ("orders.close", ""),
    ):
        node.handle_message({**asked, "reply_to": {"exchange": exchange, "routing_key": key}})
    assert sent == []
    huge = SimpleNamespace(headers={"clock": 10**4299})
    node.handle_message({**asked, "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "me"}}, huge)
    assert sent == [("reply.celery.pidbox", "me")]
    assert app.clock.value < 10


def test_ids_that_a_greeting_brings_are_not_kept() -> None:
    """Fifty thousand of them, each as long as a message, would be some gigabytes."""
    before = dict(Panel.data)
    try:
        restrict_worker(frozenset(), ())
        assert Panel.data["hello"](
            SimpleNamespace(hostname="w1", app=Celery(set_as_current=False)), "w2", revoked=["x"]
        )
        assert "x" not in state.revoked
    finally:
        Panel.data.update(before)
