"""Leases over a ledger that is away or forgets, other owners, and a worker that is told to stop."""

from math import inf

import pytest

from producers.report import Outcome, Reason
from tests.support.fakes import START_MS
from tests.unit.worker.execution.executor_fixture import (
    ACCEPTED,
    ACCEPTED_AT_LAST,
    ACCEPTED_AT_ONCE,
    BUSY,
    BUSY_FOR_8_SECONDS,
    CANCEL,
    LOST,
    NOT_FOUND,
    POSITIONS,
    WITHDRAW,
    Ended,
    ExecutorFixture,
    dies,
    ended,
)
from worker.execution.events import CommandRef, EndEvent, Observer
from worker.execution.executor import MAX_LEASES
from worker.ledger.base import Claim
from worker.venues.http.base import NoResponse, Response


def test_a_yes_that_comes_after_a_no_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody settled it as not executed while its sender slept; the record stands, and a person must look."""
    fixture = ExecutorFixture()
    outcomes: list[str] = []

    class Ends(Observer):
        def ended(self, ref: CommandRef, end: EndEvent) -> None:
            outcomes.append(end.outcome)

    fixture.observers = (Ends(),)

    @fixture.step
    def oversleep() -> Response:
        fixture.clock.turn(60)
        unknown = fixture.run("withdraw", WITHDRAW)
        not_sent = unknown.model_copy(update={"outcome": Outcome.NOT_SENT, "reason": Reason.UNAVAILABLE})
        fixture.ledger.resolve(not_sent, who="ann", why="not listed")
        return ACCEPTED

    report = fixture.run("withdraw", WITHDRAW)
    assert (report.outcome, report.replayed) == (Outcome.NOT_SENT, True)
    assert "id=id stands as not_sent, and its own attempt was accepted" in caplog.text
    assert outcomes == ["unknown"]


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done, reply lost"])
@pytest.mark.parametrize("move", ["begin", "pause", "settle"])
def test_a_ledger_that_is_away_is_waited_for(move: str, done: bool) -> None:
    """Nothing is sent meanwhile, and nothing is done twice when only the reply was lost."""
    fixture = ExecutorFixture(BUSY, ACCEPTED)
    fixture.ledger.fail, fixture.ledger.done_before_failing = {move: 3}, done
    report = fixture.run("withdraw", WITHDRAW)
    record = fixture.ledger.read("id")
    assert (report.outcome, report.attempts) == (Outcome.ACCEPTED, 2)
    assert record is not None
    assert (record.progress.tries, record.report) == (2, report)


@pytest.mark.parametrize("when", ["before the pause", "during the wait"])
def test_a_ledger_that_has_forgotten_makes_no_doubt_go_away(when: str) -> None:
    """Its server was restarted without its last writes while a cancel of lost reply was to be made again: "not found"
    may still be the echo of the first attempt."""
    fixture = ExecutorFixture(LOST, NOT_FOUND)
    if when == "before the pause":
        fixture.transport.steps[0] = lambda: fixture.ledger.forget("id") or LOST
    else:
        fixture.clock.on_sleep = lambda _: fixture.ledger.forget("id")
    report = fixture.run("cancel", CANCEL)
    assert ended(report) == ("unknown", "refused_after_lost", 2)
    assert report.first_sent_at == START_MS


@pytest.mark.parametrize(
    ("command", "arguments", "mine", "other", "expected"),
    [
        ("withdraw", WITHDRAW, ACCEPTED, "between two attempts", ACCEPTED_AT_ONCE),
        ("withdraw", WITHDRAW, ACCEPTED, "sending", ACCEPTED_AT_ONCE),
        ("withdraw", WITHDRAW, LOST, "between two attempts", ("unknown", "lost_reply", 1)),
        ("cancel", CANCEL, ACCEPTED, "between two attempts", ACCEPTED_AT_ONCE),
        ("cancel", CANCEL, ACCEPTED, "sending", ACCEPTED_AT_ONCE),
    ],
)
def test_what_a_sender_knows_is_not_found_out_by_sending_again(
    command: str, arguments: dict[str, str], mine: Response | NoResponse, other: str, expected: Ended
) -> None:
    """The ledger has forgotten its send, and another owner that began anew died: it claimed the command, and sent a
    withdrawal that it knew to be executed once more."""
    fixture = ExecutorFixture()

    @fixture.step
    def forgotten() -> Response | NoResponse:
        fixture.ledger.forget("id")
        fixture.is_killed_waiting(command, arguments)
        return mine

    fixture.transport.steps += [dies if other == "sending" else BUSY, NOT_FOUND]
    assert fixture.ends(command, arguments) == expected
    assert len(fixture.transport.requests) == 2
    assert fixture.ends(command, arguments) == expected


def test_a_yes_beside_a_no_of_another_owner_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """It ended the command while this one waited for it: its report stands, and a person must look."""
    fixture = ExecutorFixture()

    @fixture.step
    def forgotten() -> Response:
        record = fixture.ledger.read("id")
        assert record is not None
        other = Claim("id", record.fingerprint, "withdraw", "main", repeatable=False, token="other", lease_ms=60_000)
        fixture.ledger.forget("id")
        fixture.ledger.begin(other, 1)
        refused = ExecutorFixture(NOT_FOUND).run("withdraw", WITHDRAW)
        fixture.clock.on_sleep = lambda _: fixture.ledger.settle(other, refused)
        return ACCEPTED

    assert fixture.run("withdraw", WITHDRAW).outcome is Outcome.REJECTED
    assert "id=id stands as rejected, and its own attempt was accepted" in caplog.text


def test_a_ledger_that_loses_every_record_is_not_asked_for_ever() -> None:
    """Each lost lease costs an attempt, and after the last of them the message goes back to its queue."""
    fixture = ExecutorFixture(BUSY, BUSY, BUSY)
    fixture.ledger.settle = lambda claim, *_: fixture.ledger.forget("id")  # type: ignore[method-assign]
    fixture.requeues("cancel", CANCEL, match="LeaseLost")
    assert len(fixture.transport.requests) == 3
    assert [entry["event"] for entry in fixture.ledger.journal].count("begin") == 2 + MAX_LEASES


def test_a_stopping_worker_gives_back_what_has_not_begun() -> None:
    """The ledger being away; and a query, which has no record and is executed anew."""
    fixture = ExecutorFixture(BUSY)
    fixture.ledger.fail = {"begin": 100}
    fixture.stop_in()
    fixture.requeues("withdraw", WITHDRAW)
    assert fixture.transport.requests == []
    fixture.requeues("positions", POSITIONS)


def test_a_stopping_worker_gives_back_what_waits_for_its_next_attempt() -> None:
    """The next worker goes on when the venue's Retry-After is over, long before the lease of an attempt would be."""
    fixture = ExecutorFixture(BUSY_FOR_8_SECONDS, ACCEPTED)
    started = fixture.clock.monotonic()
    fixture.stop_in(2)
    fixture.requeues("withdraw", WITHDRAW)
    assert 2 <= fixture.clock.monotonic() - started < 2.5
    fixture.stop_at = inf
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_LAST
    assert 8 <= fixture.clock.monotonic() - started < 9
    assert fixture.events == ["begin", "pause", "begin", "settle"]


