"""A worker's lease on a command: acquired, renewed and released through a ledger that may be away for a while.

The executor asks for a command's lease and gets a :class:`Lease`, or an :class:`ExistingReport`. This module waits
while another worker owns the command, and ends the command of a dead worker.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from producers.report import Outcome, Report
from worker.clock import Clock
from worker.execution.events import CommandRef, Observer
from worker.execution.outage import RequeueMessage, UntilAvailable
from worker.ledger.base import (
    BeginAnswer,
    Begun,
    Busy,
    Claim,
    Ended,
    Halted,
    Ledger,
    LedgerUnavailable,
    NeverBegun,
    Orphaned,
    Progress,
    Reused,
    TooLate,
)
from worker.ledger.holds import Held, HoldOver
from worker.ledger.limits import Denied

logger = logging.getLogger("orders.ledger")

T = TypeVar("T")
A = TypeVar("A", BeginAnswer, BeginAnswer | None)

POLL_SECONDS = (0.02, 0.5)
"""The first and the longest wait before the ledger is asked again whether a command's owner is done."""
STOP_CHECK_SECONDS = 0.25
"""How often a wait between two attempts checks whether the worker is stopping."""
RECORD_WHEN_STOPPING_SECONDS = 10.0
"""How long a stopping worker goes on trying to write an attempt's result or a report to a ledger that is away."""


class LeaseLost(Exception):
    """Raised when another worker has taken the lease over, or the ledger has lost the record."""


class RefusedBetweenAttempts(Exception):
    """Raised when the next attempt must not begin: an operator halted sending, or the ledger has lost the record and a
    limit denies it now."""

    def __init__(self, answer: "NotBegun") -> None:
        super().__init__(type(answer).__name__)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class LeaseExpiry:
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
    """False for queries: the ledger is only asked for halts, and nothing is written to it."""
    expiry: LeaseExpiry = LeaseExpiry()
    paused: bool = False
    """Whether the last attempt's fate is on record and the next must be begun."""
    fence: int = 1
    """1 for the command's first owner; one more for each owner that took it over."""


@dataclass(frozen=True, slots=True)
class ExistingReport:
    """Returned in place of a lease when the command needs no execution."""

    report: Report | None
    """None when the id belongs to another command that has no report yet."""


NotBegun = Halted | Denied | Held | HoldOver | TooLate
"""Why the ledger did not begin a command that has no other owner."""
Acquired = Lease | ExistingReport | NotBegun
OrphanReport = Callable[[Orphaned], Report]


