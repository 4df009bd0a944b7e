"""Holding a command: one owner at a time, through a ledger that may be away for a while.

The executor asks for a command and gets it (:class:`Lease`) or the report that already stands
(:class:`ExistingReport`). Waiting for a living owner, declaring a dead one's send unknown, and outliving the ledger's
outages happen here.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from producers.report import Outcome, Report
from worker.clock import Clock
from worker.execution.events import NULL_OBSERVER, CommandRef, Observer
from worker.ledger.base import (
    BeginAnswer,
    Begun,
    Busy,
    Claim,
    Ended,
    Halted,
    Ledger,
    LedgerUnavailable,
    Orphaned,
    Progress,
    Reused,
)

logger = logging.getLogger("orders.ledger")

T = TypeVar("T")
A = TypeVar("A", BeginAnswer, BeginAnswer | None)

POLL_SECONDS = (0.02, 0.5)
"""How soon and how rarely a duplicate asks whether the owner is done: short orders end in milliseconds."""
OUTAGE_SECONDS = (0.1, 1.0)
"""The same for a ledger that is away."""
STOP_SECONDS = 0.25
"""How soon a wait between two attempts ends when the worker is told to stop."""
RECORD_WHEN_STOPPING_SECONDS = 10.0
"""How long a worker that was told to stop still tries to write a report, or an attempt's fate, into a ledger that is
away."""


class LeaseLost(Exception):
    """The record has another owner by now."""


class HaltedBetweenAttempts(Exception):
    """An operator halted sending between two attempts."""

    def __init__(self, halt: Halted) -> None:
        super().__init__(halt.why)
        self.halt = halt


class RequeueMessage(Exception):
    """The worker is stopping, or has a fault: the message goes back to its queue, and the ledger knows what has
    begun."""


@dataclass(frozen=True, slots=True)
class LeaseExpiry:
    """When a lease is over by each of this machine's clocks; the first counts. The monotonic one stands still while the
    machine is suspended (Linux: ``CLOCK_MONOTONIC``), and the wall clock may be put back."""

    tick: float = float("inf")
    """Seconds."""
    at_ms: float = float("inf")
    """UNIX milliseconds."""


@dataclass(slots=True)
class Lease:
    """A command this worker owns for the time of a lease."""

    claim: Claim
    progress: Progress
    recorded: bool
    """False for queries: the ledger is asked for a halt, and told nothing."""
    lease_ends: LeaseExpiry = LeaseExpiry()
    paused: bool = False
    """Whether the last attempt's fate is on record and the next must be begun."""
    fence: int = 1
    """Above 1 when it was taken over."""


@dataclass(frozen=True, slots=True)
class ExistingReport:
    """The command needs no execution; None when the id belongs to another command that has no report yet."""

    report: Report | None


OrphanReport = Callable[[Orphaned], Report]


