"""What is shown of arguments, and what remote control is refused for: rules that need no worker to be checked."""

import inspect as reading
import time
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from celery import Celery
from celery.app.control import Control
from celery.contrib.abortable import ABORTED
from celery.worker.control import Panel
from flower.events import EventsState

from producers.commands import COMMANDS
from producers.redaction import HIDDEN, hidden_values, redact_text, shown_arguments
from producers.settings import SettingsError
from worker.broker.base import Refused
from worker.celery_app import flower as flower_guard
from worker.celery_app.flower import _list_the_gone, shown_result
from worker.celery_app.remote_control import APPLY, NEVER, PERMITTED, LookingControl, refusal
from worker.celery_app.results import ReportBackend
from worker.settings import REMOTE_CONTROLS, WorkerSettings

LOOKING = {"clock", "conf", "enable_events", "disable_events", "heartbeat"}
"""Control commands that change nothing of a command's way."""


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({"account": "main", "asset": "ETH"}, "{'account': 'main', 'asset': 'ETH'}"),
        ({"qty": 1.5, "address": "0x1"}, "{'qty': '***', 'address': '***'}"),
        ({"account": "main", "api_key": "k"}, "{'account': 'main', 'api_key': '***'}"),
        ({"account": {"qty": "1"}}, "{'account': '***'}"),
        ({"account": "a" * 500}, "{'account': '***'}"),
        ({"deadline": None, "account": True}, "{'deadline': None, 'account': True}"),
        ({"x" * 500: 1}, "{'" + "x" * 40 + "': '***'}"),
        ([1, 2], "***"),
        (None, "***"),
    ],
)
def test_arguments_as_they_are_shown(arguments: Any, shown: str) -> None:
    """An amount, an address, or an argument that the command does not have would be in Flower and in logs."""
    assert shown_arguments("orders.withdraw", arguments) == shown


def test_a_message_with_many_arguments_is_shown_short() -> None:
    """An event as long as its message would let a sender fill the monitor's memory."""
    assert len(shown_arguments("orders.close", {f"name{n}": n for n in range(10_000)})) < 1000


def test_every_amount_and_address_of_every_command_is_hidden() -> None:
    """A command that gets a new argument of this kind must hide it as well."""
    for command in COMMANDS.values():
        for name, field in command.model_fields.items():
            kinds = str((field.annotation, get_args(field.annotation), field.metadata))
            assert ("Decimal" in kinds) <= (name in HIDDEN), (command, name)
    assert "address" in HIDDEN


@pytest.mark.parametrize(
    ("text", "values", "left"),
    [
        ("can't send 1.5 to 0xabc", ["1.5", "0xabc"], "can't send *** to ***"),
        ("11.5 and 1.55 and 21.5", ["1.5"], "11.5 and 1.55 and 21.5"),
        ("have 1, not 10 or 1.5 or 0.1.", ["1"], "have ***, not 10 or 1.5 or 0.1."),
        ("(1).", ["1"], "(***)."),
        ("a+b", ["a+b"], "***"),
        ("(a.*", ["a.*", "("], "******"),
        ("11 1 1", ["1"], "11 *** ***"),
        ("can't send to 0xabcde…", ["0xabcdef01"], "can't send to ***…"),
        ("can't send to 0xa…", ["0xabcdef01"], "can't send to 0xa…"),
        ("can't send to 10xabc…", ["0xabcdef01"], "can't send to 10xabc…"),
        ("can't send 1.", ["1", ""], "can't send ***."),
        ("x" * 1000, ["x" * 100_000], "x" * 1000),
    ],
)
def test_hidden_values_are_struck_out_of_words(text: str, values: list[str], left: str) -> None:
    """The venue may repeat an amount or an address; but `1` must not eat every number."""
    assert redact_text(text, values) == left


@pytest.mark.parametrize(
    ("qty", "told"),
    [("0.0500", "0.05"), ("0.0500", "0.0500"), (1e-05, "0.00001"), ("5e-2", "0.05"), (3, "3"), ("many", "many")],
)
def test_an_amount_is_hidden_as_the_venue_repeats_it(qty: Any, told: str) -> None:
    """It was sent to the worker in one way of writing and to the venue in another."""
    values = hidden_values({"account": "main", "qty": qty, "address": ["x"]})
    assert redact_text(f"can't take {told} now", values) == "can't take *** now"


@pytest.mark.parametrize("qty", ["1e999999999", "nan", "-inf", "", "1" * 5000, True, None])
def test_what_is_no_amount_is_struck_out_as_it_is(qty: Any) -> None:
    """A sender may write anything, and the worker must not choke on it."""
    assert hidden_values({"qty": qty}) == ([str(qty)] if qty else [])


def test_every_remote_control_is_known() -> None:
    """A control command that a new Celery brings would be permitted unseen."""
    control = {name for name, meta in Panel.meta.items() if meta.type == "control"}
    assert control - LOOKING == {*NEVER, *PERMITTED}
    assert {*PERMITTED, APPLY} == set(REMOTE_CONTROLS), "what settings take is what is permitted"


