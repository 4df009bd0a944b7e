"""What a withdrawal policy rules, as the executor obeys it: limits, and commands that persons must approve."""

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.support.policies import KEYS
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
from worker.execution.holding import HeldForApproval
from worker.execution.policy.rulings import Approval, Ruling
from worker.ledger.base import BeginAnswer, Claim, NeverBegun
from worker.ledger.decisions import APPROVE, DENY, Decision
from worker.ledger.limits import Limit

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


# -- approval ----------------------------------------------------------------------------------------------------------

TREASURY = Approval("treasury", {name: key.public() for name, key in KEYS.items()}, hold_ms=3_600_000)


def guarded(*steps: object, limits: tuple[Limit, ...] = ()) -> ExecutorFixture:
    fixture = ExecutorFixture(*steps)  # type: ignore[arg-type] # the steps of a transport
    fixture.ruling = lambda _: Ruling(limits=limits, approvals=(TREASURY,))
    return fixture


def is_held(fixture: ExecutorFixture, **envelope: object) -> None:
    """Execute, and see that it has no report yet and its message need not be kept."""
    with pytest.raises(HeldForApproval):
        fixture.execute("withdraw", WITHDRAW, **envelope)  # type: ignore[arg-type]


def decides(fixture: ExecutorFixture, name: str, word: str = APPROVE) -> None:
    record = fixture.ledger.read("id")
    assert record is not None
    assert record.hold is not None
    signed = Decision("id", record.fingerprint, name, record.hold.until, word).signed(KEYS[name])
    event = "approved" if word == APPROVE else "denied"
    assert fixture.ledger.decide("id", record.fingerprint, who=name, kid="1", event=event, signed=signed)


def test_a_command_is_held_until_it_is_approved() -> None:
    """Its message and who must approve are kept; repeating it changes nothing."""
    fixture = guarded(ACCEPTED)
    for _ in range(2):
        is_held(fixture, kept_message=lambda: "the message")
    record = fixture.ledger.read("id")
    assert record is not None
    assert record.hold is not None
    assert (record.state, "anna" in record.hold.needed) == ("HELD", True)
    assert fixture.ledger._entries["id"].message == "the message"
    decides(fixture, "anna")
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE
    assert fixture.events == ["held", "approved", "begin", "settle"]


def test_its_sender_cannot_approve_it() -> None:
    fixture = guarded(ACCEPTED)
    is_held(fixture, sealed_by="anna")
    decides(fixture, "anna")
    is_held(fixture, sealed_by="anna")
    is_held(fixture)  # its message comes once more, this time without a seal
    is_held(fixture, sealed_by="somebody")
    decides(fixture, "ben")
    assert fixture.run("withdraw", WITHDRAW, sealed_by="anna").outcome == "accepted"


def test_a_message_that_may_only_end_what_has_begun_ends_no_hold() -> None:
    """Anybody can send it who knows the arguments, with an envelope that can't be honoured. When the time is over, it
    is as good as any."""
    fixture = guarded()
    is_held(fixture, sealed_by="payroll")
    late = {"begin_by": 1, "known_until": 1, "expires_at": 1}
    with pytest.raises(NeverBegun):
        fixture.execute("withdraw", WITHDRAW, **late)
    late["expires_at"] = None
    is_held(fixture, **late)
    fixture.clock.sleep(3600)
    assert fixture.ends("withdraw", WITHDRAW, **late) == ("not_sent", "expired", 0)
    fixture = guarded()
    is_held(fixture, sealed_by="payroll")
    decides(fixture, "anna", DENY)  # because the key was stolen and removed, perhaps
    assert fixture.ends("withdraw", WITHDRAW, **late) == ("not_sent", "denied", 0)


def test_a_denial_counts_until_it_is_begun() -> None:
    """It comes while a worker, which has seen enough approvals, begins the command."""
    fixture = guarded(ACCEPTED)
    is_held(fixture)
    decides(fixture, "anna")
    begin, asked = fixture.ledger.begin, []

    def begin_after_a_denial(claim: Claim, attempt: int) -> BeginAnswer:
        asked.append(claim)
        if len(asked) == 2:
            decides(fixture, "ben", DENY)
        return begin(claim, attempt)

    fixture.ledger.begin = begin_after_a_denial  # type: ignore[method-assign]
    assert fixture.run("withdraw", WITHDRAW).message == "not sent: denied by ben"


def test_a_denial_and_the_end_of_the_hold_end_it() -> None:
    fixture = guarded()
    is_held(fixture)
    decides(fixture, "anna")
    decides(fixture, "ben", DENY)
    assert fixture.run("withdraw", WITHDRAW).message == "not sent: denied by ben"
    fixture = guarded()
    is_held(fixture)
    decides(fixture, "anna")
    fixture.clock.sleep(3600)
    assert fixture.ends("withdraw", WITHDRAW) == ("not_sent", "expired", 0)


def test_a_deadline_ends_the_hold() -> None:
    """And what has no time left is not held at all."""
    fixture = guarded()
    soon = {**WITHDRAW, "deadline": fixture.clock.now_ms() + 5_000}
    with pytest.raises(HeldForApproval) as held:
        fixture.execute("withdraw", soon)
    assert held.value.until == soon["deadline"]
    fixture.clock.sleep(5)
    assert fixture.ends("withdraw", soon) == ("not_sent", "expired", 0)
    assert fixture.ends("withdraw", soon, command_id="late") == ("not_sent", "expired", 0)


def test_limits_are_checked_when_it_is_approved() -> None:
    fixture = guarded(ACCEPTED, limits=(LIMIT,))
    is_held(fixture)
    assert fixture.ledger.counters.sums() == {}
    fixture.ruling = lambda _: Ruling(limits=(LIMIT,))
    assert fixture.ends("withdraw", WITHDRAW, command_id="other") == ACCEPTED_AT_ONCE
    fixture.ruling = lambda _: Ruling(limits=(LIMIT,), approvals=(TREASURY,))
    decides(fixture, "anna")
    assert fixture.ends("withdraw", WITHDRAW) == ("not_sent", "denied", 0)
    assert fixture.ledger.counters.sums() == COUNTED


def test_what_is_approved_is_sent_again_without_another_approval() -> None:
    fixture = guarded(BUSY, ACCEPTED)
    is_held(fixture)
    decides(fixture, "anna")
    fixture.ledger.done_before_failing, fixture.ledger.fail = True, {"begin": 2}
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_LAST


def test_a_message_that_is_too_long_is_not_held() -> None:
    fixture = guarded()
    assert fixture.ends("withdraw", WITHDRAW, kept_message=lambda: "x" * 200_000) == ("not_sent", "invalid", 0)
