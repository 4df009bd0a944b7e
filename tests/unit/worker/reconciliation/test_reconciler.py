"""What a reconcile makes of clocks and of other commands, with the ledger and the venue played by a few lines each."""

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
from worker.reconciliation.reconciler import Reconciler
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
ORDER = VenueOrder("o", "P", "SELL", "MARKET", Decimal(1), Decimal("0.5"), "COMPLETED", T0 - 1_900, True)
MAIN = Account("main", "venue", "https://venue", Credentials("key", "secret"))


def unknown(command_id: str, account: str = "main") -> Record:
    """The record of another unknown close."""
    report = REPORT.model_copy(update={"command_id": command_id, "account": account})
    return replace(RECORD, command_id=command_id, account=account, report=report)


@dataclass
class _World:
    """One unknown close that the venue has executed, begun on a clock that was 1.9 s ahead. Plays the clock, the
    ledger, the store, the journal and the venue."""

    venue_ahead: int = 0
    """Its clock, ms."""
    slow: int = 0
    """How long it takes to tell its time, ms."""
    jump: int = 0
    """By how much a clock jumps while the venue is read, ms."""
    records: Mapping[str, Record] = field(default_factory=lambda: {"x": RECORD})
    accounts: Mapping[str, Account] = field(default_factory=lambda: {"main": MAIN})
    now: int = T0 + 200_000
    published: list[Outcome] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)

    def now_ms(self) -> int:
        return self.now

    def unknowns(self) -> list[tuple[str, int]]:
        return [(command_id, T0) for command_id in self.records]

    def resolve(self, report: Report, **_: str) -> Report:
        return report

    def forget_absence(self, _: str) -> None: ...

    def begun_sends(self) -> "_World":
        return self

    def between(self, _start: int, _end: int, _command: str, accounts: set[str]) -> list[str]:
        return [each.command_id for each in self.records.values() if each.account in accounts]

    def visit(self, _: Account) -> "_World":
        return self

    def read(self, given: Any) -> Record | None:
        """As the ledger, of an id; as the venue, for commands."""
        if isinstance(given, str):
            return self.records.get(given)
        self.reads.append(len(given))
        self.venue_ahead += self.jump
        return None

    def time(self) -> int:
        self.now += self.slow
        return self.now + self.venue_ahead

    def snapshot(self, command: Close, window: Window) -> VenueSnapshot:
        order = replace(ORDER, time=ORDER.time + self.venue_ahead)
        orders = (order,) if window.start <= order.time <= window.suspect_until else ()
        return VenueSnapshot(orders=orders, position=(Decimal(1), "BUY"))

    def reconciler(self) -> Reconciler:
        """Over this world."""
        me = cast("Any", self)
        reads, publish = {"venue": me}, lambda report: self.published.append(report.outcome)
        limits = ReconcileLimits()
        return Reconciler(
            ledger=me,
            store=me,
            journal=me,
            accounts=self.accounts,
            reads=reads,
            clock=me,
            limits=limits,
            publish=publish,
        )

    def findings(self) -> list[str]:
        """Of two runs with more than the time between that makes them count as two."""
        first = self.reconciler().one("x")
        self.now += 60_000
        return [first.finding, self.reconciler().one("x").finding]


@pytest.mark.parametrize(
    ("venue_ahead", "slow", "jump", "finding"),
    [
        # How much of a reading's time passed before the venue looked at its clock, nobody knows: both ends count.
        *((ahead, 1_900, 0, "found") for ahead in (-1_900, -3_500, -60_000, 60_000)),
        (-5_000, 0, 0, "found"),
        # Of a clock that takes too long the offset would be of any size.
        *((ahead, 4_000, 0, "unreadable") for ahead in (0, -5_000, 5_000)),
        # By which clock the times are that were read while one jumped, the venue's or ours, nobody knows.
        *((0, 0, 0, "found"), (0, 0, 1_500, "found"), (0, 0, 4_000, "unreadable"), (0, 0, -4_000, "unreadable")),
    ],
)
def test_a_record_is_found_by_the_venues_clock_or_nothing_is_said(
    venue_ahead: int, slow: int, jump: int, finding: str
) -> None:
    """Nothing is settled by a time that nobody can compare."""
    world = _World(venue_ahead, slow, jump)
    first, second = world.findings()
    assert first == finding
    assert second == finding or jump
    assert (world.published == []) is (finding == "unreadable")


def test_an_account_is_visited_once_for_all_its_unknowns() -> None:
    """And each command is looked for in what was read for all."""
    world = _World(records={each: unknown(each) for each in "xyz"})
    assert [each.command_id for each in world.reconciler().all()] == ["x", "y", "z"]
    assert world.reads == [3]


@pytest.mark.parametrize(
    ("tainted", "answered", "reference"),
    [("", 200, "o2"), ("lost_reply", 200, ""), ("crashed", 200, ""), ("lost_reply", None, "o2")],
)
def test_a_command_whose_first_reply_was_lost_may_have_made_two_records(
    tainted: str, answered: int | None, reference: str
) -> None:
    """The answer that it was accepted by names the second alone: the first looks like anybody's."""
    accepted = REPORT.model_copy(update={"outcome": Outcome.ACCEPTED, "result": {"id": "o2"}, "http_status": answered})
    other = replace(RECORD, command_id="y", state=State.SETTLED, report=accepted, progress=Progress(2, 2, tainted))
    played = cast("Any", SimpleNamespace(read=lambda _: other, between=lambda *_: ["x", "y"]))
    competing = CompetingCommands(played, played, ReconcileLimits(), {})
    found = competing.of(RECORD, CLOSE, Window(T0, T0, T0), ClockOffset(0, 0))
    assert [(each.command_id, each.reference) for each in found or ()] == [("y", reference)]


@pytest.mark.parametrize(
    ("url", "finding"), [("https://venue", "ambiguous"), ("https://elsewhere", "found")], ids=["same", "another"]
)
def test_another_alias_may_be_of_the_same_account(url: str, finding: str) -> None:
    """Two keys of one account at the venue: its one record may be either alias's."""
    accounts = {"main": MAIN, "second": replace(MAIN, alias="second", base_url=url)}
    world = _World(records={"x": RECORD, "y": unknown("y", "second")}, accounts=accounts)
    assert world.findings() == [finding, finding]


@pytest.mark.parametrize(
    ("digest", "finding"),
    [
        pytest.param(MAIN.digest, "found", id="here"),
        pytest.param("", "found", id="begun by an earlier version"),
        pytest.param(replace(MAIN, credentials=Credentials("other", "secret")).digest, "unreadable", id="another key"),
        pytest.param(replace(MAIN, base_url="https://sandbox").digest, "unreadable", id="another address"),
        pytest.param(replace(MAIN, venue="elsewhere").digest, "unreadable", id="another venue"),
        pytest.param("*", "unreadable", id="several"),
    ],
)
def test_what_was_sent_elsewhere_is_not_looked_for_here(digest: str, finding: str) -> None:
    """An alias that means another account by now, or on this machine: what is there, or is not, says nothing."""
    world = _World(records={"x": replace(RECORD, account_digest=digest)})
    assert world.findings() == [finding, finding]
    assert (world.published == []) is (finding == "unreadable")


def test_a_digest_tells_nothing_of_the_key() -> None:
    """It stands in the ledger, which holds no secrets."""
    assert MAIN.digest == replace(MAIN, alias="second", credentials=Credentials("key", "rotated")).digest
    assert len(MAIN.digest) == 16
    assert "key" not in MAIN.digest
