"""What a reconcile makes of a command that has an id of its own at its venue."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from producers.commands import Cancel, Close, Command, Withdraw
from producers.report import Outcome, Reason, Report
from worker.execution.intake import stored_arguments
from worker.ledger.base import Progress, Record, State
from worker.reconciliation.reconciler import Reconciler
from worker.reconciliation.window import ReconcileLimits
from worker.venues.accounts import Account, Credentials
from worker.venues.lookups import Lookup, Sight, Sighting

T0 = 1_800_000_000_000
UNTIL = T0 + 10_000
COUNTS_FROM = UNTIL + 2_000 + 60_000
"""The margin of the clocks and the time to settle after the last arrival."""
LOOKUP = Lookup("handle", "PF_XBTUSD", until_ms=UNTIL)
MAIN = Account("main", "ccxt:krakenfutures", "https://venue", Credentials("key", "secret"))
CLOSE = Close(account="main", pair="PF_XBTUSD", qty="0.5")
CANCEL = Cancel(account="main", order_id="o1")
WITHDRAW = Withdraw(account="main", asset="ETH", qty="1", address="0xabc")
FOUND = Sighting(Sight.FOUND, "order o1 is filled", True, "o1", {"id": "o1"})
ABSENT = Sighting(Sight.ABSENT, "no order has its id")
UNREADABLE = Sighting(Sight.UNREADABLE, "no answer in time")


def unknown(command: Command, command_id: str = "x", lookup: Lookup | None = LOOKUP) -> Record:
    report = Report(
        command_id=command_id, command=command.name, account="main", outcome=Outcome.UNKNOWN, reason=Reason.LOST_REPLY,
        message="", fingerprint=command.fingerprint, first_sent_at=T0, last_signed_at=T0,
    )  # fmt: skip
    return Record(
        command_id, State.UNKNOWN, command.fingerprint, command.name, "main", 1, Progress(1, 1), report,
        stored_arguments(command), T0, T0 + 17_000, MAIN.digest, lookup=lookup.to_text() if lookup else "",
    )  # fmt: skip


@dataclass
class World:
    """Plays the clock, the ledger, the store and the journal; ``sees`` is what the venue answers to a look."""

    record: Record
    sees: Callable[[Lookup], Sighting]
    others: tuple[Record, ...] = ()
    now: int = COUNTS_FROM
    absences: dict[str, int] = field(default_factory=dict)
    looked: list[Lookup] = field(default_factory=list)

    def now_ms(self) -> int:
        return self.now

    def unknowns(self) -> list[tuple[str, int]]:
        return [(each.command_id, T0) for each in (self.record, *self.others)]

    def read(self, command_id: str) -> Record | None:
        return next((each for each in (self.record, *self.others) if each.command_id == command_id), None)

    def resolve(self, report: Report, **_: str) -> Report:
        return report

    def begun_sends(self) -> "World":
        return self

    def between(self, *_: Any) -> list[str]:
        return [each.command_id for each in self.others]

    def first_absence_at(self, command_id: str) -> int | None:
        return self.absences.get(command_id)

    def record_absence(self, command_id: str, at: int) -> None:
        self.absences[command_id] = at

    def forget_absence(self, command_id: str) -> None:
        self.absences.pop(command_id, None)

    def look(self, _command: Command, lookup: Lookup, _account: Account) -> Sighting:
        self.looked.append(lookup)
        return self.sees(lookup)

    def reconciler(self) -> Reconciler:
        me = cast("Any", self)
        return Reconciler(
            ledger=me, store=me, journal=me, accounts={"main": MAIN}, reads={}, clock=me, limits=ReconcileLimits(),
            publish=lambda _: None, look=self.look,
        )  # fmt: skip

    def look_twice(self) -> list[tuple[str, str]]:
        """Finding and outcome of two runs that count as two."""
        found = []
        for _ in range(2):
            result = self.reconciler().one("x")
            found.append((result.finding, result.outcome))
            self.now += 30_000
        return found


@pytest.mark.parametrize(
    ("command", "sighting", "findings"),
    [
        (CLOSE, FOUND, [("found", "accepted")] * 2),
        (WITHDRAW, FOUND, [("found", "accepted")] * 2),
        (CLOSE, replace(FOUND, taken=False), [("refuted", "not_sent")] * 2),
        (WITHDRAW, replace(FOUND, taken=False), [("ambiguous", "unknown")] * 2),
        (CLOSE, replace(FOUND, taken=None), [("ambiguous", "unknown")] * 2),
        (CLOSE, ABSENT, [("absent", "unknown"), ("absent", "not_sent")]),
        (WITHDRAW, ABSENT, [("ambiguous", "unknown")] * 2),
        (CLOSE, UNREADABLE, [("unreadable", "unknown")] * 2),
        # The venue's own clock says that it may still take the request.
        (CLOSE, replace(ABSENT, venue_time_ms=UNTIL), [("unreadable", "unknown")] * 2),
        (CLOSE, replace(ABSENT, venue_time_ms=UNTIL + 1), [("absent", "unknown"), ("absent", "not_sent")]),
    ],
)
def test_a_look_by_the_client_order_id_settles(
    command: Command, sighting: Sighting, findings: list[tuple[str, str]]
) -> None:
    """And nothing competes for what has the id."""
    world = World(unknown(command), lambda _: sighting)
    assert world.look_twice() == findings
    assert world.looked == [LOOKUP] * 2


@pytest.mark.parametrize(
    ("sent", "venue_time_ms", "finding"),
    [(1, None, "refuted"), (2, None, "ambiguous"), (2, UNTIL, "ambiguous"), (2, UNTIL + 1, "refuted")],
)
def test_a_rejection_of_one_request_settles_once_no_other_can_arrive(
    sent: int, venue_time_ms: int | None, finding: str
) -> None:
    record = unknown(CLOSE)
    record = replace(record, progress=replace(record.progress, sent=sent))
    world = World(record, lambda _: replace(FOUND, taken=False, venue_time_ms=venue_time_ms))
    assert world.reconciler().one("x").finding == finding
    if sent > 1:
        world.now = COUNTS_FROM - 1  # the venue may list another one later
        assert world.reconciler().one("x").finding == "ambiguous"


def test_absence_counts_only_after_the_venue_refuses_the_request() -> None:
    """Looks before that do not count, however many there are."""
    world = World(unknown(CLOSE), lambda _: ABSENT, now=COUNTS_FROM - 1)
    assert world.reconciler().one("x").outcome == "unknown"
    assert world.absences == {}
    world.now = COUNTS_FROM
    assert world.look_twice() == [("absent", "unknown"), ("absent", "not_sent")]


def test_a_venue_that_refuses_nothing_late_is_given_the_usual_time() -> None:
    """Its requests arrive within the time in the settings, counted from the last signature."""
    record = unknown(CLOSE, lookup=replace(LOOKUP, until_ms=0))
    world = World(record, lambda _: ABSENT, now=T0 + 15_000 + 60_000 - 1)
    assert world.reconciler().one("x").outcome == "unknown"
    assert world.absences == {}
    world.now += 1
    assert world.look_twice()[-1] == ("absent", "not_sent")


@pytest.mark.parametrize(
    ("others", "finding"),
    [
        ((), "found"),
        ((unknown(Cancel(account="main", order_id="o2"), "y", None),), "found"),
        ((unknown(Cancel(account="main", order_id="o1", deadline=T0), "y", None),), "ambiguous"),
    ],
    ids=["alone", "of another order", "of the same order"],
)
def test_a_cancel_is_looked_for_by_the_id_of_its_order(others: tuple[Record, ...], finding: str) -> None:
    """A cancelled order may be another cancel's doing."""
    world = World(unknown(CANCEL, lookup=None), lambda _: FOUND, others)
    assert world.reconciler().one("x").finding == finding
    assert world.looked == [Lookup("o1")]


def test_a_venue_that_does_not_answer_is_left_to_the_next_run() -> None:
    """Each look may last until a timeout, and an account may have a thousand unknowns."""
    world = World(unknown(CLOSE), lambda _: UNREADABLE, tuple(unknown(CLOSE, f"y{n}") for n in range(10)))
    assert [each.finding for each in world.reconciler().all()] == ["unreadable"] * 11
    assert len(world.looked) == 3
