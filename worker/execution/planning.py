"""Plans of commands: what a venue reads before a command begins, tried again while that fails."""

import math
from collections.abc import Callable

from producers.commands import Command
from producers.redaction import hidden_values, redact_text
from producers.report import Reason
from worker.clock import Clock
from worker.execution.backoff import RetryLimits, TimeLeft, backoff_seconds
from worker.execution.carried import MAX_ATTEMPTS, PlanProgress
from worker.execution.context import CommandRefused, Envelope
from worker.execution.events import CommandRef, Observer
from worker.execution.outage import RequeueMessage, sleep_unless_stopping
from worker.execution.parking import PROGRESS_HEADER, SHORTEST_SECONDS, Parking, ParkMessage, WaitsFor
from worker.execution.reads import redacted
from worker.venues.accounts import Account
from worker.venues.base import Plan, PlanFailed, PlanRefused, Venue
from worker.venues.http.base import Send


def plan_once(venue: Venue, command: Command, command_id: str, account: Account, send: Send) -> Plan:
    """The plan of a command.

    Raises:
        CommandRefused: it can't be sent.
        PlanFailed: what it needs could not be read.
    """
    try:
        return venue.plan(command, command_id, account, redacted(send, account))
    except PlanFailed:
        raise
    except PlanRefused as refused:
        raise CommandRefused(refused.reason, str(refused)) from None
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing was sent; its text may quote a request
        raise CommandRefused(Reason.INVALID, f"the request can't be built ({type(error).__name__})") from None


class Planner:
    """Makes the plans of commands that have not begun; one for a worker process, safe to share among threads."""

    def __init__(
        self,
        send: Send,
        clock: Clock,
        retry: RetryLimits,
        stopping: Callable[[], bool],
        observer: Observer,
        hidden: frozenset[str],
    ) -> None:
        """``observer`` receives no value of the ``hidden`` arguments."""
        self._send = send
        self._hidden = hidden
        self._clock = clock
        self._retry = retry
        self._stopping = stopping
        self._observer = observer

    def plan(self, venue: Venue, command: Command, account: Account, envelope: Envelope, ref: CommandRef) -> Plan:
        """The plan, once what it needs could be read. Nothing has begun meanwhile, and no attempt is counted.

        Raises:
            CommandRefused: it can't be sent, or there is no time left to try again.
            ParkMessage: it waits at the broker.
            RequeueMessage: the worker is stopping.
        """
        progress = PlanProgress.from_header(envelope.progress)
        while True:
            try:
                return plan_once(venue, command, envelope.command_id, account, self._send)
            except PlanFailed as failed:
                now_ms = self._clock.now_ms()
                since_ms = min(progress.since_ms, now_ms) if progress else now_ms
                failures = min(progress.failures + 1, MAX_ATTEMPTS) if progress else 1
                progress = PlanProgress(failures, since_ms)
                self._wait(progress, failed, command.deadline, envelope, ref)

    def _wait(
        self, progress: PlanProgress, failed: PlanFailed, deadline: int | None, envelope: Envelope, ref: CommandRef
    ) -> None:
        seconds = backoff_seconds(self._retry, progress.failures, failed.retry_after)
        budget_left = self._retry.budget_seconds - (self._clock.now_ms() - progress.since_ms) / 1000
        reason = TimeLeft(self._clock, self._clock.monotonic() + budget_left, deadline).lacks(seconds)
        if reason:
            raise CommandRefused(reason, f"what it needs could not be read at the venue: {failed}")
        words = redact_text(str(failed), hidden_values(envelope.arguments, self._hidden))
        self._observer.waits(ref, 0, seconds, words)
        if envelope.parks and seconds >= SHORTEST_SECONDS:
            headers = {PROGRESS_HEADER: progress.to_header()}
            raise ParkMessage(Parking(math.ceil(seconds * 1000), WaitsFor.PLAN, headers=headers))
        if sleep_unless_stopping(self._clock, self._stopping, seconds) > 0:
            raise RequeueMessage("the worker is stopping, and nothing has begun")
