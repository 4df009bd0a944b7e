"""What a withdrawal policy rules, as the executor obeys it."""

from dataclasses import replace
from decimal import Decimal

from tests.unit.worker.execution.executor_fixture import (
    ACCEPTED,
    ACCEPTED_AT_LAST,
    ACCEPTED_AT_ONCE,
    BUSY,
    CRASHED,
    WITHDRAW,
    ExecutorFixture,
    dies,
)
from worker.execution.policy.rulings import Ruling
from worker.ledger.base import Limit

DAY_MS = 86_400_000
LIMIT = Limit("ETH a day", f"main/ETH/{DAY_MS}", DAY_MS, Decimal("1.5"))
COUNTED = {LIMIT.key: 10**9}


def limited(*steps: object) -> ExecutorFixture:
    fixture = ExecutorFixture(*steps)  # type: ignore[arg-type] # the steps of a transport
    fixture.ruling = lambda _: Ruling(limits=(LIMIT,))
    return fixture


def test_a_limit_that_is_used_up_denies_by_name_and_says_when_there_is_room() -> None:
    fixture = limited(ACCEPTED, ACCEPTED)
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE
    report = fixture.run("withdraw", WITHDRAW, "second")
    assert (report.outcome, report.reason) == ("not_sent", "denied")
    assert "limit 'ETH a day' permits 1.5 in total within 1 day, 0:00:00; there is room for it from 2" in report.message
    fixture.clock.sleep(DAY_MS / 1000)
    assert fixture.ends("withdraw", WITHDRAW, command_id="third") == ACCEPTED_AT_ONCE


def test_one_command_counts_once_through_retries_and_lost_replies() -> None:
    fixture = limited(BUSY, ACCEPTED)
    fixture.ledger.done_before_failing, fixture.ledger.fail = True, {"begin": 2, "settle": 1}
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_LAST
    assert fixture.ledger.counters.sums() == COUNTED


def test_what_may_have_been_executed_stays_counted_and_what_was_not_is_given_back() -> None:
    fixture = limited(dies, BUSY, BUSY, BUSY)
    fixture.is_killed("withdraw", WITHDRAW)
    assert fixture.ends("withdraw", WITHDRAW) == CRASHED
    assert fixture.ledger.counters.sums() == COUNTED
    assert fixture.ends("withdraw", {**WITHDRAW, "qty": "0.5"}, command_id="second") == ("not_sent", "unavailable", 3)
    assert fixture.ledger.counters.sums() == COUNTED


def test_a_limit_that_is_full_does_not_end_an_attempt_that_the_ledger_has_forgotten() -> None:
    """The server has lost the record between two attempts, and others have used the limit up since."""
    fixture = limited(BUSY)
    others = replace(LIMIT, name="others")

    def forget(_: float) -> None:
        fixture.ledger.forget("id")
        fixture.ledger.counters.by_key = {others.key: {("other", 10**9): fixture.clock.now_ms()}}

    fixture.clock.on_sleep = forget  # type: ignore[assignment] # it is given the seconds
    report = fixture.run("withdraw", WITHDRAW)
    assert (report.outcome, report.reason, report.attempts) == ("not_sent", "denied", 1)
