"""Waiting for the venue's sake: an attempt may not begin yet, because of a rate limit or a cool-down."""

from collections.abc import Callable
from dataclasses import dataclass

from producers.report import Reason
from worker.clock import Clock
from worker.execution.backoff import TimeLeft
from worker.execution.carried import QueryProgress, since_of
from worker.execution.context import CommandRefused, Envelope
from worker.execution.events import CommandRef, Observer
from worker.execution.outage import RequeueMessage, sleep_unless_stopping
from worker.execution.parking import (
    PROGRESS_HEADER,
    SHORTEST_SECONDS,
    SINCE_HEADER,
    Parking,
    ParkMessage,
    WaitsFor,
)
from worker.ledger.pacing import Brake, Throttled

LONGEST_WAIT_MS = 86_400_000
"""How long a command waits at most for its first attempt, over all workers that take it."""


def refuse_if_too_long(throttled: Throttled, time_left: TimeLeft) -> None:
    """Return if there is time for the wait.

    Raises:
        CommandRefused: there is none, so that the command ends here.
    """
    reason = time_left.lacks(throttled.wait_ms / 1000)
    if reason:
        bound = "the deadline passes" if reason is Reason.EXPIRED else "the time to try is over"
        raise CommandRefused(reason, f"{bound} before the venue's limits permit a request: {throttled.why}")


@dataclass(slots=True)
class FirstTurn:
    """How one execution waits for its first attempt: parked where it may, else in its thread."""

    envelope: Envelope
    ref: CommandRef
    deadline_ms: int | None
    budget_seconds: float
    clock: Clock
    stopping: Callable[[], bool]
    observer: Observer
    before: QueryProgress | None = None
    """Of a query, what came with its message."""
    slept: float = 0.0
    """Seconds in this thread."""

    def __call__(self, throttled: Throttled) -> None:
        """Wait in the thread, and return when the ledger is to be asked again.

        Raises:
            ParkMessage: it waits at the broker; the ledger's record, if there is one, stays as it is.
            CommandRefused: there is no time left to wait.
            RequeueMessage: the worker is stopping.
        """
        seconds = max(throttled.wait_ms, 1) / 1000
        self.observer.throttled(self.ref, throttled.brake.value, seconds, throttled.why)
        since_ms = since_of(self.envelope.waits_since, self.clock.now_ms())
        refuse_if_too_long(throttled, self._time_left(throttled, since_ms))
        if self.envelope.parks and self.slept + seconds >= SHORTEST_SECONDS:
            wait_ms = max(throttled.wait_ms, int(SHORTEST_SECONDS * 1000))
            headers: dict[str, object] = {SINCE_HEADER: since_ms}
            if self.before:
                headers[PROGRESS_HEADER] = self.before.to_header()
            elif self.envelope.progress is not None:
                headers[PROGRESS_HEADER] = None  # its plan had failed, and is made by now
            raise ParkMessage(Parking(wait_ms, WaitsFor(throttled.brake.value), True, headers))
        if sleep_unless_stopping(self.clock, self.stopping, seconds) > 0:
            raise RequeueMessage("the worker is stopping, and the venue's limits let no attempt begin")
        self.slept += seconds

    def _time_left(self, throttled: Throttled, since_ms: int) -> TimeLeft:
        now, budget = self.clock.monotonic(), self.budget_seconds
        if throttled.since_ms is not None:  # between two attempts, and its owner has parked it
            return TimeLeft(self.clock, now - throttled.since_ms / 1000 + budget, self.deadline_ms)
        ends_at = now + (since_ms + LONGEST_WAIT_MS - self.clock.now_ms()) / 1000
        if throttled.brake is not Brake.RATE_LIMIT:
            # A busy account's commands wait in line for its rate limit, and none of them waits out a ban.
            ends_at = min(ends_at, now + budget)
        if not self.envelope.parks:
            ends_at = min(ends_at, now - self.slept + budget)  # it keeps a thread
        return TimeLeft(self.clock, ends_at, self.deadline_ms)
