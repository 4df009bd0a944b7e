"""What both ledgers promise of commands in doubt that can be looked for at their venue."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.model.conformance import HOLD, LEASE_MS, LIMITS, USED_UP, UnderTest, claim, report
from worker.ledger.base import Begun, Busy, Claim, Doubtful, Ended, Ledger, LookFirst, Orphaned, Progress, Reused, State

FIRST, SECOND = '["handle", "P", 0, 1000]', '["handle", "P", 0, 2000]'
LOST = Progress(tries=1, sent=1, tainted="lost_reply", first_sent_at=5, last_signed_at=6)
MINUTE_MS = 60_000


def asks(token: str = "1", lookup: str = FIRST, **changes: object) -> Claim:
    """A claim at a venue that can be asked, by an owner whose lease is over at once."""
    command_id = str(changes.pop("command_id", "id"))
    return claim(command_id, token, **{"lookup": lookup, "account_digest": "here", "lease_ms": 0, **changes})


def dies_sending(ledger: Ledger) -> None:
    ledger.begin(asks(), 1)


def dies_waiting(ledger: Ledger) -> None:
    ledger.begin(asks(), 1)
    ledger.pause(asks(), LOST, 0)


def parks(ledger: Ledger) -> None:
    ledger.begin(asks(), 1)
    ledger.park(asks(), LOST, 0, "what it knows")


def dies_looking(ledger: Ledger) -> None:
    """It leaves no further doubt, and what an owner before it knew."""
    parks(ledger)
    ledger.take_to_look(asks("looker"))


CRASHED = Progress(tries=1, sent=1, tainted="crashed")
DOUBTS: dict[str, tuple[Callable[[Ledger], None], Doubtful]] = {
    "its owner died sending": (dies_sending, Doubtful(2, CRASHED, FIRST)),
    "its owner died after a lost reply": (dies_waiting, Doubtful(2, LOST, FIRST)),
    "it was parked after a lost reply": (parks, Doubtful(2, LOST, FIRST, doubt="what it knows")),
    "its owner died looking": (dies_looking, Doubtful(3, LOST, FIRST, doubt="what it knows")),
}


def looked(ledger: Ledger, asked: Claim) -> Doubtful | None:
    found = ledger.take_to_look(asked)
    assert found is None or isinstance(found, Doubtful)
    return found and replace(found, since_ms=0, begun_ms=0)


@pytest.mark.parametrize("name", DOUBTS)
def test_what_is_in_doubt_is_looked_for_before_anything_of_it_begins(under_test: UnderTest, name: str) -> None:
    """Also where it is halted, needs approval or is over a limit by now: to look changes nothing. The reply to a take
    may be lost, too."""
    ledger, (doubt, expected) = under_test.ledger, DOUBTS[name]
    doubt(ledger)
    under_test.halt("*/*")
    other = asks("2", SECOND, hold=HOLD, limits=LIMITS, pace=USED_UP, lease_ms=LEASE_MS)
    assert ledger.begin(other, 1) == LookFirst()
    before = ledger.read("id")
    assert looked(ledger, other) == expected == looked(ledger, other)
    record = ledger.read("id")
    assert before is not None
    assert record is not None
    assert (record.state, record.lookup, record.progress) == (State.WAITING, FIRST, expected.progress)
    assert record.first_begun_at == before.first_begun_at
    assert isinstance(ledger.take_to_look(asks("3")), Busy)
    assert isinstance(ledger.begin(asks("3"), 1), Busy)
    assert ledger.settle(other, report()) == report()
    assert ledger.take_to_look(asks("3")) == Ended(report())


@pytest.mark.parametrize("name", DOUBTS)
def test_nothing_is_looked_for_where_a_look_would_not_show_all_of_its_attempts(ledger: Ledger, name: str) -> None:
    """Its alias means another account by now; or its owners could not look."""
    doubt, _ = DOUBTS[name]
    doubt(ledger)
    elsewhere = asks("2", account_digest="there", repeatable=True, lease_ms=0)
    assert ledger.take_to_look(elsewhere) is None
    begun = ledger.begin(elsewhere, 1)
    assert isinstance(begun, Begun)
    assert begun.lookup == ""
    assert ledger.take_to_look(asks("3")) is None
    assert ledger.take_to_look(replace(elsewhere, token="3")) is None


@pytest.mark.parametrize("name", DOUBTS)
@pytest.mark.parametrize("change", [{"account_digest": "there"}, {"lookup": ""}, {"token": "owner"}])
def test_what_is_in_doubt_and_can_not_be_repeated_never_begins(
    ledger: Ledger, name: str, change: dict[str, str]
) -> None:
    """Whoever asks: a run that can't look, and its owner, too."""
    doubt, _ = DOUBTS[name]
    doubt(ledger)
    if "token" in change:
        ledger.take_to_look(asks("owner"))
    assert isinstance(ledger.begin(replace(asks("2"), **change), 1), Orphaned)


def test_a_lookup_holds_until_the_venue_takes_no_attempt_in_doubt_any_more(ledger: Ledger) -> None:
    """A worker's clock may be ahead of the next one's, whose request the venue refuses earlier; 0 is never."""
    for token, until, kept in (("1", 5000, 5000), ("2", 3000, 5000), ("3", 7000, 7000), ("4", 0, 0), ("5", 9000, 0)):
        asked = asks(token, f'["handle", "P{token}", 0, {until}]', repeatable=True)
        found = ledger.begin(asked, 1)
        assert isinstance(found, Begun)
        assert found.lookup == f'["handle", "P{token}", 0, {kept}]'
    cleared = replace(found.progress, tainted="")
    assert ledger.pause(asked, cleared, 0)
    begun = ledger.begin(asked, 2)
    assert isinstance(begun, Begun)
    assert begun.lookup == asked.lookup


