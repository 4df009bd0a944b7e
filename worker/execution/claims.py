"""Claims on commands: a worker asks the ledger for a command and gets a lease on it, or the report that exists.

This module waits while another worker owns the command, or the venue's limits let no attempt begin, and ends the
command of a dead worker.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from producers.commands import Command
from producers.report import Report
from worker.clock import Clock
from worker.execution.carried import Memory, QueryProgress
from worker.execution.events import CommandRef, Observer
from worker.execution.outage import RequeueMessage, UntilAvailable
from worker.execution.parking import SHORTEST_SECONDS, Parking, ParkMessage, WaitsFor
from worker.ledger.base import (
    Admitted,
    BeginAnswer,
    Begun,
    Busy,
    Claim,
    Doubtful,
    Ended,
    Halted,
    Known,
    Ledger,
    LedgerUnavailable,
    LookAnswer,
    LookFirst,
    NeverBegun,
    Orphaned,
    Progress,
    QueryAnswer,
    Reused,
    TooLate,
)
from worker.ledger.holds import Held, HoldOver
from worker.ledger.limits import Denied
from worker.ledger.pacing import Throttled
from worker.venues.accounts import Account
from worker.venues.base import Plan
from worker.venues.lookups import Lookup

T = TypeVar("T")
A = TypeVar("A", BeginAnswer, BeginAnswer | None, LookAnswer | None)

POLL_SECONDS = (0.02, 0.5)
"""The first and the longest wait before the ledger is asked again whether a command's owner is done."""
LONGEST_PARKED_MS = 1000
"""The longest that a command is parked while it has another owner, who may end it at any time."""


class LeaseExpiry(NamedTuple):
    """When a lease is over by each of this machine's clocks; the first counts. The monotonic one stands still while the
    machine is suspended (Linux: ``CLOCK_MONOTONIC``), and the wall clock may be put back."""

    monotonic_seconds: float = float("inf")
    unix_ms: float = float("inf")


@dataclass(slots=True)
class Lease:
    """A command that this worker owns until the lease is over."""

    claim: Claim
    progress: Progress
    recorded: bool
    """False for queries: the ledger is only asked whether they may be sent, and nothing of them is written to it."""
    started: float
    """When the retry budget began, in seconds on the monotonic clock."""
    plan: Plan
    """How it is sent; its lookup is that of the attempt that was begun last, alone."""
    expiry: LeaseExpiry = field(default_factory=LeaseExpiry)
    paused: bool = False
    """Whether the last attempt's fate is on record and the next must be begun."""
    fence: int = 1
    """1 for the command's first owner; one more for each owner that took it over or took it up after it was parked."""
    memory: Memory | None = None
    """What the owner knew that parked the command; None when it was not parked."""
    lookup: Lookup | None = None
    """By what a look at the venue finds every attempt of the command, with the latest time of those in doubt; None
    where nothing does."""
    begun_at: float = 0.0
    """When its last attempt was begun, in seconds on the monotonic clock."""
    taken_to_look: bool = False
    """Whether it was taken over in doubt, to be looked for: nothing has begun, and nothing is planned."""


class Begin(NamedTuple):
    """What one call of the ledger's begin asks for."""

    expiry: LeaseExpiry
    plan: Plan
    """With the lookup of this attempt."""
    at: float
    """When it was called, in seconds on the monotonic clock."""


@dataclass(frozen=True, slots=True)
class ExistingReport:
    """Returned in place of a lease when the command needs no execution."""

    report: Report | None
    """None when the id belongs to another command that has no report yet."""


def dated(plan: Plan, now_ms: int) -> Plan:
    """The plan of an attempt that begins now: until when the venue may take its request."""
    if plan.lookup is None or plan.window_ms <= 0:
        return plan
    until_ms, deadline = now_ms + plan.window_ms, plan.command.deadline
    return plan.until(until_ms if deadline is None else min(until_ms, deadline))


NotBegun = Halted | Denied | Held | HoldOver | TooLate
"""Why the ledger did not begin a command that has no other owner."""
Acquired = Lease | ExistingReport | LookFirst | Known | NotBegun
TakenToLook = Lease | ExistingReport | None
OrphanReport = Callable[[Orphaned], Report]
AwaitTurn = Callable[[Throttled], None]
"""Waits until the venue's limits may let an attempt begin; raises what ends the wait in another way."""


