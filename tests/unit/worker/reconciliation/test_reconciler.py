"""What a reconcile makes of clocks and of rivals: with the ledger and the venue played by a few lines each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from producers.commands import Close
from producers.report import Outcome, Reason, Report
from worker.execution.intake import stored_arguments
from worker.ledger.base import Progress, Record, State
from worker.reconciliation.competing import CompetingCommands
from worker.reconciliation.reconciler import Reconciled, Reconciler
from worker.reconciliation.window import ClockOffset, ReconcileLimits
from worker.venues.accounts import Account, Credentials
from worker.venues.records import VenueOrder, VenueSnapshot, Window

T0 = 1_800_000_000_000
CLOSE = Close(account="main", pair="P", qty=Decimal("0.5"))
REPORT = Report(
    command_id="x", command="close", account="main", outcome=Outcome.UNKNOWN, reason=Reason.LOST_REPLY, message="",
    fingerprint=CLOSE.fingerprint, first_sent_at=T0 + 5, last_signed_at=T0 + 5,
)  # fmt: skip
RECORD = Record(
    "x", State.UNKNOWN, CLOSE.fingerprint, "close", "main", 1, Progress(1, 1), REPORT, stored_arguments(CLOSE), T0,
    T0 + 17_000,
)  # fmt: skip
MAIN = Account("main", "venue", "https://venue", Credentials("key", "secret"))


@dataclass
class _World:
    """One unknown close that the venue has executed, begun on a clock that was 1.9 s ahead. Plays the clock, the
    ledger, the casebook and the venue."""

    venue_ahead: int
    """Its clock, ms."""
    slow: int
    """How long it takes to tell its time, ms."""
    now: int = T0 + 200_000
    first: int | None = None
    told: list[Outcome] = field(default_factory=list)
    record: Record = RECORD

    def now_ms(self) -> int:
        return self.now

    def resolve(self, report: Report, **_: str) -> Report:
        return report

    def begun_between(self, *_: object) -> list[str]:
        return ["x"]

    def begun(self) -> Any:
        return SimpleNamespace(between=lambda *asked: self.begun_between(*asked))

    def first_look(self, _: str) -> int | None:
        return self.first

    def note_look(self, _: str, at_ms: int) -> None:
        self.first = at_ms

    def forget_look(self, _: str) -> None:
        self.first = None

    def visit(self, _: Account) -> "_World":
        return self

    def read(self, given: Any) -> Any:
        return self.record if isinstance(given, str) else None

    def time(self) -> int:
        self.now += self.slow
        return self.now + self.venue_ahead

    def snapshot(self, command: Close, window: Any) -> VenueSnapshot:
        order = VenueOrder(
            "o", "P", "SELL", "MARKET", Decimal(1), Decimal("0.5"), "COMPLETED", T0 - 1_900 + self.venue_ahead, True
        )
        return VenueSnapshot(
            orders=(order,) if window.start <= order.time <= window.late else (), position=(Decimal(1), "BUY")
        )

    def reconciler(self, accounts: Mapping[str, Account] | None = None) -> Reconciler:
        """Over this world."""
        played = cast("Any", self)
        return Reconciler(
            ledger=played,
            casebook=played,
            accounts=accounts or {"main": MAIN},
            reads={"venue": played},
            clock=played,
            limits=ReconcileLimits(),
            publish=lambda report: self.told.append(report.outcome),
        )

    def reconcile_twice(self, accounts: Mapping[str, Account] | None = None) -> list[Reconciled]:
        """Two runs with more than the time between that makes them count as two."""
        reconciler = self.reconciler(accounts)
        first = reconciler.one("x")
        self.now += 60_000
        return [first, reconciler.one("x")]


@pytest.mark.parametrize(
    ("venue_ahead", "slow"), [(-1_900, 1_900), (-3_500, 1_900), (-60_000, 1_900), (60_000, 1_900), (-5_000, 0)]
)
def test_the_time_that_a_reading_took_hides_no_record(venue_ahead: int, slow: int) -> None:
    """How much of it passed before the venue looked at its clock, nobody knows: the window takes in both ends."""
    assert [each.finding for each in _World(venue_ahead, slow).reconcile_twice()] == ["found", "found"]


@pytest.mark.parametrize("venue_ahead", [0, -5_000, 5_000])
def test_a_clock_that_takes_too_long_says_nothing(venue_ahead: int) -> None:
    """Its offset would be of any size; nothing is settled by it."""
    world = _World(venue_ahead, slow=4_000)
    assert [each.finding for each in world.reconcile_twice()] == ["unreadable", "unreadable"]
    assert world.told == []


@pytest.mark.parametrize(
    ("jump", "finding"), [(0, "found"), (1_500, "found"), (4_000, "unreadable"), (-4_000, "unreadable")]
)
def test_a_clock_that_jumps_while_the_venue_is_read_says_nothing(jump: int, finding: str) -> None:
    """The venue's or ours: which of the times that were read are by which, nobody knows."""
    world = _World(0, 0)

    def step(wanted: Any) -> Any:
        if isinstance(wanted, str):
            return world.record
        world.venue_ahead += jump
        return None

    cast("Any", world).read = step
    assert world.reconcile_twice()[0].finding == finding