class LeaseManager:
    """Takes, keeps and ends claims."""

    def __init__(
        self, ledger: Ledger, clock: Clock, stopping: Callable[[], bool], observer: Observer = NULL_OBSERVER
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._stopping = stopping
        self._observer = observer

    def acquire(self, claim: Claim, *, mutating: bool, orphan_report: OrphanReport) -> Lease | ExistingReport | Halted:
        """Begin the first attempt, or find out why not.

        Raises:
            GaveUpWaiting: the worker is stopping and nothing was begun.
        """
        if not mutating:
            return self._halt_of_query(claim) or Lease(claim, Progress(tries=1), recorded=False)
        while True:
            lease_ends, answer = self._wait_while_busy(lambda: self._begin(claim, 1))
            if isinstance(answer, Begun):
                return Lease(claim, answer.progress, recorded=True, lease_ends=lease_ends, fence=answer.fence)
            if isinstance(answer, Halted):
                return answer
            stands = self._stands(claim, answer, orphan_report)
            if stands is not None:
                return stands

    def refuse(self, claim: Claim, report: Report, *, orphan_report: OrphanReport) -> Report | None:
        """End a command that this worker can't execute; the report that stands, None as in :class:`ExistingReport`."""
        while True:
            _, answer = self._wait_while_busy(lambda: (LeaseExpiry(), self._ledger.refuse(claim, report)))
            if answer is None:
                return report
            stands = self._stands(claim, answer, orphan_report)
            if stands is not None:
                return stands.report

    def _stands(self, claim: Claim, answer: BeginAnswer, orphan_report: OrphanReport) -> ExistingReport | None:
        """The report that stands after this answer; None when things moved on and must be asked again."""
        if isinstance(answer, Ended):
            self._observer.replayed(_subject(claim), answer.report.outcome.value)
            return ExistingReport(answer.report.as_replay())
        if isinstance(answer, Reused):
            self._observer.id_reused(_subject(claim))
            return ExistingReport(answer.report.as_replay() if answer.report else None)
        if isinstance(answer, Orphaned):
            report = orphan_report(answer)
            if self._retry_until_available(lambda: self._ledger.abandon(claim, answer, report)):
                self._observer.orphaned(_subject(claim), report.outcome.value, report.message)
                return ExistingReport(report)
        return None

    def begin_next_attempt(self, held: Lease, attempt: int) -> None:
        """Say durably that the next attempt begins.

        Raises:
            NotMine: another owner took over.
            HaltedMidway: an operator halted sending meanwhile.
        """
        held.paused = False
        if not held.recorded:
            if halt := self._halt_of_query(held.claim):
                raise HaltedBetweenAttempts(halt)
            held.progress = replace(held.progress, tries=held.progress.tries + 1)
            return
        lease_ends, answer = self._retry_until_available(lambda: self._begin(held.claim, attempt))
        if isinstance(answer, Halted):
            raise HaltedBetweenAttempts(answer)
        if not isinstance(answer, Begun):
            raise LeaseLost(held.claim.command_id)
        held.progress = answer.progress.after(held.progress)
        held.lease_ends = lease_ends

    def _halt_of_query(self, claim: Claim) -> Halted | None:
        """The halt that names this query. None while the ledger is away: it changes nothing at the venue, and is
        answered then as well."""
        try:
            return self._ledger.halted(claim.account, claim.command)
        except LedgerUnavailable:
            return None

    def _begin(self, claim: Claim, attempt: int) -> tuple[LeaseExpiry, BeginAnswer]:
        """The ledger's answer, and when the lease ends that it may have given."""
        return self._lease_end(claim), self._ledger.begin(claim, attempt)

    def _lease_end(self, claim: Claim) -> LeaseExpiry:
        """Of a lease that is asked for after this: a worker never believes in it for longer than the ledger does."""
        return LeaseExpiry(self._clock.monotonic() + claim.lease_ms / 1000, self._clock.now_ms() + claim.lease_ms)

    def has_time_left(self, held: Lease, now_ms: int, seconds: float) -> bool:
        """Whether the lease lasts for ``seconds`` after ``now_ms``, which was read just now. A process that was stopped
        finds out here, and so does one whose machine was suspended; a clock that was put forward costs a renewal."""
        ends = held.lease_ends
        return min(ends.tick - self._clock.monotonic(), (ends.at_ms - now_ms) / 1000) >= seconds

    def renew(self, held: Lease) -> None:
        """Take a fresh lease for the attempt under way.

        Raises:
            NotMine: another owner took over.
        """
        lease_ends, renewed = self._retry_until_available(
            lambda: (self._lease_end(held.claim), self._ledger.renew(held.claim))
        )
        if not renewed:
            raise LeaseLost(held.claim.command_id)
        held.lease_ends = lease_ends

    def pause(self, held: Lease, lease_ms: int) -> None:
        """Put the last attempt's fate on record before waiting for the next.

        Raises:
            NotMine: another owner took over.
            GaveUpWaiting: the worker is stopping, and the ledger stays away.
        """
        held.paused = True
        move = partial(self._ledger.pause, held.claim, held.progress, lease_ms)
        if held.recorded and not self._retry_until_available(move, RECORD_WHEN_STOPPING_SECONDS):
            raise LeaseLost(held.claim.command_id)

    def sleep_between_attempts(self, held: Lease, seconds: float) -> None:
        """Wait between two attempts. A worker that is told to stop leaves the rest of the wait to the next one.

        Raises:
            GaveUpWaiting: the worker is stopping; the last attempt's fate is on record.
        """
        left = seconds
        while left > 0:
            if self._stopping():
                self._give_back(held, left)
                raise RequeueMessage("the worker is stopping between two attempts")
            self._clock.sleep(min(left, STOP_SECONDS))
            left -= STOP_SECONDS

    def _give_back(self, held: Lease, left: float) -> None:
        """End the lease when the wait would have ended, so that the venue's Retry-After holds for whoever goes on."""
        if not held.recorded:
            return
        try:
            self._ledger.pause(held.claim, held.progress, int(left * 1000))
        except LedgerUnavailable as outage:
            logger.info("id=%s is given back when its lease is over: %s", held.claim.command_id, outage)

    def settle(self, held: Lease, report: Report) -> Report | None:
        """End the command; the report that stands, as a replay when it is another one, None while another owner is at
        work."""
        if not held.recorded:
            return report
        stands = self._retry_until_available(
            lambda: self._ledger.settle(held.claim, report), RECORD_WHEN_STOPPING_SECONDS
        )
        if stands is None or stands == report:
            return stands
        return self._superseded_by(report, stands)

    def settle_when_released(self, held: Lease, report: Report) -> Report | None:
        """End the command when the other owner is gone, should it leave no report: what is known already must not be
        found out by sending again. The report that stands, as of :meth:`settle`."""

        def known(orphan: Orphaned) -> Report:
            attempts = max(report.attempts, orphan.progress.sent)
            died = "; another worker began it again, and died sending it" if orphan.sending else ""
            return report.model_copy(update={"attempts": attempts, "message": report.message + died})

        stands = self.refuse(held.claim, report, orphan_report=known)
        return self._superseded_by(report, stands) if stands is not None and stands.replayed else stands

    def _superseded_by(self, report: Report, stands: Report) -> Report:
        """The report that stands, which is not the sender's own."""
        if report.outcome is Outcome.ACCEPTED and stands.outcome in (Outcome.NOT_SENT, Outcome.REJECTED):
            logger.error(
                "id=%s stands as %s, and its own attempt was accepted by the venue after that was settled: it is "
                "executed. Look at the venue, and tell whoever acted on the report.",
                report.command_id,
                stands.outcome.value,
            )
        return stands.as_replay()

    # -- waiting -------------------------------------------------------------------------------------------------

    def _wait_while_busy(self, ask: Callable[[], tuple[LeaseExpiry, A]]) -> tuple[LeaseExpiry, A]:
        wait, longest = POLL_SECONDS
        while True:
            lease_ends, answer = self._retry_until_available(ask)
            if not isinstance(answer, Busy):
                return lease_ends, answer
            if self._stopping():
                raise RequeueMessage("the command is with another worker")
            self._clock.sleep(min(wait, max(answer.lease_left_ms, 1) / 1000))
            wait = min(wait * 1.5, longest)

    def _retry_until_available(self, call: Callable[[], T], when_stopping: float = 0.0) -> T:
        """Repeat a ledger call until the ledger answers: every move may be repeated, none may be skipped. A worker that
        is told to stop goes on for ``when_stopping`` seconds from there."""
        wait, longest = OUTAGE_SECONDS
        stopping_since: float | None = None
        told = float("-inf")
        while True:
            asked = self._clock.monotonic()
            try:
                return call()
            except LedgerUnavailable as outage:
                now = self._clock.monotonic()
                if self._stopping():
                    # A call that hangs takes long itself, and the stop may have come at any moment of it.
                    stopping_since = asked if stopping_since is None else stopping_since
                    if now - stopping_since >= when_stopping:
                        raise RequeueMessage(str(outage)) from outage
                if now - told >= 10:
                    told = now
                    logger.warning("%s; waiting for it, nothing is sent meanwhile", outage)
                self._clock.sleep(wait)
                wait = min(wait * 2, longest)


def _subject(claim: Claim) -> CommandRef:
    return CommandRef(claim.command_id, claim.command, claim.account)