def test_a_stopping_worker_whose_ledger_is_away_gives_back_all_the_same() -> None:
    """Its lease ends by itself."""
    fixture = ExecutorFixture(BUSY_FOR_8_SECONDS)
    fixture.clock.on_sleep = lambda _: fixture.ledger.fail.update(pause=1)
    fixture.stop_in(0.1)
    fixture.requeues("withdraw", WITHDRAW)
    assert fixture.ledger.fail == {"pause": 0}


@pytest.mark.parametrize(("move", "answer"), [("pause", BUSY), ("settle", ACCEPTED)])
def test_a_stopping_worker_whose_ledger_comes_back_leaves_the_attempts_fate_on_record(
    move: str, answer: Response
) -> None:
    """What the venue proved is not given up at the first try: the next worker would find a send begun, and nothing
    else, and call a withdrawal unknown that was refused for the moment, or accepted."""
    fixture = ExecutorFixture()

    @fixture.step
    def meanwhile() -> Response:
        fixture.stop_in()
        fixture.ledger.fail = {move: 5}
        return answer

    fixture.transport.steps.append(ACCEPTED)
    if move == "pause":
        fixture.requeues("withdraw", WITHDRAW)
        fixture.stop_at = inf
    assert fixture.ends("withdraw", WITHDRAW) == (ACCEPTED_AT_LAST if move == "pause" else ACCEPTED_AT_ONCE)


def test_a_report_is_tried_to_be_written_from_the_stop_on_however_long_the_ledger_was_away_before() -> None:
    """Whoever mends an outage stops the workers and starts the server, in this order."""
    fixture = ExecutorFixture(ACCEPTED, ACCEPTED)
    fixture.ledger.fail = {"settle": 40}
    fixture.stop_in(30)
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE
    assert fixture.clock.monotonic() > fixture.stop_at
    fixture.ledger.fail = {"settle": 1000}
    fixture.stop_in(30)
    fixture.requeues("withdraw", WITHDRAW, "another")
    assert 10 <= fixture.clock.monotonic() - fixture.stop_at < 13


def test_a_stopping_worker_waits_no_longer_for_a_ledger_that_hangs() -> None:
    """The time in which a call hangs counts, or a stop would take longer than its grace."""
    fixture = ExecutorFixture(lambda: fixture.stop_in() or BUSY)  # type: ignore[func-returns-value]
    fixture.ledger.fail = {"pause": 100}
    fixture.ledger.on_failure = lambda: fixture.clock.turn(10)
    fixture.requeues("withdraw", WITHDRAW)
    assert fixture.clock.monotonic() - fixture.stop_at == 10


def test_a_stopping_worker_does_not_wait_for_another() -> None:
    """A duplicate of a command that another worker is at goes back to its queue."""
    fixture = ExecutorFixture()

    @fixture.step
    def meanwhile() -> Response:
        fixture.stop_in()
        fixture.requeues("withdraw", WITHDRAW)
        return ACCEPTED

    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE
