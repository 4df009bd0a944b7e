"""The reconciler over a real server: what it finds, what it does not, and what proves nothing."""

import random
from collections.abc import Callable
from typing import Any, Self

import pytest
import redis

from producers.commands import Withdraw
from producers.report import Outcome, Reason, Report
from tests.contract.conftest import CLOSE, WITHDRAW, OperatorFixture
from worker.ledger.base import Claim, NoSuchCommand, StillOpen
from worker.ledger.halts import HaltScope
from worker.ledger.journal import Journal
from worker.ledger.pacing import CoolDown, Pace
from worker.venues.accounts import Account
from worker.venues.records import VenueSnapshot, VenueWithdrawal

BROKEN = VenueSnapshot(problems=("/fills: the venue answered 503",))


def test_what_is_found_is_accepted_at_once_on_record_and_published(operator: OperatorFixture) -> None:
    """The report has the venue's record, and nothing of the lost attempt's answer."""
    before = operator.unknown("x")
    operator.show("o")
    assert operator.reconcile().startswith("found, accepted")
    (report,) = operator.published
    assert report == before.model_copy(
        update={
            "outcome": Outcome.ACCEPTED,
            "reason": Reason.OK,
            "result": {"id": "o"},
            "http_status": None,
            "message": report.message,
            "finished_at": report.finished_at,
        }
    )
    assert operator.ledger.read("x").report == report
    last = operator.journal("x")[-1]
    assert (last["event"], last["outcome"], last["who"]) == ("resolve", "accepted", "reconcile")
    assert "order o" in last["why"]
    assert operator.desk.unknowns() == []


def test_the_window_is_from_before_the_first_begin_to_after_the_last_arrival(operator: OperatorFixture) -> None:
    report = operator.unknown("x")
    operator.reconcile()
    (window,) = operator.reads.windows
    assert report.last_signed_at is not None
    assert window.start <= report.last_signed_at - 2_000
    assert window.end == report.last_signed_at + 17_000


def _halted(it: OperatorFixture) -> None:
    it.desk.halt(HaltScope(), who="ann", why="looking")
    it.desk.resume(HaltScope(), who="ann")


def _expired(it: OperatorFixture) -> None:
    it.begin("y", **{**CLOSE, "pair": "Q"})
    it.client.delete("orders:command:y")


def _resolved(it: OperatorFixture) -> None:
    it.unknown("y")
    it.desk.resolve("y", reference="o", who="ann", why="by its time")


def _cooled_down_by_a_query(it: OperatorFixture) -> None:
    pace = Pace("bucket", "host:443")
    query = Claim("q", "f" * 64, "positions", "main", repeatable=True, token="t", lease_ms=1000, pace=pace)
    it.ledger.cool_down(query, CoolDown(1, by_address=False, why="429"))
    assert it.journal("q")


BESIDE: dict[str, tuple[Callable[[OperatorFixture], Any], str]] = {
    "another that is under way, though nobody has declared it unknown": (
        lambda it: it.begin("y"),
        "ambiguous, unknown",
    ),
    "a report of another, accepted, that has the record, nested or flat": (
        lambda it: it.end(it.begin("y"), Outcome.ACCEPTED, result={"order": {"id": "o"}}),
        "absent, unknown",
    ),
    "an operator's word that gives the record to another": (_resolved, "absent, unknown"),
    "another that is proven rejected": (lambda it: it.end(it.begin("y"), Outcome.REJECTED), "found, accepted"),
    "another that is proven not sent": (lambda it: it.end(it.begin("y"), Outcome.NOT_SENT), "found, accepted"),
    # Whoever is woken halts first and reconciles afterwards; a halt's line of the journal is no command's.
    "a halt": (_halted, "found, accepted"),
    "a cool-down that a query's answer began": (_cooled_down_by_a_query, "found, accepted"),
    # The journal knows that it began, and nobody knows what it was.
    "a begin whose record has expired": (_expired, "ambiguous, unknown"),
    # Whoever else began then is forgotten.
    "a trimmed journal": (
        lambda it: it.client.xtrim("orders:journal", maxlen=1, approximate=False),
        "unreadable, unknown: the journal",
    ),
    # Nothing can be told by its time then.
    "a venue without a clock": (lambda it: setattr(it.reads, "offset", None), "unreadable, unknown"),
}


