"""Sealed commands in the executor: taken up too late, so late that nobody can know, or only to be ended."""

import pytest

from tests.support.fakes import START_MS, Step
from tests.unit.worker.execution.executor_fixture import (
    ACCEPTED,
    ACCEPTED_AT_LAST,
    ACCEPTED_AT_ONCE,
    BUSY_FOR_8_SECONDS,
    CANCEL,
    CRASHED,
    NEVER_LEFT,
    POSITIONS,
    WITHDRAW,
    Dead,
    Ended,
    ExecutorFixture,
    dies,
    ended,
)
from worker.execution.parking import ParkMessage
from worker.ledger.base import NeverBegun

UNTIL, KNOWN = START_MS + 1000, START_MS + 60_000
SEALED = {"sealed_by": "payroll", "begin_by": UNTIL, "known_until": KNOWN}
ONLY_IF_BEGUN = {"begin_by": 1, "known_until": 1}
EXPIRED: Ended = ("not_sent", "expired", 0)


def test_a_sealed_command_in_time_is_executed_and_its_record_says_by_whom_it_is() -> None:
    fixture = ExecutorFixture(ACCEPTED)
    assert fixture.ends("withdraw", WITHDRAW, **SEALED) == ACCEPTED_AT_ONCE
    record = fixture.ledger.read("id")
    assert record is not None
    assert record.sealed_by == "payroll"


@pytest.mark.parametrize(("command", "arguments"), [("withdraw", WITHDRAW), ("positions", POSITIONS)])
def test_one_that_is_taken_up_late_was_never_sent_and_its_report_says_so(
    command: str, arguments: dict[str, str]
) -> None:
    fixture = ExecutorFixture()
    fixture.clock.turn(2)
    report = fixture.run(command, arguments, **SEALED)
    assert ended(report) == EXPIRED
    assert "its seal was valid until" in report.message
    if command == "withdraw":
        assert fixture.ends(command, arguments, **SEALED) == EXPIRED  # stored


@pytest.mark.parametrize("arguments", [WITHDRAW, {**WITHDRAW, "account": "gone"}], ids=["valid", "refused anyway"])
def test_one_so_late_that_its_record_may_have_expired_gets_no_report(arguments: dict[str, str]) -> None:
    """Had it been executed, "not sent" would be false."""
    fixture = ExecutorFixture()
    fixture.clock.turn(61)
    with pytest.raises(NeverBegun):
        fixture.run("withdraw", arguments, **SEALED)
    assert fixture.ledger.read("id") is None


def test_a_fault_makes_no_report_of_what_may_be_anothers() -> None:
    """A message that is not trusted, and that the worker stumbles over before it has asked the ledger."""
    fixture = ExecutorFixture()
    fixture.ruling = lambda _: 1 / 0  # type: ignore[assignment, return-value] # a fault of the worker's own
    with pytest.raises(NeverBegun):
        fixture.run("withdraw", WITHDRAW, redelivered=True, **ONLY_IF_BEGUN)
    assert fixture.run("withdraw", WITHDRAW, redelivered=True, **SEALED).reason == "crashed"


def test_what_has_begun_in_time_is_not_stopped_by_its_seal() -> None:
    """Neither between two attempts nor when another worker takes it over."""
    fixture = ExecutorFixture(NEVER_LEFT, ACCEPTED)
    fixture.clock.on_sleep = lambda _: fixture.clock.turn(5)
    assert fixture.ends("cancel", CANCEL, **SEALED) == ACCEPTED_AT_ONCE
    other = ExecutorFixture(dies, ACCEPTED)
    other.is_killed("cancel", CANCEL)
    other.clock.turn(1000)
    assert other.ends("cancel", CANCEL, **SEALED)[0] == "accepted"


def test_its_worker_knows_that_it_has_begun_even_if_the_ledger_has_lost_the_record() -> None:
    """Between two attempts, and when the lease was lost with it."""

    def lose_record(fixture: ExecutorFixture, seconds: float) -> None:
        fixture.transport.before_prepare = lambda: None
        fixture.clock.turn(seconds)
        fixture.ledger.forget("id")

    between, asleep = ExecutorFixture(NEVER_LEFT, ACCEPTED), ExecutorFixture(ACCEPTED, ACCEPTED)
    between.clock.on_sleep = lambda _: lose_record(between, 5)
    assert between.ends("cancel", CANCEL, **SEALED) == ACCEPTED_AT_ONCE
    asleep.transport.before_prepare = lambda: lose_record(asleep, 70)
    assert asleep.ends("cancel", CANCEL, **SEALED) == ACCEPTED_AT_ONCE


@pytest.mark.parametrize("arguments", [WITHDRAW, {**WITHDRAW, "qty": "-1"}], ids=["valid", "invalid"])
def test_an_untrusted_message_that_comes_again_begins_nothing_and_takes_no_id(arguments: dict[str, str]) -> None:
    fixture = ExecutorFixture()
    with pytest.raises(NeverBegun):
        fixture.run("withdraw", arguments, **ONLY_IF_BEGUN)
    assert fixture.ledger.read("id") is None


def test_an_untrusted_message_ends_what_a_dead_worker_had_begun() -> None:
    """Its key may have been removed since, and the sender waits for what became of it."""
    fixture = ExecutorFixture(dies)
    fixture.is_killed("withdraw", WITHDRAW)
    fixture.clock.turn(1000)
    assert fixture.ends("withdraw", WITHDRAW, **ONLY_IF_BEGUN) == CRASHED


@pytest.mark.parametrize(("command", "arguments"), [("withdraw", WITHDRAW), ("positions", POSITIONS)])
def test_a_seal_that_ends_while_its_command_is_parked(command: str, arguments: dict[str, str]) -> None:
    """What has begun in time goes on. Of a query nobody knows that it has, but by its message; it is not sent again,
    and the report has what is known."""
    fixture = ExecutorFixture(BUSY_FOR_8_SECONDS, ACCEPTED)
    report = fixture.run_parked(command, arguments, **SEALED)
    assert ended(report) == (ACCEPTED_AT_LAST if command == "withdraw" else ("not_sent", "expired", 1))
    assert report.http_status == (200 if command == "withdraw" else 429)


@pytest.mark.parametrize("steps", [[ACCEPTED], [dies]], ids=["goes on", "its worker dies"])
def test_a_key_that_is_removed_while_a_command_is_parked(steps: list[Step]) -> None:
    """Its message comes again, and only ends or continues what has begun."""
    fixture = ExecutorFixture(BUSY_FOR_8_SECONDS, *steps)
    with pytest.raises(ParkMessage):
        fixture.run("withdraw", WITHDRAW, parks=True, **SEALED)
    fixture.clock.turn(8)
    if steps == [dies]:
        with pytest.raises(Dead):
            fixture.run("withdraw", WITHDRAW, parks=True, **ONLY_IF_BEGUN)
        fixture.clock.turn(1000)
    expected = ACCEPTED_AT_LAST if steps == [ACCEPTED] else ("unknown", "crashed", 2)
    assert fixture.ends("withdraw", WITHDRAW, parks=True, **ONLY_IF_BEGUN) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, ACCEPTED_AT_ONCE), (2.0, EXPIRED)])
def test_a_seal_while_its_command_waits_for_the_venues_limits(seconds: float, expected: Ended) -> None:
    """Nothing of it has begun: it begins in time, or is not sent."""
    fixture = ExecutorFixture(ACCEPTED)
    fixture.cool_down(seconds)
    assert fixture.ends_parked("withdraw", WITHDRAW, **SEALED) == expected
