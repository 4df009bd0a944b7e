"""Plans: made before a command begins, tried again while the venue can't be read, and never an attempt."""

import pytest

from producers.report import Reason
from tests.support.fakes import START_MS
from tests.unit.worker.execution.executor_fixture import CANCEL, CLOSE, POSITIONS, Ended, ended
from tests.unit.worker.execution.fake_exchange import LookingFixture
from worker.execution.backoff import RetryLimits
from worker.execution.carried import PlanProgress
from worker.execution.parking import WaitsFor
from worker.venues.base import PlanFailed, PlanRefused

PART = {**CLOSE, "qty": "0.5"}
FAILED = PlanFailed("its positions can't be read")
SECRET = ValueError("secret-of-main")

ENDS: dict[str, tuple[list[Exception], Ended]] = {
    "it can't be sent": ([PlanRefused("no such market")], ("not_sent", "invalid", 0)),
    "nothing is left to close": ([PlanRefused("no position is open", Reason.REFUSED)], ("not_sent", "refused", 0)),
    "a fault of the adapter": ([SECRET], ("not_sent", "invalid", 0)),
    "a read fails": ([FAILED, FAILED], ("accepted", "ok", 1)),
    "reads fail for ever": ([FAILED] * 1000, ("not_sent", "unavailable", 0)),
    "the venue is busy for longer than there is time": ([PlanFailed("429", 60.0)], ("not_sent", "unavailable", 0)),
    "it fails, and then it can't be sent": ([FAILED, PlanRefused("no such market")], ("not_sent", "invalid", 0)),
}


@pytest.mark.parametrize("parks", [False, True], ids=["in its thread", "parked"])
@pytest.mark.parametrize(("command", "arguments"), [("close", PART), ("cancel", CANCEL), ("positions", POSITIONS)])
@pytest.mark.parametrize(("failing", "expected"), ENDS.values(), ids=ENDS)
def test_how_a_command_ends_whose_plan_fails(
    command: str, arguments: dict[str, str], failing: list[Exception], expected: Ended, parks: bool
) -> None:
    """Nothing is sent, and no attempt is counted on the wire; the message has no secret."""
    fixture = LookingFixture()
    fixture.venue.failing = list(failing)
    report = fixture.lives(command, arguments, parks=parks)
    assert ended(report) == expected
    assert "secret" not in report.message
    assert fixture.clock.now_ms() - START_MS <= RetryLimits().budget_seconds * 1000
    assert bool(fixture.exchange.requests) == (expected[0] == "accepted" and command != "positions")
    record = fixture.ledger.read("id")
    assert record is None or record.progress.tries == expected[2]


def test_the_wait_for_a_plan_is_parked_and_its_budget_goes_on() -> None:
    """Over all workers that take the command."""
    fixture = LookingFixture()
    fixture.retry = RetryLimits(attempts=3, initial_seconds=1, max_seconds=4, budget_seconds=10)
    fixture.venue.failing = [FAILED] * 3
    assert ended(fixture.lives("close", PART, parks=True)) == ("accepted", "ok", 1)
    assert [each.waits_for for each in fixture.parkings] == [WaitsFor.PLAN] * 3
    waits = zip((1, 2, 4), fixture.parkings, (2, 3, 4), strict=True)
    assert all(least <= each.wait_ms / 1000 <= most for least, each, most in waits)
    fixture.venue.failing = [FAILED] * 1000
    assert ended(fixture.lives("close", PART, parks=True, command_id="other")) == ("not_sent", "unavailable", 0)


def test_a_plan_stops_at_the_deadline() -> None:
    fixture = LookingFixture()
    fixture.venue.failing = [FAILED] * 1000
    report = fixture.lives("close", {**PART, "deadline": START_MS + 3_000}, parks=True)
    assert ended(report) == ("not_sent", "expired", 0)
    assert fixture.clock.now_ms() < START_MS + 3_000


def test_a_stopping_worker_gives_back_what_waits_for_its_plan() -> None:
    fixture = LookingFixture()
    fixture.venue.failing = [PlanFailed("429", 8.0)]
    fixture.stop_in(2)
    fixture.requeues("close", PART)
    assert fixture.ledger.read("id") is None


def test_a_command_that_was_parked_between_two_attempts_is_planned_anew() -> None:
    """And ends with what is known of its attempts, if it can't be sent any more."""
    fixture = LookingFixture("busy")
    fixture.retry = RetryLimits(initial_seconds=1)
    fixture.on_parked = lambda: fixture.venue.failing.append(PlanRefused("no position is open", Reason.REFUSED))
    report = fixture.lives("close", PART, parks=True)
    assert ended(report) == ("not_sent", "refused", 1)


def test_a_request_that_is_too_late_for_its_attempt_never_leaves() -> None:
    """The ledger's answer, or the connection, took longer than the venue would take the request: looks would not wait
    for it. It is begun anew, with a time of its own."""
    fixture = LookingFixture(window_ms=1_000)
    begin, lateness = fixture.ledger.begin, [2.0]

    def slow(*arguments: object) -> object:
        answer = begin(*arguments)
        fixture.clock.turn(lateness.pop() if lateness else 0)
        return answer

    fixture.ledger.begin = slow  # type: ignore[method-assign,assignment]
    assert ended(fixture.run("close", PART)) == ("accepted", "ok", 1)
    assert len(fixture.exchange.requests) == 1
    record = fixture.ledger.read("id")
    assert record is not None
    assert (record.progress.tries, fixture.exchange.executed) == (2, [fixture.exchange.executed[0]])


HEADERS: list[object] = [None, 7, {}, {"failures": 0, "since_ms": 5}, {"failures": -1, "since_ms": 5}, {"failures": 1}]
HEADERS += [{"failures": 1, "since_ms": "x"}, {"failures": True, "since_ms": 5}, {"failures": 10**9, "since_ms": 5}]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_a_stranger_wrote_adds_no_time(header: object) -> None:
    assert PlanProgress.from_header(header) is None


def test_a_header_is_read_as_it_was_written() -> None:
    assert PlanProgress.from_header(PlanProgress(3, START_MS).to_header()) == PlanProgress(3, START_MS)