@pytest.mark.parametrize("beside", BESIDE)
def test_a_record_settles_an_unknown_only_if_nothing_else_can_have_made_it(
    operator: OperatorFixture, beside: str
) -> None:
    operator.unknown("x")
    happens, found = BESIDE[beside]
    happens(operator)
    operator.show("o")
    assert operator.reconcile().startswith(found)


def test_of_two_records_the_one_that_no_report_has_is_found(operator: OperatorFixture) -> None:
    operator.unknown("x")
    operator.end(operator.begin("y"), Outcome.ACCEPTED, result={"order": {"id": "o"}})
    operator.show("o", "p")
    assert operator.reconciler().one("x").reference == "p"


def test_two_unknowns_alike_and_one_record_stay_unknown_and_name_each_other(operator: OperatorFixture) -> None:
    operator.unknown("x")
    operator.unknown("y")
    operator.show("o")
    found = list(operator.reconciler().all())
    assert [(each.finding, each.outcome) for each in found] == [("ambiguous", "unknown")] * 2
    assert ("y" in found[0].words, "x" in found[1].words) == (True, True)
    assert operator.published == []


def test_what_a_run_remembers_of_the_journal_is_what_is_there(operator: OperatorFixture) -> None:
    """Windows are asked for in any order, while the journal grows."""
    chance = random.Random(11)
    journal = Journal(operator.client)
    begun = journal.begun_sends()
    now = 10**12
    for number in range(300):
        now += chance.randrange(0, 2 * 3_600_000 if number % 50 == 0 else 5_000)
        entry = {"event": "begin", "id": chance.choice(["", f"c{number}"]), "command": "close", "account": "main"}
        entry.update(chance.choice([{}, {"command": "cancel"}, {"account": "second"}]))
        if chance.random() < 0.2:
            entry = {"event": "begin", "id": f"c{number - 1}"}
        operator.client.xadd("orders:journal", entry, id=f"{now}-*")
        start = now - chance.choice([0, 1_000, 60_000, 5_000_000, 20_000_000])
        asked = (start, start + chance.choice([0, 20_000, 10**9]), "close", {"main"})
        assert begun.between(*asked) == journal.begun_sends().between(*asked), number


# -- nothing is found --------------------------------------------------------------------------------------------------

LATE = 76
"""Seconds after the send from which an absence counts."""
LOOKS: dict[str, list[tuple[float, str, str]]] = {
    "counts late and twice": [
        (LATE - 2, "nothing", "absent, unknown: counts only from"),
        (2, "nothing", "absent, unknown: first of two looks"),
        (29, "nothing", "absent, unknown: too soon"),
        (2, "nothing", "absent, not_sent: "),
    ],
    "is not settled by time alone": [(86_400, "nothing", "absent, unknown: first of two looks")],
    "counts from the beginning after something was found": [
        (LATE, "nothing", "absent, unknown: first of two looks"),
        (0, "two orders", "ambiguous, unknown: "),
        (31, "nothing", "absent, unknown: first of two looks"),
    ],
    "is not told by a look that could not read everything": [
        (LATE, "a part", "unreadable, unknown: "),
        (0, "nothing", "absent, unknown: first of two looks"),
        (31, "a part", "unreadable, unknown: "),
        (0, "nothing", "absent, not_sent: "),
    ],
}