def test_a_doubt_without_a_lookup_never_gets_one(ledger: Ledger) -> None:
    ledger.begin(asks(lookup="", repeatable=True), 1)
    assert ledger.take_to_look(asks("2")) is None
    begun, record = ledger.begin(asks("2", repeatable=True), 1), ledger.read("id")
    assert isinstance(begun, Begun)
    assert record is not None
    assert (begun.lookup, record.lookup, ledger.take_to_look(asks("3"))) == ("", "", None)
    assert isinstance(ledger.begin(asks("3"), 1), Orphaned)


@pytest.mark.parametrize("name", DOUBTS)
def test_what_may_be_repeated_is_looked_for_or_sent_again(ledger: Ledger, name: str) -> None:
    """As its next owner likes; a begin says whether a look finds all of its attempts."""
    doubt, expected = DOUBTS[name]
    doubt(ledger)
    found = ledger.begin(asks("2", SECOND, repeatable=True), 1)
    assert isinstance(found, Begun)
    assert (found.fence, found.lookup) == (expected.fence, SECOND)
    taken = looked(ledger, asks("3", repeatable=True))
    assert taken is not None
    assert (taken.fence, taken.lookup, taken.progress.sent) == (expected.fence + 1, SECOND, 2)


def test_what_is_not_in_doubt_is_begun_like_anything_else(ledger: Ledger) -> None:
    assert ledger.take_to_look(asks()) is None
    ledger.begin(asks(hold=HOLD), 1)
    assert ledger.take_to_look(asks("2")) is None
    ledger.begin(asks("2", command_id="other"), 1)
    ledger.park(asks("2", command_id="other"), Progress(tries=1, sent=1), 0)
    assert ledger.take_to_look(asks("3", command_id="other")) is None
    assert isinstance(ledger.begin(asks("3", SECOND, command_id="other"), 1), Begun)
    assert ledger.take_to_look(asks("4", command_id="other", fingerprint="e" * 64)) == Reused(None)
    taken = ledger.take_to_look(asks("4", command_id="other"))
    assert isinstance(taken, Doubtful)
    assert (taken.lookup, taken.progress.tries) == (SECOND, 2)


def test_a_doubt_that_is_cleared_lets_the_next_attempt_begin(ledger: Ledger) -> None:
    """By its owner, or by anybody once it is parked without a doubt; and the lookup is that of the last begin."""
    dies_sending(ledger)
    ledger.take_to_look(asks("2", lease_ms=LEASE_MS))
    cleared = replace(CRASHED, tainted="")
    assert ledger.pause(asks("2"), cleared, LEASE_MS)
    assert isinstance(begun := ledger.begin(asks("2", SECOND), 1), Begun)
    assert begun.progress == replace(cleared, tries=2)
    assert isinstance(ledger.take_to_look(asks("3", lease_ms=LEASE_MS)), Doubtful)
    assert ledger.park(asks("3"), cleared, 0)
    assert isinstance(ledger.begin(asks("4", SECOND), 1), Begun)
    record = ledger.read("id")
    assert record is not None
    assert (record.fence, record.lookup) == (4, SECOND)


def test_a_dead_looker_can_move_nothing(ledger: Ledger) -> None:
    dies_sending(ledger)
    ledger.take_to_look(asks("2"))
    ledger.take_to_look(asks("3", lease_ms=LEASE_MS))
    for late in (asks(), asks("2")):
        assert not ledger.pause(late, replace(CRASHED, tainted=""), 0)
        assert not ledger.park(late, replace(CRASHED, tainted=""), 0)
        assert isinstance(ledger.begin(late, 2), Busy)
        assert ledger.settle(late, report()) is None


def test_what_an_unknown_was_sent_with_stays_on_record(ledger: Ledger) -> None:
    """A reconcile looks by it; also after the server lost the record, and its owner put it back."""
    dies_sending(ledger)
    ledger.settle(asks(), report("unknown"))
    ledger.settle(asks(command_id="lost"), report("unknown"))
    for command_id in ("id", "lost"):
        record = ledger.read(command_id)
        assert record is not None
        assert (record.state, record.lookup, record.account_digest) == (State.UNKNOWN, FIRST, "here")


def test_the_budget_of_what_was_parked_goes_on_and_a_dead_owners_begins_anew(under_test: UnderTest) -> None:
    ledger = under_test.ledger
    for doubt, least in ((parks, MINUTE_MS), (dies_waiting, 0)):
        doubt(ledger)
        under_test.age(MINUTE_MS)
        found = ledger.take_to_look(asks("2"))
        assert isinstance(found, Doubtful)
        assert least <= found.since_ms < least + MINUTE_MS
        assert MINUTE_MS <= found.begun_ms < 2 * MINUTE_MS
        under_test.forget("id")


def test_a_begin_in_the_journal_names_who_looks(under_test: UnderTest) -> None:
    dies_sending(under_test.ledger)
    under_test.new_events()
    under_test.ledger.take_to_look(asks("2"))
    assert under_test.new_events() == ["look"]
