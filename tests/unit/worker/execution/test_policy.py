"""What the executor does with a ruling of the withdrawal policy, over the in-memory ledger."""

import pytest

from producers.commands import Command
from tests.support.policies import POLICY, policy
from tests.unit.worker.execution.executor_fixture import ACCEPTED, ACCEPTED_AT_ONCE, WITHDRAW, ExecutorFixture
from worker.execution.events import CommandRef, Observer
from worker.execution.policy.rulings import Ruling
from worker.ledger.base import LedgerUnavailable


class Watching(Observer):
    def __init__(self) -> None:
        self.ruled_on: list[tuple[str, str, bool]] = []

    def ruled(self, ref: CommandRef, words: str, denied: bool) -> None:
        self.ruled_on.append((ref.command_id, words, denied))


def test_a_denied_withdrawal_ends_before_anything_begins(caplog: pytest.LogCaptureFixture) -> None:
    """Its id is used up, the report names the rule, and no log line has amount or address."""
    fixture, watching = ExecutorFixture(ACCEPTED), Watching()
    fixture.observers = (watching,)
    fixture.ruling = policy(POLICY).ruling
    report = fixture.run("withdraw", {**WITHDRAW, "qty": "7.25"})
    assert (report.outcome, report.reason, report.attempts) == ("not_sent", "denied", 0)
    assert report.message == "not sent: it is more than the rule treasury permits in one withdrawal"
    assert fixture.events == ["refuse"]
    assert watching.ruled_on == [("id", report.message.removeprefix("not sent: "), True)]
    fixture.ruling = lambda command: Ruling()
    assert fixture.run("withdraw", {**WITHDRAW, "qty": "7.25"}) == report.as_replay()
    assert "denied id=id command=withdraw account=main" in caplog.text
    assert ("0xabc" in caplog.text, "7.25" in caplog.text) == (False, False)


def test_a_warning_is_observed_and_the_withdrawal_sent() -> None:
    fixture, watching = ExecutorFixture(ACCEPTED), Watching()
    fixture.observers = (watching,)
    fixture.ruling = lambda command: Ruling(warning="it would be denied: because")
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE
    assert watching.ruled_on == [("id", "it would be denied: because", False)]


def test_the_limits_go_into_the_claim() -> None:
    fixture, claims = ExecutorFixture(ACCEPTED), []
    fixture.ruling = policy(POLICY).ruling
    begin = fixture.ledger.begin
    fixture.ledger.begin = lambda claim, attempt: claims.append(claim) or begin(claim, attempt)  # type: ignore[func-returns-value, method-assign]
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE
    assert [limit.key for limit in claims[0].limits] == ["main/ETH/86400000"]


def test_what_is_over_a_limit_is_observed_as_denied() -> None:
    """By the name of the limit, without an amount; what is under it is not."""
    fixture, watching = ExecutorFixture(ACCEPTED), Watching()
    fixture.observers = (watching,)
    fixture.ruling = policy(POLICY.replace("count = 10", "count = 1")).ruling
    assert fixture.run("withdraw", WITHDRAW, "first").outcome == "accepted"
    assert watching.ruled_on == []
    assert fixture.run("withdraw", WITHDRAW, "second").reason == "denied"
    assert watching.ruled_on == [("second", "it is over the limit ETH 24h", True)]


def test_a_ruling_waits_for_the_ledger() -> None:
    """Until it says which policies were applied, nobody knows how to rule."""
    fixture, outages = ExecutorFixture(ACCEPTED), [LedgerUnavailable("away")] * 3

    def ruling(command: Command) -> Ruling:
        if outages:
            raise outages.pop()
        return Ruling(denied="because")

    fixture.ruling = ruling
    assert fixture.ends("withdraw", WITHDRAW) == ("not_sent", "denied", 0)
    assert len(fixture.clock.slept) == 3