@pytest.mark.parametrize("absence", LOOKS)
def test_absence_settles_only_late_and_when_it_was_seen_twice(operator: OperatorFixture, absence: str) -> None:
    """Each step lets seconds pass, sets what the venue shows, and reconciles as another process would."""
    operator.unknown("x")
    operator.show("o", "p")
    shown = {"nothing": VenueSnapshot(), "two orders": operator.reads.shown, "a part": BROKEN}
    for seconds, shows, said in LOOKS[absence]:
        assert operator.published == []
        operator.clock.turn(seconds)
        operator.reads.shown = shown[shows]
        finding, _, words = said.partition(": ")
        found = operator.reconcile()
        assert found.startswith(f"{finding}: ")
        assert words in found
    settled = [(report.outcome, report.reason) for report in operator.published]
    assert settled == ([(Outcome.NOT_SENT, Reason.UNAVAILABLE)] if "not_sent" in said else [])
    assert ("not_sent" in said) == (operator.client.hgetall("orders:looks") == {})


def test_what_a_venue_shows_of_an_hour_ago_proves_no_absence(operator: OperatorFixture) -> None:
    """Everything that it shows, including its time, may come from a cache that does not say so."""
    operator.unknown("x")
    operator.reads.offset = -3_600_000
    for seconds, said in ((80, "counts only from"), (1_000, "counts only from"), (2_600, "first of two looks")):
        operator.clock.turn(seconds)
        assert said in operator.reconcile()


def test_a_withdrawal_is_never_settled_by_absence_but_by_what_is_found(operator: OperatorFixture) -> None:
    operator.unknown("w", **WITHDRAW)
    sent = operator.clock.now_ms()
    for _ in range(3):
        operator.clock.turn(100_000)
        assert ", unknown: " in operator.reconcile("w")
    withdraw = Withdraw.model_validate(WITHDRAW)
    row = VenueWithdrawal("7", "ETH", withdraw.address, withdraw.qty, None, "pending", sent, {"id": "7"})
    operator.reads.shown = VenueSnapshot(withdrawals=(row,))
    assert operator.reconcile("w").startswith("found, accepted")


# -- what else may be in the way ---------------------------------------------------------------------------------------


def test_what_can_not_be_asked_for_says_why(operator: OperatorFixture) -> None:
    """The account is not configured, the venue has no reads, or an earlier version wrote the record."""
    operator.unknown("x")
    assert "not configured" in operator.reconcile(accounts={})
    assert "no reads" in operator.reconcile(reads={})
    operator.client.hdel("orders:command:x", "arguments")
    assert "arguments" in operator.reconcile()


def test_a_sender_that_was_faster_has_the_last_word(operator: OperatorFixture) -> None:
    """The sender's own evidence settled the command while the venue was read: that report stands and is published."""
    claim = operator.begin("x")
    operator.end(claim)
    operator.show("o")
    reads = operator.reads

    class Meanwhile:
        time, read = reads.time, reads.read

        def visit(self, _: Account) -> Self:
            return self

        def snapshot(self, *arguments: Any) -> VenueSnapshot:
            operator.end(claim, Outcome.REJECTED)
            return reads.snapshot(*arguments)

    assert operator.reconcile(reads={"everstrike": Meanwhile()}).startswith("found, rejected")
    assert [report.outcome for report in operator.published] == [Outcome.REJECTED]


def test_a_result_backend_that_is_away_keeps_nothing_from_being_settled(operator: OperatorFixture) -> None:
    """The next run publishes the report that stands."""

    def away(report: Report) -> None:
        raise redis.ConnectionError("away")

    operator.unknown("x")
    operator.show("o")
    assert operator.reconcile(publish=away).startswith("found, accepted")
    assert operator.reconcile().startswith("settled, accepted")
    assert [report.outcome for report in operator.published] == [Outcome.ACCEPTED]


def test_there_is_nothing_to_reconcile_for_an_id_that_nobody_knows_or_a_command_under_way(
    operator: OperatorFixture,
) -> None:
    with pytest.raises(NoSuchCommand):
        operator.reconcile("nobody")
    operator.begin("x")
    with pytest.raises(StillOpen):
        operator.reconcile("x")


def test_no_argument_is_in_the_log(operator: OperatorFixture, caplog: pytest.LogCaptureFixture) -> None:
    """A withdrawal's address stays in the ledger."""
    caplog.set_level("DEBUG")
    operator.unknown("w", **WITHDRAW)
    operator.reconcile("w")
    assert "id=w" in caplog.text
    assert "0xabc" not in caplog.text
