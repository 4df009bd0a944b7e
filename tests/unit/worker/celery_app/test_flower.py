"""Flower: what it shows of results and workers, whom it lets in, and what it must not store."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.contrib.abortable import ABORTED
from flower.events import EventsState

from worker.broker.base import Refused
from worker.celery_app import flower as flower_guard
from worker.celery_app.flower import _list_offline_workers, redacted_result
from worker.celery_app.results import ReportBackend


def test_nothing_but_a_report_becomes_a_result() -> None:
    """Flower's abort would overwrite the report of a command that failed."""
    backend = ReportBackend(app=Celery("test", set_as_current=False), url="redis://127.0.0.1:1/1")
    with pytest.raises(Refused, match="its result is its report"):
        backend.store_result("id", None, ABORTED)


def test_results_in_flower_are_without_the_venues_words() -> None:
    """The venue repeats amount and address in what it answers."""
    report = {"outcome": "accepted", "result": {"address": "0x1"}, "positions": None, "venue_message": "0x1"}
    told = redacted_result({"task-id": "1", "state": "SUCCESS", "result": report})
    assert told["result"] == {"outcome": "accepted", "result": "***", "positions": None, "venue_message": "***"}
    error = "OrderRejected(\"rejected/refused: can't send 0x1\", command_id='1')"
    told = redacted_result({"state": "FAILURE", "result": error, "traceback": "…0x1…"})
    assert (told["result"], told["traceback"]) == ("OrderRejected: rejected/refused", None)
    assert redacted_result({"state": "FAILURE", "result": "0x1"})["result"] == "***"
    assert redacted_result({"state": "PENDING"}) == {"state": "PENDING"}


def test_a_worker_whose_end_alone_was_heard_is_offline() -> None:
    """Flower started a moment before the worker stopped: it would not be listed, and after its last command's end be
    online for two minutes."""
    seen = type("Seen", (EventsState,), {})
    _list_offline_workers(seen)
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
    flower_guard._listen_on_loopback(command)
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