def test_an_account_is_visited_once_for_all_its_unknowns() -> None:
    """And each command is looked for in what was read for all."""
    records = {
        each: replace(RECORD, command_id=each, report=REPORT.model_copy(update={"command_id": each})) for each in "xyz"
    }
    world = _World(0, 0)
    read: list[int] = []
    played = cast("Any", world)

    def look_up(given: Any) -> Any:
        return records.get(given) if isinstance(given, str) else read.append(len(given))

    played.read = look_up
    played.unknowns = lambda: [(each, T0) for each in records]
    found = list(world.reconciler().all())
    assert ([each.command_id for each in found], read) == (["x", "y", "z"], [3])


@pytest.mark.parametrize(
    ("tainted", "answered", "reference"),
    [("", 200, "o2"), ("lost_reply", 200, ""), ("crashed", 200, ""), ("lost_reply", None, "o2")],
)
def test_a_rival_whose_first_reply_was_lost_may_have_made_two_records(
    tainted: str, answered: int | None, reference: str
) -> None:
    """The answer that it was accepted by names the second alone: the first looks like anybody's."""
    accepted = REPORT.model_copy(update={"outcome": Outcome.ACCEPTED, "result": {"id": "o2"}, "http_status": answered})
    other = replace(RECORD, command_id="y", state=State.SETTLED, report=accepted, progress=Progress(2, 2, tainted))
    played = cast("Any", SimpleNamespace(read=lambda _: other, begun_between=lambda *_: ["x", "y"]))
    found = CompetingCommands(played, played, ReconcileLimits(), {}).of(
        RECORD, CLOSE, Window(T0, T0, T0), ClockOffset(0, 0)
    )
    assert [(each.command_id, each.reference) for each in found or ()] == [("y", reference)]


@pytest.mark.parametrize(
    ("url", "finding"), [("https://venue", "ambiguous"), ("https://elsewhere", "found")], ids=["same", "another"]
)
def test_another_alias_may_be_of_the_same_account(url: str, finding: str) -> None:
    """Two keys of one account at the venue: its one record may be either alias's."""
    twin = REPORT.model_copy(update={"command_id": "y", "account": "second"})
    records = {"x": RECORD, "y": replace(RECORD, command_id="y", account="second", report=twin)}
    world = _World(0, 0)
    played = cast("Any", world)
    played.read = lambda given: records.get(given) if isinstance(given, str) else None
    played.begun_between = lambda start, end, command, accounts: [
        each.command_id for each in records.values() if each.account in accounts
    ]
    accounts = {"main": MAIN, "second": replace(MAIN, alias="second", base_url=url)}
    assert [each.finding for each in world.reconcile_twice(accounts)] == [finding, finding]


ELSEWHERE = {
    "another key": replace(MAIN, credentials=Credentials("other", "secret")),
    "another address": replace(MAIN, base_url="https://sandbox"),
    "another venue": replace(MAIN, venue="elsewhere"),
}


@pytest.mark.parametrize("place", [*(each.place for each in ELSEWHERE.values()), "*"], ids=[*ELSEWHERE, "several"])
def test_what_was_sent_elsewhere_is_not_looked_for_here(place: str) -> None:
    """An alias that means another account by now, or on this machine: what is there, or is not, says nothing."""
    world = _World(0, 0, record=replace(RECORD, place=place))
    assert [each.finding for each in world.reconcile_twice()] == ["unreadable", "unreadable"]
    assert world.told == []


@pytest.mark.parametrize("place", [MAIN.place, ""], ids=["here", "begun by an earlier version"])
def test_what_was_sent_here_is_looked_for(place: str) -> None:
    """Or may have been."""
    world = _World(0, 0, record=replace(RECORD, place=place))
    assert {each.finding for each in world.reconcile_twice()} == {"found"}


def test_a_place_tells_nothing_of_the_key() -> None:
    """It stands in the ledger, which holds no secrets."""
    assert MAIN.place == replace(MAIN, alias="second", credentials=Credentials("key", "rotated")).place
    assert len(MAIN.place) == 16
    assert "key" not in MAIN.place