class LeaseManager:
    """Acquires, renews and ends leases. While the ledger is away, calls are repeated until it answers, or the worker is
    stopping: then they raise :class:`RequeueMessage`."""

    def __init__(self, ledger: Ledger, clock: Clock, stopping: Callable[[], bool], observer: Observer) -> None:
        self._ledger = ledger
        self._clock = clock
        self._stopping = stopping
        self._observer = observer
        self.retry_until_available = UntilAvailable(clock, stopping)

    def acquire(self, claim: Claim, *, mutating: bool, orphan_report: OrphanReport) -> Acquired:
        """Begin the first attempt; or return the report that exists, or what keeps the command from being begun.

        Raises:
            RequeueMessage: the worker is stopping and nothing was begun.
        """
        if not mutating:
            return self._halt_of_query(claim) or Lease(claim, Progress(tries=1), recorded=False)
        while True:
            expiry, answer = self._wait_while_busy(lambda: self._expiring(self._ledger.begin, claim, 1))
            if isinstance(answer, Begun):
                begun = replace(claim, begin_by=0, hold=None)
                return Lease(begun, answer.progress, recorded=True, expiry=expiry, fence=answer.fence)
            if isinstance(answer, NotBegun):
                if isinstance(answer, Denied):
                    ref = CommandRef(claim.command_id, claim.command, claim.account)
                    self._observer.ruled(ref, f"it is over the limit {answer.limit.name}", True)
                return answer
            existing = self._existing_report(claim, answer, orphan_report)
            if existing is not None:
                return existing

    def refuse(self, claim: Claim, report: Report, *, orphan_report: OrphanReport) -> Report | None:
        """End a command that this worker can't execute; return the report in the ledger, which may be another one, or
        None as in :class:`ExistingReport`.

        Raises:
            NeverBegun: there is no record, and by ``claim.begin_by`` none may be made.
        """
        while True:
            _, answer = self._wait_while_busy(lambda: (LeaseExpiry(), self._ledger.refuse(claim, report)))
            if answer is None:
                return report
            if isinstance(answer, TooLate):
                raise NeverBegun(claim.command_id)
            existing = self._existing_report(claim, answer, orphan_report)
            if existing is not None:
                return existing.report

    def _existing_report(self, claim: Claim, answer: BeginAnswer, orphan_report: OrphanReport) -> ExistingReport | None:
        """The report in the ledger; None when the record has changed since this answer and must be asked for again."""
        command = CommandRef(claim.command_id, claim.command, claim.account)
        if isinstance(answer, Ended):
            self._observer.replayed(command, answer.report.outcome.value)
            return ExistingReport(answer.report.as_replay())
        if isinstance(answer, Reused):
            self._observer.id_reused(command)
            return ExistingReport(answer.report.as_replay() if answer.report else None)
        if isinstance(answer, Orphaned):
            report = orphan_report(answer)
            if self.retry_until_available(lambda: self._ledger.abandon(claim, answer, report)):
                self._observer.orphaned(command, report.outcome.value, report.message)
                return ExistingReport(report)
        return None

    def begin_next_attempt(self, lease: Lease, attempt: int) -> None:
        """Record durably that the next attempt begins, numbered from 1 over this lease.

        Raises:
            LeaseLost: another worker has taken the lease over.
            RefusedBetweenAttempts: an operator halted sending meanwhile, say.
        """
        lease.paused = False
        if not lease.recorded:
            if halt := self._halt_of_query(lease.claim):
                raise RefusedBetweenAttempts(halt)
            lease.progress = replace(lease.progress, tries=lease.progress.tries + 1)
            return
        expiry, answer = self.retry_until_available(lambda: self._expiring(self._ledger.begin, lease.claim, attempt))
        if isinstance(answer, NotBegun):
            raise RefusedBetweenAttempts(answer)
        if not isinstance(answer, Begun):
            raise LeaseLost(lease.claim.command_id)
        lease.progress = answer.progress.after(lease.progress)
        lease.expiry = expiry

    def _halt_of_query(self, claim: Claim) -> Halted | None:
        """The halt that names this query; none while the ledger is away, for a query changes nothing at the venue."""
        try:
            answer = self._ledger.admit_query(claim)
        except LedgerUnavailable:
            return None
        return answer if isinstance(answer, Halted) else None

    def _expiring(self, move: Callable[..., T], claim: Claim, *arguments: int) -> tuple[LeaseExpiry, T]:
        """Call a move of the ledger; return when the lease ends that it may have given, and its answer. The lease is
        counted from before the call, so that it never ends later here than in the ledger."""
        monotonic, now_ms = self._clock.monotonic(), self._clock.now_ms()
        return LeaseExpiry(monotonic + claim.lease_ms / 1000, now_ms + claim.lease_ms), move(claim, *arguments)

    def has_time_left(self, lease: Lease, now_ms: int, seconds: float) -> bool:
        """Whether the lease lasts for ``seconds`` after ``now_ms``, which was read just now. A process that was stopped
        or whose machine was suspended finds out here; a wall clock that was put forward costs a renewal."""
        expiry = lease.expiry
        return min(expiry.monotonic_seconds - self._clock.monotonic(), (expiry.unix_ms - now_ms) / 1000) >= seconds

    def renew(self, lease: Lease) -> None:
        """Take a fresh lease for the attempt under way.

        Raises:
            LeaseLost: another worker has taken the lease over.
        """
        expiry, renewed = self.retry_until_available(lambda: self._expiring(self._ledger.renew, lease.claim))
        if not renewed:
            raise LeaseLost(lease.claim.command_id)
        lease.expiry = expiry

    def pause(self, lease: Lease, lease_ms: int) -> None:
        """Record the last attempt's fate before waiting for the next.

        Raises:
            LeaseLost: another worker has taken the lease over.
        """
        lease.paused = True
        move = partial(self._ledger.pause, lease.claim, lease.progress, lease_ms)
        if lease.recorded and not self.retry_until_available(move, RECORD_WHEN_STOPPING_SECONDS):
            raise LeaseLost(lease.claim.command_id)

    def sleep_between_attempts(self, lease: Lease, seconds: float) -> None:
        """Wait between two attempts. A worker that is stopping leaves the rest of the wait to the next owner.

        Raises:
            RequeueMessage: the worker is stopping; the last attempt's fate is on record.
        """
        while seconds > 0:
            if self._stopping():
                if lease.recorded:
                    self._release(lease, seconds)
                raise RequeueMessage("the worker is stopping between two attempts")
            self._clock.sleep(min(seconds, STOP_CHECK_SECONDS))
            seconds -= STOP_CHECK_SECONDS

    def _release(self, lease: Lease, seconds: float) -> None:
        """End the lease when the wait would have ended: the venue's Retry-After holds for the next worker too."""
        try:
            self._ledger.pause(lease.claim, lease.progress, int(seconds * 1000))
        except LedgerUnavailable as outage:
            logger.info("id=%s is given back when its lease is over: %s", lease.claim.command_id, outage)

    def settle(self, lease: Lease, report: Report) -> Report | None:
        """End the command; return the report in the ledger, as a replay when it is another one, or None while another
        owner is at work."""
        if not lease.recorded:
            return report
        move = partial(self._ledger.settle, lease.claim, report)
        stored = self.retry_until_available(move, RECORD_WHEN_STOPPING_SECONDS)
        return stored if stored is None or stored == report else self._superseded_by(report, stored)

    def settle_when_released(self, lease: Lease, report: Report) -> Report | None:
        """End the command once its other owner is gone, unless that owner leaves a report. Sending again could
        contradict what this report says. Returns the report in the ledger, as :meth:`settle` does."""

        def report_for(orphan: Orphaned) -> Report:
            attempts = max(report.attempts, orphan.progress.sent)
            died = "; another worker began it again, and died sending it" if orphan.sending else ""
            return report.model_copy(update={"attempts": attempts, "message": report.message + died})

        stored = self.refuse(lease.claim, report, orphan_report=report_for)
        return self._superseded_by(report, stored) if stored is not None and stored.replayed else stored

    def _superseded_by(self, report: Report, stored: Report) -> Report:
        """The report in the ledger, which is not the sender's own."""
        if report.outcome is Outcome.ACCEPTED and stored.outcome in (Outcome.NOT_SENT, Outcome.REJECTED):
            logger.error(
                "id=%s stands as %s, and its own attempt was accepted by the venue after that was settled: it is "
                "executed. Look at the venue, and tell whoever acted on the report.",
                report.command_id,
                stored.outcome.value,
            )
        return stored.as_replay()

    def _wait_while_busy(self, ask: Callable[[], tuple[LeaseExpiry, A]]) -> tuple[LeaseExpiry, A]:
        wait, max_wait = POLL_SECONDS
        while True:
            expiry, answer = self.retry_until_available(ask)
            if not isinstance(answer, Busy):
                return expiry, answer
            if self._stopping():
                raise RequeueMessage("the command is with another worker")
            self._clock.sleep(min(wait, max(answer.lease_left_ms, 1) / 1000))
            wait = min(wait * 1.5, max_wait)