def test_what_may_be_allowed_and_what_never() -> None:
    """The setting opens what it names, and nothing opens what loses commands."""
    everything = frozenset({*NEVER, *PERMITTED})
    assert {name for name in everything if refusal(name, everything)} == set(NEVER)
    assert {name for name in everything if refusal(name, frozenset())} == everything
    assert refusal("ping", frozenset()) is None


@pytest.mark.parametrize("method", ["revoke", "terminate", "purge", "discard_all", "rate_limit", "shutdown"])
def test_our_own_app_refuses_before_it_asks(method: str) -> None:
    """Flower and `celery control` use the app: without this they would say that it was done."""
    app = Celery("test", broker="redis://127.0.0.1:1", set_as_current=False)
    app.control_cls = LookingControl
    method_of = getattr(app.control, method)
    given = [p for p in reading.signature(getattr(Control, method)).parameters.values() if p.default is p.empty][1:]
    with pytest.raises(Refused, match=r"^refused: "):
        method_of(*["x" for parameter in given if parameter.kind is not parameter.VAR_KEYWORD])


def test_nothing_but_a_report_becomes_a_result() -> None:
    """Flower's abort would overwrite the report of a command that failed."""
    backend = ReportBackend(app=Celery("test", set_as_current=False), url="redis://127.0.0.1:1/1")
    with pytest.raises(Refused, match="its result is its report"):
        backend.store_result("id", None, ABORTED)


def test_results_in_flower_are_without_the_venues_words() -> None:
    """The venue repeats amount and address in what it answers."""
    report = {"outcome": "accepted", "result": {"address": "0x1"}, "positions": None, "venue_message": "0x1"}
    told = shown_result({"task-id": "1", "state": "SUCCESS", "result": report})
    assert told["result"] == {"outcome": "accepted", "result": "***", "positions": None, "venue_message": "***"}
    error = "OrderRejected(\"rejected/refused: can't send 0x1\", command_id='1')"
    told = shown_result({"state": "FAILURE", "result": error, "traceback": "…0x1…"})
    assert (told["result"], told["traceback"]) == ("OrderRejected: rejected/refused", None)
    assert shown_result({"state": "FAILURE", "result": "0x1"})["result"] == "***"
    assert shown_result({"state": "PENDING"}) == {"state": "PENDING"}


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


def test_nothing_is_hidden_when_that_is_asked_for() -> None:
    """An empty setting means what it says; arguments that a command does not have stay hidden."""
    settings = WorkerSettings(hide_arguments="")
    shown = shown_arguments("orders.withdraw", {"qty": "1", "secret": "s"}, settings.hidden_arguments)
    assert shown == "{'qty': '1', 'secret': '***'}"


def test_a_worker_whose_end_alone_was_heard_is_offline() -> None:
    """Flower started a moment before the worker stopped: it would not be listed, and after its last command's end be
    online for two minutes."""
    seen = type("Seen", (EventsState,), {})
    _list_the_gone(seen)
    state = seen(max_tasks_in_memory=10)
    now = time.time()

    def hear(kind: str, at: float, **more: Any) -> bool:
        told = {"hostname": "w1@here", "timestamp": at, "local_received": at, "clock": 1, **more}
        state.event({"type": kind, **told})
        return bool(state.workers["w1@here"].alive)

    assert not hear("worker-offline", now - 10, freq=2.0)
    assert not hear("task-succeeded", now - 5, uuid="1", name="orders.close", result="", runtime=1.0)
    assert hear("worker-heartbeat", now, freq=2.0)
    state.event(
        {"type": "task-sent", "hostname": "sender", "timestamp": now, "local_received": now, "uuid": "2", "clock": 2}
    )
    assert list(state.workers) == ["w1@here"]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, "127.0.0.1"),
        ({"address": "0.0.0.0"}, "0.0.0.0"),  # noqa: S104 - what somebody chose
        ({"basic_auth": ["night:watch"]}, ""),
        ({"auth": "ann@example.org"}, ""),
        ({"unix_socket": "/run/flower"}, ""),
    ],
)
def test_flower_without_a_login_lets_in_this_machine_alone(
    given: dict[str, object], address: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless an address is chosen; it is said how."""
    options = SimpleNamespace(**{"address": "", "unix_socket": "", "basic_auth": [], "auth": "", **given})
    command = SimpleNamespace(options=options, apply_options=lambda *_: None)
    flower_guard._keep_to_loopback(command)
    command.apply_options("flower", [])
    assert options.address == address
    assert ("--basic_auth" in caplog.text) == (not given)


def test_flower_listens_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long outage of the broker it would show every worker offline for as long again."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    short = flower_guard.ShortSleeps()
    for seconds in (2, 4, 8, 4096):
        short.sleep(seconds)
    assert slept == [2, 4, 5, 5]
    assert short.monotonic() > 0