class Claims:
    """Asks the ledger for commands. While it is away, calls are repeated until it answers, or the worker is stopping:
    then they raise :class:`RequeueMessage`."""

    def __init__(self, ledger: Ledger, clock: Clock, stopping: Callable[[], bool], observer: Observer) -> None:
        self._ledger = ledger
        self._clock = clock
        self._stopping = stopping
        self._observer = observer
        self.retry_until_available = UntilAvailable(clock, stopping)

    def acquire(
        self, claim: Claim, *, plan: Plan, orphan_report: OrphanReport, await_turn: AwaitTurn, parks: bool = False
    ) -> Acquired:
        """Begin the first attempt; or return the report that exists, or what keeps the command from being begun.
        ``parks`` says that the command may be parked while it has another owner.

        Raises:
            RequeueMessage: the worker is stopping and nothing was begun.
            ParkMessage: it waits for its owner.
        """
        while True:
            begin, answer = self._ask_while_busy(lambda: self.begin(claim, 1, plan), parks=parks)
            if isinstance(answer, Throttled):
                await_turn(answer)
                continue
            if isinstance(answer, Begun):
                return self._lease(claim, begin, answer)
            if isinstance(answer, LookFirst | Known):
                return answer
            if isinstance(answer, NotBegun):
                if isinstance(answer, Denied):
                    ref = CommandRef(claim.command_id, claim.command, claim.account)
                    self._observer.ruled(ref, f"it is over the limit {answer.limit.name}", True)
                return answer
            existing = self._existing_or_abandoned(claim, answer, orphan_report)
            if existing is not None:
                return existing

    def begin(self, claim: Claim, attempt: int, plan: Plan) -> tuple[Begin, BeginAnswer]:
        """Begin an attempt in the ledger, under the lookup that finds it."""
        if plan.lookup is not None:
            plan = dated(plan, self._clock.now_ms())
            claim = replace(claim, lookup=plan.lookup.to_text() if plan.lookup else "")
        expiry, answer = self.expiring(self._ledger.begin, claim, attempt)
        return Begin(expiry, plan, expiry.monotonic_seconds - claim.lease_ms / 1000), answer

    def _lease(self, claim: Claim, begin: Begin, answer: Begun) -> Lease:
        if claim.begin_by or claim.hold or answer.probe or answer.lookup != claim.lookup:
            claim = replace(claim, begin_by=0, hold=None, probe=answer.probe, lookup=answer.lookup)
        started = self._clock.monotonic() - answer.since_ms / 1000
        # What another owner knew before a dead one took the command over is out of date.
        memory = Memory.from_text(answer.doubt) if answer.doubt and answer.since_ms else None
        lease = Lease(claim, answer.progress, True, started, begin.plan, begin.expiry, memory=memory)
        lease.fence = answer.fence
        lease.lookup, lease.begun_at = Lookup.from_text(answer.lookup), begin.at
        return lease

    def take_to_look(self, claim: Claim, command: Command, account: Account, *, parks: bool) -> TakenToLook:
        """A lease on a command that is in doubt and can be looked for, or the report that exists; None when there is
        nothing to look for.

        Raises:
            RequeueMessage: the worker is stopping.
            ParkMessage: it waits for its other owner.
        """
        ask = lambda: self.expiring(self._ledger.take_to_look, claim)  # noqa: E731
        expiry, answer = self._ask_while_busy(ask, parks=parks)
        if isinstance(answer, Ended | Reused):
            return self._existing_report(claim, answer)
        if not isinstance(answer, Doubtful):
            return None
        started = self._clock.monotonic() - answer.since_ms / 1000
        memory = Memory.from_text(answer.doubt) if answer.doubt else None
        if memory is not None and memory.tries != answer.progress.tries:
            memory = None  # it is older than the last attempt
        claim, lookup = replace(claim, lookup=answer.lookup, heeds_result=False), Lookup.from_text(answer.lookup)
        plan = Plan(command, account)
        lease = Lease(claim, answer.progress, True, started, plan, expiry, fence=answer.fence, memory=memory)
        lease.lookup, lease.paused, lease.taken_to_look = lookup, True, True
        lease.begun_at = self._clock.monotonic() - answer.begun_ms / 1000
        return lease

    def acquire_query(
        self, claim: Claim, before: QueryProgress | None, *, plan: Plan, await_turn: AwaitTurn
    ) -> Lease | Halted | Known:
        """A lease on a query, which has no record: what was known of it ``before`` came with its message."""
        since_ms = before.since_ms(self._clock.now_ms()) if before else None
        while isinstance(answer := self.admit_query(claim), Throttled):
            await_turn(replace(answer, since_ms=since_ms))
        if isinstance(answer, Halted | Known):
            return answer
        progress = before.progress if before else Progress()
        started = self._clock.monotonic() - (before.since_ms(self._clock.now_ms()) if before else 0) / 1000
        claim = replace(claim, probe=answer.probe, heeds_result=False)
        memory = before.memory if before else None
        return Lease(claim, replace(progress, tries=progress.tries + 1), False, started, plan, memory=memory)

    def admit_query(self, claim: Claim) -> QueryAnswer:
        """Whether a query may be sent; it may while the ledger is away, for it changes nothing at the venue."""
        try:
            return self._ledger.admit_query(claim)
        except LedgerUnavailable:
            return Admitted()

    def refuse(
        self, claim: Claim, report: Report, *, orphan_report: OrphanReport, parks: bool = False
    ) -> Report | None:
        """End a command that this worker can't execute; return the report in the ledger, which may be another one, or
        None as in :class:`ExistingReport`.

        Raises:
            NeverBegun: there is no record, and by ``claim.begin_by`` none may be made.
            ParkMessage: it waits for its owner.
        """
        while True:
            ask = lambda: (LeaseExpiry(), self._ledger.refuse(claim, report))  # noqa: E731
            _, answer = self._ask_while_busy(ask, parks=parks)
            if answer is None:
                return report
            if isinstance(answer, TooLate):
                raise NeverBegun(claim.command_id)
            existing = self._existing_or_abandoned(claim, answer, orphan_report)
            if existing is not None:
                return existing.report

    def _existing_report(self, claim: Claim, answer: Ended | Reused) -> ExistingReport:
        """The report in the ledger."""
        command = CommandRef(claim.command_id, claim.command, claim.account)
        if isinstance(answer, Ended):
            self._observer.replayed(command, answer.report.outcome.value)
            return ExistingReport(answer.report.as_replay())
        self._observer.id_reused(command)
        return ExistingReport(answer.report.as_replay() if answer.report else None)

    def _existing_or_abandoned(
        self, claim: Claim, answer: BeginAnswer, orphan_report: OrphanReport
    ) -> ExistingReport | None:
        """The report in the ledger, or that of an orphan that was ended; None when the record has changed since this
        answer and must be asked for again."""
        if isinstance(answer, Ended | Reused):
            return self._existing_report(claim, answer)
        if isinstance(answer, Orphaned):
            command = CommandRef(claim.command_id, claim.command, claim.account)
            report = orphan_report(answer)
            if self.retry_until_available(lambda: self._ledger.abandon(claim, answer, report)):
                if answer.sending or not answer.doubt:  # else nobody died: it was parked, and may not go on
                    self._observer.orphaned(command, report.outcome.value, report.message)
                return ExistingReport(report)
        return None

    def expiring(self, move: Callable[..., T], claim: Claim, *arguments: int) -> tuple[LeaseExpiry, T]:
        """Call a move of the ledger; return when the lease ends that it may have given, and its answer. The lease is
        counted from before the call, so that it never ends later here than in the ledger."""
        monotonic, now_ms = self._clock.monotonic(), self._clock.now_ms()
        return LeaseExpiry(monotonic + claim.lease_ms / 1000, now_ms + claim.lease_ms), move(claim, *arguments)

    def _ask_while_busy(self, ask: Callable[[], tuple[T, A]], *, parks: bool) -> tuple[T, A]:
        wait, max_wait = POLL_SECONDS
        waited = 0.0
        while True:
            call, answer = self.retry_until_available(ask)
            if not isinstance(answer, Busy):
                return call, answer
            if self._stopping():
                raise RequeueMessage("the command is with another worker")
            left = max(answer.lease_left_ms, 1) / 1000
            if parks and min(waited, left) >= SHORTEST_SECONDS:
                raise ParkMessage(Parking(min(answer.lease_left_ms, LONGEST_PARKED_MS), WaitsFor.OWNER))
            seconds = min(wait, left)
            self._clock.sleep(seconds)
            waited += seconds
            wait = min(wait * 1.5, max_wait)
