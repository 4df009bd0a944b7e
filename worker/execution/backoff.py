"""When and how often a command is sent again: a policy for tenacity, which calls its attempts.

Whether it may be sent again is decided by :mod:`worker.execution.retry_policy`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_exponential_jitter

from producers.report import Reason
from worker.clock import Clock
from worker.execution.retry_policy import Decision
from worker.venues.base import Verdict


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """The contract's ``ORDERS_RETRY__*`` settings."""

    attempts: int = 5
    initial_seconds: float = 0.2
    max_seconds: float = 5.0
    budget_seconds: float = 30.0
    """Counted from the first attempt; no wait begins that would end after it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt and the decision that follows from it."""

    verdict: Verdict
    decision: Decision
    gave_up: Reason | None = None
    """Why this was the last attempt although the command could be sent again: ``expired`` or ``unavailable``."""


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Until when a command may be sent again."""

    clock: Clock
    ends_at: float
    """When the retry budget ends, in seconds on the monotonic clock."""
    deadline_ms: int | None = None
    """The command's own deadline, UNIX ms."""

    def lacks(self, seconds: float) -> Reason | None:
        """Why no wait of so many seconds may begin: ``expired`` or ``unavailable``; None when one may."""
        if self.deadline_ms is not None and self.clock.now_ms() + seconds * 1000 >= self.deadline_ms:
            return Reason.EXPIRED
        return Reason.UNAVAILABLE if self.clock.monotonic() + seconds > self.ends_at else None


_FIRST = RetryCallState(Retrying(), None, (), {})
"""What tenacity's waits are asked about: they look at the number of the attempt alone, which is 1 here."""


def backoff_seconds(limits: RetryLimits, failures: int, retry_after: float | None) -> float:
    """How long to wait after so many failures in a row, at least 1. The venue's ``Retry-After`` is a floor: an earlier
    request would only be refused again."""
    multiplier, jitter = limits.initial_seconds * 2 ** (failures - 1), limits.initial_seconds
    backoff = wait_exponential_jitter(multiplier=multiplier, max=limits.max_seconds, jitter=jitter)
    return max(min(backoff(_FIRST), limits.max_seconds), retry_after or 0.0)


def backoff_policy(
    limits: RetryLimits,
    time_left: TimeLeft,
    *,
    earlier_attempts: int,
    before_wait: Callable[[Attempt, float], None],
    wait: Callable[[float], None],
) -> Retrying:
    """A tenacity policy whose call returns the last :class:`Attempt`, also when the command could be sent again.

    It retries on results alone: an exception is never a reason to send again. ``earlier_attempts`` were made before its
    call, by this owner or others: they count, and have doubled the waits. ``before_wait`` is called with an attempt and
    the seconds of the wait after it; ``wait`` waits. Each ends everything when it raises.
    """
    no_attempts_left = stop_after_attempt(limits.attempts - earlier_attempts)

    def give_up(state: RetryCallState) -> Attempt:
        # After the last of all attempts there may be time left.
        return replace(_attempt(state), gave_up=time_left.lacks(state.upcoming_sleep) or Reason.UNAVAILABLE)

    def wait_seconds(state: RetryCallState) -> float:
        failures = earlier_attempts + state.attempt_number
        return backoff_seconds(limits, failures, _attempt(state).verdict.retry_after)

    return Retrying(
        retry=retry_if_result(lambda attempt: attempt.decision.may_retry),
        stop=lambda state: no_attempts_left(state) or time_left.lacks(state.upcoming_sleep) is not None,
        wait=wait_seconds,
        sleep=wait,
        before_sleep=lambda state: before_wait(_attempt(state), state.upcoming_sleep),
        retry_error_callback=give_up,
        reraise=True,
    )


def _attempt(state: RetryCallState) -> Attempt:
    if state.outcome is None:
        raise RuntimeError("tenacity asked about an attempt that was not made")
    attempt: Attempt = state.outcome.result()
    return attempt
