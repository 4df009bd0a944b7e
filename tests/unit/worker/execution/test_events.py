"""What the executor tells those who watch: everything that happens, nothing that must not be seen, at no risk."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.fakes import START_MS, Step
from tests.unit.worker.execution.executor_fixture import (
    ACCEPTED,
    BUSY,
    CANCEL,
    CLOSE,
    INVALID,
    LOST,
    NEVER_LEFT,
    WITHDRAW,
    ExecutorFixture,
    dies,
)
from worker.execution.events import CommandRef, Observer, Observers
from worker.ledger.base import Halted
from worker.observability.log_lines import LogEvent, LogObserver
from worker.venues.http.base import Response, Timing

DATE = "Thu, 01 Jan 1970 00:16:40 GMT"
EVENTS = [name for name in vars(Observer) if not name.startswith("_")]


class Recorder(Observer):
    """Keeps the events that it gets."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in EVENTS:
            return lambda *arguments: self.events.append((name, *arguments))
        return super().__getattribute__(name)

    @property
    def names(self) -> list[str]:
        """The events in their order."""
        return [name for name, *_ in self.events]


class Broken(Observer):
    """Fails at every event."""

    def __getattribute__(self, name: str) -> Any:
        return self._fail if name in EVENTS else super().__getattribute__(name)

    def _fail(self, *arguments: Any) -> None:
        raise ZeroDivisionError(f"quotes {arguments}")


def watched(*steps: Step, observers: tuple[Observer, ...] = ()) -> tuple[ExecutorFixture, Recorder]:
    """An executor with observers, the last of which records."""
    fixture, recorder = ExecutorFixture(*steps), Recorder()
    fixture.observers = (*observers, recorder)
    return fixture, recorder


def test_a_command_is_told_from_begin_to_end() -> None:
    """A transition that nobody hears of is in no metric and no log line."""
    fixture, seen = watched(BUSY, ACCEPTED)
    fixture.run("withdraw", WITHDRAW, enqueued_at=START_MS - 1500)
    assert seen.names == ["began", "attempted", "waits", "cooled_down", "throttled", "attempted", "ended"]
    assert seen.events[0][2:] == (1.5, 1, 1)
    ref, end = seen.events[-1][1:]
    assert ref == CommandRef("id", "withdraw", "main", "everstrike")
    assert (end.outcome, end.reason, end.attempts) == ("accepted", "ok", 2)


def test_why_a_command_waits_is_told_without_its_amounts() -> None:
    """The venue may repeat them, and the words go into the log."""
    body = b'{"code": 503, "msg": "order 1 at 61234.5 was not taken", "result": {}}'
    fixture, seen = watched(replace(INVALID, body=body), ACCEPTED)
    fixture.hidden = frozenset({"pair"})
    fixture.run("close", {"account": "main", "pair": "61234.5"})
    (because,) = (event[-1] for event in seen.events if event[0] == "waits")
    assert because == "the venue answered 503 with an unlisted message: order 1 at *** was not taken"


@pytest.mark.parametrize(("arguments", "event"), [(WITHDRAW, "replayed"), ({**WITHDRAW, "qty": "2"}, "id_reused")])
def test_an_id_sent_again_is_told(arguments: dict[str, Any], event: str) -> None:
    """Counted as what it is, and not as one more command."""
    fixture, seen = watched(ACCEPTED)
    fixture.run("withdraw", WITHDRAW)
    seen.events.clear()
    fixture.run("withdraw", arguments)
    assert seen.names == [event]


@pytest.mark.parametrize(
    ("command", "arguments", "events"),
    [
        ("cancel", CANCEL, ["redelivered", "began", "attempted", "ended"]),
        ("withdraw", WITHDRAW, ["redelivered", "orphaned", "ended"]),
    ],
)
def test_a_dead_owner_is_told(command: str, arguments: dict[str, Any], events: list[str]) -> None:
    """A takeover, by its fence, and an orphan are how a killed worker shows."""
    fixture, seen = watched(dies, ACCEPTED)
    fixture.is_killed(command, arguments)
    seen.events.clear()
    fixture.run(command, arguments, redelivered=True)
    assert seen.names == events
    assert [event[3] for event in seen.events if event[0] == "began"] == ([2] if command == "cancel" else [])


