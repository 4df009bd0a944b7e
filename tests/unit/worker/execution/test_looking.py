"""Commands in doubt at a venue that knows client order ids: looked for before they are sent again, or end."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf

import pytest

from producers.commands import Close
from tests.support.fakes import START_MS
from tests.unit.worker.execution.executor_fixture import ACCOUNT, CANCEL, CLOSE, WITHDRAW, Ended, ended
from tests.unit.worker.execution.fake_exchange import Fate, LookingFixture, handle_of
from worker.execution.backoff import RetryLimits
from worker.execution.carried import Memory
from worker.execution.events import CommandRef, LookEvent, Observer
from worker.execution.looking import MAX_LOOKS
from worker.execution.parking import ParkMessage, WaitsFor
from worker.execution.policy.rulings import Approval, Ruling
from worker.ledger.base import Claim, Halted, Progress, State
from worker.venues.accounts import Credentials
from worker.venues.lookups import Lookup

PART = {**CLOSE, "qty": "0.5"}
HALT = Halted("ann", "venue on fire", START_MS)
UNREADABLE: list[Fate] = ["unreadable"]

Lives = tuple[str, dict[str, str], list[Fate], Ended, int]
"""Command, arguments, what becomes of its requests, how it ends, and how often it is executed."""
LIVES: dict[str, Lives] = {
    "nothing is in doubt": ("close", PART, [], ("accepted", "ok", 1), 1),
    "the reply is lost": ("close", PART, ["reply lost"], ("accepted", "ok", 1), 1),
    "an answer that is not listed": ("close", PART, ["nonsense"], ("accepted", "ok", 2), 1),
    "the request is lost": ("close", PART, ["request lost"], ("accepted", "ok", 2), 1),
    "the request arrives late": ("close", PART, ["arrives late"], ("accepted", "ok", 1), 1),
    "a worker dies before it sends": ("close", PART, ["dies before"], ("accepted", "ok", 2), 1),
    "a worker dies after it sent": ("close", PART, ["dies after"], ("accepted", "ok", 1), 1),
    "every request is lost": ("close", PART, ["request lost"] * 3, ("not_sent", "unavailable", 3), 0),
    "every worker dies before it sends": ("close", PART, ["dies before"] * 3, ("not_sent", "unavailable", 3), 0),
    "a withdrawal's reply is lost": ("withdraw", WITHDRAW, ["reply lost"], ("accepted", "ok", 1), 1),
    "a withdrawal's request is lost": ("withdraw", WITHDRAW, ["request lost"], ("unknown", "lost_reply", 1), 0),
    "a withdrawal's worker dies before": ("withdraw", WITHDRAW, ["dies before"], ("unknown", "crashed", 1), 0),
    "a withdrawal's worker dies after": ("withdraw", WITHDRAW, ["dies after"], ("accepted", "ok", 1), 1),
    "lost, then refused": ("close", PART, ["request lost", "refused"], ("rejected", "refused", 2), 0),
    # What may be repeated is looked for once, and sent again at once; and before it ends in doubt.
    "a whole close's reply is lost": ("close", CLOSE, ["reply lost"], ("accepted", "ok", 1), 1),
    "a whole close's request is lost": ("close", CLOSE, ["request lost"], ("accepted", "ok", 2), 1),
    "a whole close's worker dies": ("close", CLOSE, ["dies after"], ("accepted", "ok", 1), 1),
    "a whole close is lost, then refused": ("close", CLOSE, ["request lost", "refused"], ("rejected", "refused", 2), 0),
    "a whole close that the venue knows": ("close", CLOSE, ["request lost", "duplicate"], ("unknown", "seen", 2), 0),
    "a whole close is lost for ever": ("close", CLOSE, ["request lost"] * 3, ("not_sent", "unavailable", 3), 0),
    # A cancel can't be looked for.
    "a cancel's worker dies": ("cancel", CANCEL, ["dies before"], ("accepted", "ok", 2), 1),
    "a cancel is lost, then refused": (
        "cancel",
        CANCEL,
        ["nonsense", "refused"],
        ("unknown", "refused_after_lost", 2),
        0,
    ),
}


@pytest.mark.parametrize("parks", [False, True], ids=["in its thread", "parked"])
@pytest.mark.parametrize(("command", "arguments", "fates", "expected", "executions"), LIVES.values(), ids=LIVES)
def test_how_a_command_ends(
    command: str, arguments: dict[str, str], fates: list[Fate], expected: Ended, executions: int, parks: bool
) -> None:
    """Whatever is found decides; what is proven absent is sent again, and a withdrawal never is. The ids are reused
    after a fill: whatever is sent twice is executed twice."""
    fixture = LookingFixture(*fates)
    fixture.exchange.reuses = True
    report = fixture.lives(command, arguments, parks=parks)
    assert (ended(report), len(fixture.exchange.executed)) == (expected, executions)
    assert report.fingerprint == fixture.lives(command, arguments, parks=parks).fingerprint
    assert len(fixture.exchange.executed) == executions
    record = fixture.ledger.read("id")
    assert record is not None
    assert record.state is (State.UNKNOWN if expected[0] == "unknown" else State.SETTLED)


def test_an_absent_request_is_sent_again_only_after_the_venue_can_take_it_no_more() -> None:
    """And under the same id, as of a new time; the lookup of each attempt is on record before it is sent."""
    stored: list[Lookup | None] = []

    def note() -> None:
        record = fixture.ledger.read("id")
        stored.append(Lookup.from_text(record.lookup) if record else None)

    fixture = LookingFixture("request lost")
    fixture.exchange.fates.append(note)
    fixture.lives("close", PART, parks=True)
    first, second = (json.loads(request.body or b"") for request in fixture.exchange.requests)
    assert first["handle"] == second["handle"] == handle_of(ACCOUNT, "id")
    assert (first["until"], second["at"] >= first["until"] + 5_000) == (START_MS + 5_000, True)
    assert stored == [Lookup(first["handle"], "P", until_ms=second["until"])]
    assert [each.waits_for for each in fixture.parkings[:2]] == [WaitsFor.LOOK] * 2
    assert [each.wait_ms for each in fixture.parkings[:2]] == [10_000, 1_000]


def test_a_deadline_bounds_the_time_in_which_the_venue_may_take_it() -> None:
    """So that a late command is known not to have been executed soon after its deadline."""
    fixture = LookingFixture("request lost")
    report = fixture.lives("close", {**PART, "deadline": START_MS + 2_000}, parks=True)
    assert ended(report) == ("not_sent", "expired", 1)
    assert json.loads(fixture.exchange.requests[0].body or b"")["until"] == START_MS + 2_000
    assert fixture.clock.now_ms() == START_MS + 2_000 + 5_000 + 1_000


def behind(fixture: LookingFixture) -> None:
    fixture.exchange.behind_ms = 3_000


def ahead(fixture: LookingFixture) -> None:
    fixture.exchange.lists_ahead_ms = 60_000


def far_behind(fixture: LookingFixture) -> None:
    fixture.exchange.behind_ms = 10**9


def without_window(fixture: LookingFixture) -> None:
    fixture.venue.window_ms = 0


def hides(fixture: LookingFixture) -> None:
    fixture.exchange.shows = False


def unreadable(fixture: LookingFixture) -> None:
    fixture.exchange.looks = UNREADABLE * 100


def unreadable_at_first(fixture: LookingFixture) -> None:
    fixture.exchange.looks = UNREADABLE * 3


def lookers_die(fixture: LookingFixture) -> None:
    fixture.exchange.looks = ["dies"] * 3


def ends_meanwhile(fixture: LookingFixture) -> None:
    fixture.exchange.status = "failed"


def contradicts(fixture: LookingFixture) -> None:
    fixture.exchange.status = "upside down"


def halted(fixture: LookingFixture) -> None:
    fixture.exchange.looks = [lambda: fixture.ledger.halts.update({"*/close": HALT})]


def knows_it(fixture: LookingFixture) -> None:
    fixture.exchange.fates = [lambda: fixture.exchange.book.update({handle_of(ACCOUNT, "id"): "open"})]


def knows_it_and_dies(fixture: LookingFixture) -> None:
    """Its looker dies; what the venue said is on record by then."""
    fixture.exchange.fates, fixture.exchange.looks = ["duplicate"], ["dies"]


def short_budget(fixture: LookingFixture) -> None:
    fixture.retry = RetryLimits(attempts=3, budget_seconds=2)


def record_lost(fixture: LookingFixture) -> None:
    fixture.exchange.looks = [partial(fixture.ledger.forget, "id")]


CONDITIONS: dict[str, tuple[Callable[[LookingFixture], None], list[Fate], Ended, int]] = {
    "a venue whose clock is behind": (behind, ["request lost"], ("accepted", "ok", 2), 1),
    "lists whose server's clock is ahead": (ahead, ["arrives late"], ("accepted", "ok", 1), 1),
    "a venue whose clock is far behind": (far_behind, ["request lost"], ("unknown", "lost_reply", 1), 0),
    "a venue that takes a request at any time": (without_window, ["request lost"], ("unknown", "lost_reply", 1), 0),
    "a request that arrives during the looks": (without_window, ["arrives late"], ("accepted", "ok", 1), 1),
    "lists that can't be read": (unreadable, ["reply lost"], ("unknown", "lost_reply", 1), 1),
    "lists that can't be read at first": (unreadable_at_first, ["reply lost"], ("accepted", "ok", 1), 1),
    "lookers that die": (lookers_die, ["request lost"], ("accepted", "ok", 2), 1),
    "a record that says no": (ends_meanwhile, ["reply lost"], ("rejected", "refused", 1), 1),
    "a record that can't be understood": (contradicts, ["reply lost"], ("unknown", "unlisted_answer", 1), 1),
    "a halt while it is looked for": (halted, ["request lost"], ("not_sent", "halted", 1), 0),
    "a halt while it is looked for, and it is found": (halted, ["arrives late"], ("accepted", "ok", 1), 1),
    "a budget that is used up meanwhile": (short_budget, ["request lost"], ("not_sent", "unavailable", 1), 0),
    "a budget that is used up, and it is found": (short_budget, ["arrives late"], ("accepted", "ok", 1), 1),
    "an id that the venue knows, and shows": (knows_it, [], ("accepted", "ok", 1), 0),
    "an id that the venue knows, and does not show": (hides, ["duplicate"], ("unknown", "seen", 1), 0),
    "the same, and its looker dies": (knows_it_and_dies, [], ("unknown", "seen", 1), 0),
    "an id that it knows at the second attempt": (hides, ["request lost", "duplicate"], ("unknown", "seen", 2), 0),
    "a ledger that loses the record": (record_lost, ["request lost"], ("accepted", "ok", 2), 1),
    "a ledger that loses the record of a late request": (record_lost, ["arrives late"], ("accepted", "ok", 1), 1),
}


@pytest.mark.parametrize("parks", [False, True], ids=["in its thread", "parked"])
@pytest.mark.parametrize(("condition", "fates", "expected", "executions"), CONDITIONS.values(), ids=CONDITIONS)
def test_what_may_happen_while_a_command_is_looked_for(
    condition: Callable[[LookingFixture], None], fates: list[Fate], expected: Ended, executions: int, parks: bool
) -> None:
    fixture = LookingFixture(*fates)
    fixture.exchange.reuses = True
    condition(fixture)
    report = fixture.lives("close", PART, parks=parks)
    assert (ended(report), len(fixture.exchange.executed)) == (expected, executions)


@pytest.mark.parametrize("lists_ahead_ms", [0, 60_000])
def test_a_look_is_told_and_shows_no_secret(caplog: pytest.LogCaptureFixture, lists_ahead_ms: int) -> None:
    """What the venue echoes of the look's own signature goes into the report as its result. Absence counts by the
    worker's clock, too, however far a venue's is ahead."""
    events: list[LookEvent] = []

    class Looks(Observer):
        def looked(self, ref: CommandRef, event: LookEvent) -> None:
            events.append(event)

    caplog.set_level("INFO")
    fixture = LookingFixture("request lost", "reply lost")
    fixture.observers, fixture.exchange.lists_ahead_ms = (Looks(),), lists_ahead_ms
    report = fixture.lives("close", PART, parks=True)
    assert [(each.sight, each.counts, each.number) for each in events] == [
        ("absent", False, 1),
        ("absent", True, 2),
        ("absent", True, 3),
        ("found", False, 1),
    ]
    assert "look id=id command=close account=main look=2 sight=absent" in caplog.text
    assert report.message == "found at the venue by its client order id: it is taken"
    assert (report.result["id"], report.http_status) == ("1", None)
    assert "signature-of-the-look" not in report.model_dump_json() + caplog.text


def test_looks_that_show_nothing_are_bounded() -> None:
    """By their number, and so in time: a person is told of the unknown within two minutes."""
    fixture = LookingFixture("reply lost")
    fixture.exchange.looks = UNREADABLE * 100
    fixture.lives("close", PART, parks=True)
    assert len(fixture.exchange.looks) == 100 - MAX_LOOKS
    assert fixture.clock.now_ms() - START_MS < 120_000


def test_what_a_former_owner_saw_before_a_later_attempt_counts_no_more() -> None:
    """Its worker had seen one absence and parked it; the attempt that is in doubt now was made after that."""
    fixture = LookingFixture()
    lookup = Lookup(handle_of(ACCOUNT, "id"), "P", until_ms=START_MS - 10_000)
    fingerprint = Close(account="main", pair="USD_BTC_PERP", qty="0.5").fingerprint
    claim = Claim("id", fingerprint, "close", "main", False, "1", 1000, account_digest=ACCOUNT.digest)
    fixture.ledger.begin(replace(claim, lookup=lookup.to_text()), 1)
    seen = Memory(tries=7, looks=MAX_LOOKS - 1, absences=1)
    fixture.ledger.park(claim, Progress(tries=1, sent=1, tainted="lost_reply"), 0, seen.to_text())
    fixture.exchange.looks = [lambda: None, lambda: fixture.exchange.book.update({lookup.handle: "taken"})]
    assert fixture.ends("close", PART) == ("accepted", "ok", 1)


def test_another_account_behind_the_alias_is_neither_looked_at_nor_sent_to() -> None:
    """What was sent to the first account is nowhere at the second, and that would prove nothing."""
    fixture = LookingFixture("dies before")
    fixture.is_killed("close", PART)
    fixture.accounts = {"main": replace(ACCOUNT, credentials=Credentials("another-key", "another-secret"))}
    assert fixture.ends("close", PART) == ("unknown", "crashed", 1)
    assert (fixture.exchange.executed, fixture.exchange.requests) == ([], [])
    record = fixture.ledger.read("id")
    assert record is not None
    assert Lookup.from_text(record.lookup) == Lookup(handle_of(ACCOUNT, "id"), "P", until_ms=START_MS + 5_000)


def test_a_stopping_worker_leaves_its_look_to_the_next() -> None:
    fixture = LookingFixture("request lost")
    fixture.stop_in(2)
    fixture.requeues("close", PART)
    assert fixture.clock.now_ms() < START_MS + 3_000
    fixture.stop_at = inf
    assert fixture.ends("close", PART) == ("accepted", "ok", 2)


def expired(fixture: LookingFixture) -> dict[str, int]:
    return {"expires_at": START_MS + 1}


def denied(fixture: LookingFixture) -> dict[str, int]:
    fixture.ruling = lambda _: Ruling(denied="rule 1 forbids it")
    return {}


def needs_approval(fixture: LookingFixture) -> dict[str, int]:
    fixture.ruling = lambda _: Ruling(approvals=(Approval("two eyes", {}),))
    return {}


def halts_all(fixture: LookingFixture) -> dict[str, int]:
    fixture.ledger.halts = {"*/*": HALT, "*/close": HALT}
    return {}


FORBIDDEN = [
    *((change, "close", PART, "not_sent") for change in (expired, denied, halts_all)),
    *((change, "close", CLOSE, "not_sent") for change in (expired, denied, halts_all)),
    *((change, "withdraw", WITHDRAW, "unknown") for change in (expired, denied, halts_all, needs_approval)),
]


@pytest.mark.parametrize(("change", "command", "arguments", "absent"), FORBIDDEN)
@pytest.mark.parametrize("fate", ["dies before", "dies after"])
def test_what_may_not_be_sent_any_more_is_looked_for_all_the_same(
    change: Callable[[LookingFixture], dict[str, int]], command: str, arguments: dict[str, str], absent: str, fate: str
) -> None:
    """A look changes nothing at the venue; and nothing is sent."""
    fixture = LookingFixture(fate)
    fixture.is_killed(command, arguments)
    fixture.clock.turn(20)
    more = change(fixture)
    report = fixture.run(command, arguments, **more)
    assert report.outcome.value == ("accepted" if fate == "dies after" else absent)
    assert len(fixture.exchange.executed) == (fate == "dies after")


def test_a_look_that_takes_long_keeps_its_lease() -> None:
    """Another worker would look as well, and both would send."""
    fixture = LookingFixture("request lost")

    def slow() -> None:
        fixture.clock.turn(12)
        with pytest.raises(ParkMessage):
            fixture.execute("close", PART, parks=True)

    fixture.retry = RetryLimits(budget_seconds=600)
    fixture.exchange.looks = [slow] * 6
    fixture.venue.reads_per_look = 3
    assert fixture.ends("close", PART) == ("accepted", "ok", 2)
    assert len(fixture.exchange.executed) == 1


def test_an_absence_that_is_found_too_late_proves_nothing() -> None:
    """A venue may have forgotten what a person saw and cancelled there hours ago."""
    fixture = LookingFixture("dies before")
    fixture.is_killed("close", PART)
    fixture.clock.turn(3_600)
    assert fixture.ends("close", PART) == ("unknown", "crashed", 1)
    assert fixture.exchange.requests == []


def test_a_first_record_that_has_failed_says_nothing_about_a_second_on_its_way() -> None:
    """Of a whole close, sent twice: the looks wait until the second can't arrive any more."""
    fixture = LookingFixture("reply lost", "arrives late", "refused")
    fixture.exchange.status, fixture.exchange.reuses = "failed", True
    fixture.exchange.looks = [lambda: None, lambda: fixture.exchange.__setattr__("status", "taken")]
    assert fixture.lives("close", CLOSE, parks=True).outcome.value == "accepted"


def test_a_record_of_the_first_that_shows_up_late_says_nothing_about_the_second() -> None:
    """Of what is sent again because it never arrived: it did, and its rejection is listed only after that."""
    fixture = LookingFixture("request lost", "arrives late")
    exchange = fixture.exchange
    exchange.reuses = True

    def is_listed() -> None:
        if len(exchange.requests) == 2 and not exchange.executed:
            exchange.book[json.loads(exchange.requests[0].body or b"")["handle"]] = "failed"

    exchange.looks = [is_listed] * 10
    report = fixture.lives("close", PART, parks=True)
    assert (report.outcome.value, len(exchange.executed)) == ("accepted", 1)
