"""A worker's lease on a command, from its first attempt to its end, through a ledger that may be away for a while."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from producers.report import Outcome, Report
from worker.clock import Clock
from worker.execution.carried import Memory
from worker.execution.claims import Claims, Lease, NotBegun
from worker.execution.outage import RequeueMessage, sleep_unless_stopping
from worker.ledger.base import Admitted, Begun, Following, Halted, Ledger, LedgerUnavailable, Orphaned
from worker.ledger.pacing import CoolDown, Throttled
from worker.venues.lookups import Lookup

logger = logging.getLogger("orders.ledger")

RECORD_WHEN_STOPPING_SECONDS = 10.0
"""How long a stopping worker goes on trying to write an attempt's result or a report to a ledger that is away."""


class LeaseLost(Exception):
    """Raised when another worker has taken the lease over, or the ledger has lost the record."""


class RefusedBetweenAttempts(Exception):
    """Raised when the next attempt must not begin: an operator halted sending, or the ledger has lost the record and a
    limit denies it now."""

    def __init__(self, answer: NotBegun) -> None:
        super().__init__(type(answer).__name__)
        self.answer = answer


class LeaseManager:
    """Renews, pauses, parks and ends leases; repeats calls as :class:`Claims` does."""

    def __init__(self, ledger: Ledger, claims: Claims, clock: Clock, stopping: Callable[[], bool]) -> None:
        self._ledger = ledger
        self._claims = claims
        self._clock = clock
        self._stopping = stopping
        self._retry_until_available = claims.retry_until_available

    def begin_next_attempt(self, lease: Lease, attempt: int) -> Throttled | None:
        """Record durably that the next attempt begins, numbered from 1 over this lease; or return what the venue's
        limits say, and nothing was begun.

        Raises:
            LeaseLost: another worker has taken the lease over.
            RefusedBetweenAttempts: an operator halted sending meanwhile, say.
        """
        if not lease.recorded:
            return self._begin_next_of_query(lease)
        begin, answer = self._retry_until_available(lambda: self._claims.begin(lease.claim, attempt, lease.plan))
        if isinstance(answer, Throttled):
            return answer
        if isinstance(answer, NotBegun):
            raise RefusedBetweenAttempts(answer)
        if not isinstance(answer, Begun):
            raise LeaseLost(lease.claim.command_id)
        lease.paused = False
        lease.progress = answer.progress.after(lease.progress)
        lease.expiry, lease.plan, lease.begun_at = begin.expiry, begin.plan, begin.at
        lease.lookup = Lookup.from_text(answer.lookup)
        lease.claim = replace(lease.claim, probe=answer.probe, lookup=answer.lookup)
        return None

    def _begin_next_of_query(self, lease: Lease) -> Throttled | None:
        answer = self._claims.admit_query(lease.claim)
        if isinstance(answer, Throttled):
            return answer
        if isinstance(answer, Halted):
            raise RefusedBetweenAttempts(answer)
        lease.paused = False
        lease.progress = replace(lease.progress, tries=lease.progress.tries + 1)
        lease.claim = replace(lease.claim, probe=isinstance(answer, Admitted) and answer.probe)
        return None

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
        expiry, renewed = self._retry_until_available(lambda: self._claims.expiring(self._ledger.renew, lease.claim))
        if not renewed:
            raise LeaseLost(lease.claim.command_id)
        lease.expiry = expiry

    def pause(self, lease: Lease, lease_ms: int, cool_down: CoolDown | None = None) -> None:
        """Record the last attempt's fate before waiting for the next, with what it says about further attempts.

        Raises:
            LeaseLost: another worker has taken the lease over.
        """
        move = partial(self._ledger.pause, lease.claim, lease.progress, lease_ms, cool_down)
        self._write_fate(lease, move, cool_down)

    def keep(self, lease: Lease, cool_down: CoolDown | None = None) -> None:
        """Record the last attempt's fate as :meth:`pause` does, with a lease for what is to be done before the next.

        Raises:
            LeaseLost: another worker has taken the lease over.
        """
        expiry, _ = self._claims.expiring(lambda claim: self.pause(lease, claim.lease_ms, cool_down), lease.claim)
        lease.expiry = expiry

    def park(self, lease: Lease, wait_ms: int, memory: Memory, cool_down: CoolDown | None = None) -> None:
        """Record the last attempt's fate as :meth:`pause` does, and give the command up: whoever takes its message
        again may begin the next attempt after ``wait_ms``.

        Raises:
            LeaseLost: another worker has taken the lease over.
        """
        text = memory.to_text() if lease.recorded else ""
        move = partial(self._ledger.park, lease.claim, lease.progress, wait_ms, text, cool_down)
        self._write_fate(lease, move, cool_down)

    def _write_fate(self, lease: Lease, move: Callable[[], bool], cool_down: CoolDown | None) -> None:
        lease.paused = True
        if not lease.recorded:
            self._cool_down_by_query(lease, cool_down)
        elif not self._retry_until_available(move, RECORD_WHEN_STOPPING_SECONDS):
            raise LeaseLost(lease.claim.command_id)
        lease.claim = replace(lease.claim, probe=False)  # what the probe has shown is on record

    def _cool_down_by_query(self, lease: Lease, cool_down: CoolDown | None) -> None:
        if cool_down is not None or lease.claim.probe:
            with suppress(LedgerUnavailable):  # a query waits for no ledger
                self._ledger.cool_down(lease.claim, cool_down)

    def sleep_between_attempts(self, lease: Lease, seconds: float) -> None:
        """Wait between two attempts. A worker that is stopping leaves the rest of the wait to the next owner.

        Raises:
            RequeueMessage: the worker is stopping; the last attempt's fate is on record.
        """
        left = sleep_unless_stopping(self._clock, self._stopping, seconds)
        if left > 0:
            if lease.recorded:
                self._release(lease, left)
            raise RequeueMessage("the worker is stopping between two attempts")

    def _release(self, lease: Lease, seconds: float) -> None:
        """End the lease when the wait would have ended: the venue's Retry-After holds for the next worker too."""
        try:
            self._ledger.pause(lease.claim, lease.progress, int(seconds * 1000))
        except LedgerUnavailable as outage:
            logger.info("id=%s is given back when its lease is over: %s", lease.claim.command_id, outage)

    def settle(
        self, lease: Lease, report: Report, cool_down: CoolDown | None = None, following: Following | None = None
    ) -> Report | None:
        """End the command; return the report in the ledger, as a replay when it is another one, or None while another
        owner is at work."""
        if not lease.recorded:
            self._cool_down_by_query(lease, cool_down)
            return report
        move = partial(self._ledger.settle, lease.claim, report, cool_down, following)
        stored = self._retry_until_available(move, RECORD_WHEN_STOPPING_SECONDS)
        if stored is None or stored is report or stored == report:  # comparing takes time
            return stored
        return self._superseded_by(report, stored)

    def settle_when_released(self, lease: Lease, report: Report) -> Report | None:
        """End the command once its other owner is gone, unless that owner leaves a report. Sending again could
        contradict what this report says. Returns the report in the ledger, as :meth:`settle` does."""

        def report_for(orphan: Orphaned) -> Report:
            attempts = max(report.attempts, orphan.progress.sent)
            died = "; another worker began it again, and died sending it" if orphan.sending else ""
            return report.model_copy(update={"attempts": attempts, "message": report.message + died})

        # Not parked meanwhile: only this worker knows what the report says.
        stored = self._claims.refuse(lease.claim, report, orphan_report=report_for)
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