def test_what_is_never_begun_ends_too() -> None:
    """Refused by its arguments, or halted: one end each, and no begin."""
    fixture, seen = watched()
    fixture.run("close", {"account": "main"}, "a")
    fixture.ledger.halts["*/close"] = Halted("ann", "why", 1)
    fixture.run("close", CLOSE, "b")
    assert seen.names == ["ended", "ended"]
    assert [(end.outcome, end.reason) for _, _, end in seen.events] == [("not_sent", "invalid"), ("not_sent", "halted")]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (replace(ACCEPTED, timing=Timing(7.0, 7.25)), (200, True, "executed", 0.25)),
        (LOST, (None, True, "unknown", None)),
        (NEVER_LEFT, (None, False, "not_executed", None)),
    ],
)
def test_an_attempt_says_what_left_and_when(step: Step, expected: tuple[Any, ...]) -> None:
    """Latency and signature age are facts of the transport."""
    fixture, seen = watched(step, ACCEPTED)
    fixture.run("withdraw", WITHDRAW)
    event = seen.events[1][2]
    assert (event.http_status, event.bytes_left, event.proof, event.latency_seconds) == expected
    assert (event.signature_age_seconds is None) == (expected[3] is None)


@pytest.mark.parametrize(("age", "date"), [("0", DATE), ("600", "")])
def test_the_date_of_what_a_cache_kept_is_no_clock(age: str, date: str) -> None:
    """This machine's clock would be told as ten minutes ahead."""
    fixture, seen = watched(replace(ACCEPTED, headers={"Date": DATE, "Age": age}))
    fixture.run("withdraw", WITHDRAW)
    assert seen.events[1][2].venue_date == date


def test_nothing_is_told_that_must_not_be_seen() -> None:
    """No argument, no answer, no key: whoever watches can't write down what it never had."""
    echo = Response(200, b'{"code":200,"msg":"0xabc","result":{"id":"secret-of-main","address":"0xabc"}}')
    fixture, seen = watched(BUSY, echo)
    fixture.run("withdraw", WITHDRAW)
    text = repr(seen.events)
    assert "withdraw" in text
    assert not [hidden for hidden in ("0xabc", "ETH", "key-of-main", "secret-of-main") if hidden in text]


def test_an_observer_that_fails_is_logged_once_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A full disk under the metrics would otherwise stop all trading."""
    fixture, seen = watched(BUSY, ACCEPTED, BUSY, ACCEPTED)
    observers = Observers(Broken(), seen)
    fixture.observers = (observers,)
    for command_id in ("a", "b"):
        assert fixture.run("withdraw", WITHDRAW, command_id).outcome.value == "accepted"
    assert seen.names == ["began", "attempted", "waits", "cooled_down", "throttled", "attempted", "ended"] * 2
    failures = [record.getMessage() for record in caplog.records if "Broken fails" in record.getMessage()]
    assert len(failures) == 6, failures
    assert all("ZeroDivisionError at test_events.py:" in line for line in failures)
    assert "quotes" not in caplog.text


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_reaches_every_observer(event: str) -> None:
    """An event that the fan-out forgets."""
    first, second = Recorder(), Recorder()
    method = getattr(Observers(first, second), event)
    arguments = range(method.__code__.co_argcount - 1)
    method(*arguments)
    assert first.events == second.events == [(event, *arguments)]


def test_a_line_for_each_transition(caplog: pytest.LogCaptureFixture) -> None:
    """Which command, which account, which attempt: what anyone asks at night. Of an unknown a person is warned."""
    caplog.set_level("INFO")
    ExecutorFixture(BUSY, LOST).run("withdraw", WITHDRAW, enqueued_at=START_MS)
    records = [record for record in caplog.records if isinstance(record.msg, LogEvent)]
    lines: list[LogEvent] = [record.msg for record in records]  # type: ignore[misc] # see above
    assert [line.event for line in lines] == [
        "begin",
        "attempt",
        "waiting",
        "cool_down",
        "throttled",
        "attempt",
        "cool_down",
        "end",
    ]
    for line in lines:
        assert {"command_id": "id", "command": "withdraw", "account": "main"}.items() <= line.fields.items()
    assert [line.fields.get("attempt") for line in lines] == [1, 1, 1, None, None, 2, None, 2]
    assert str(lines[-1]) == "end id=id command=withdraw account=main attempt=2 outcome=unknown reason=lost_reply"
    assert records[-1].levelname == "WARNING"


def test_log_lines_alone_are_enough() -> None:
    """Every event has a line, or is one that another module writes."""
    assert {name for name in EVENTS if name not in vars(LogObserver)} == {"redelivered", "republished", "badly_sealed"}
