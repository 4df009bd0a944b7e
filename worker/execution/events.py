"""What the executor tells of a command while it executes it, to whoever watches: metrics, log lines, traces.

One seam and no more: this module knows none of them, and is told nothing that must not be seen: command id, command,
account and venue of a command, never its arguments, a request or an answer's body. An observer can't break a command:
:class:`Observers` logs what one raises, once for each kind of event, and goes on.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from producers.report import Report
from worker.execution.retry_policy import Decision
from worker.venues.base import Verdict
from worker.venues.freshness import staleness
from worker.venues.http.base import NoResponse, Response

logger = logging.getLogger("orders.observer")


@dataclass(frozen=True, slots=True)
class CommandRef:
    """The command that an event is about."""

    command_id: str
    command: str
    """``close``, ``cancel``, ``withdraw`` or ``positions``."""
    account: str
    """The alias as it was sent; it is configured in this worker only where ``venue`` is given."""
    venue: str = ""


@dataclass(frozen=True, slots=True)
class AttemptEvent:
    """One attempt, judged."""

    attempt: int
    """Its number, counted over all owners of the command."""
    proof: str
    decision: str
    http_status: int | None
    left: bool
    """Whether any byte of it left."""
    signature_age: float | None
    """Seconds from reading the clock for the signature to the first byte; None when nothing left."""
    latency: float | None
    """Seconds from the first byte to the whole answer, or to giving up on it; None when nothing left."""
    answered_at: float | None
    """When the answer was whole, UNIX seconds by this worker's clock; None without an answer."""
    venue_date: str
    """The answer's ``Date`` header, or empty."""


@dataclass(frozen=True, slots=True)
class EndEvent:
    """How a command ended, and when; UNIX milliseconds."""

    outcome: str
    reason: str
    attempts: int
    enqueued_at: int | None
    finished_at: int | None


class Observer:
    """Watches. Does nothing by itself: an observer overrides what it wants to see.

    Called in the thread that executes the command, between its steps: whatever takes time here makes a command late.
    """

    def redelivered(self, subject: CommandRef) -> None:
        """The broker delivered the message a second time: a worker died with it, or lost its connection."""

    def began(self, subject: CommandRef, wait: float | None, fence: int, attempt: int) -> None:
        """The first attempt of this owner begins, and the ledger says so. ``wait`` is seconds since the command was
        enqueued, where it says when; a ``fence`` above 1 means that it was taken over from an owner who is gone."""

    def attempted(self, subject: CommandRef, tried: AttemptEvent) -> None:
        """A request was made and judged, or could not be sent."""

    def waits(self, subject: CommandRef, attempt: int, seconds: float, because: str) -> None:
        """The command waits before its next attempt; ``because`` is a line for people, without secrets."""

    def ended(self, subject: CommandRef, end: EndEvent) -> None:
        """The command has its report."""

    def replayed(self, subject: CommandRef, outcome: str) -> None:
        """The id was sent again: it was answered with the stored report."""

    def id_reused(self, subject: CommandRef) -> None:
        """The id was sent again with other arguments: refused."""

    def orphaned(self, subject: CommandRef, outcome: str, message: str) -> None:
        """The command's owner is gone, and its end was declared here."""

    def fault(self, subject: CommandRef, kind: str, place: str) -> None:
        """A fault of the worker's own: an exception's name, and ``file:line``."""

    def republished(self, command_id: str, command: str) -> None:
        """A command that was enqueued and lost on its way was published again."""


class Observers(Observer):
    """Several observers as one. Nothing that one of them raises reaches the command, or the next observer."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers
        self._complained: set[tuple[type, str]] = set()

    def _tell(self, event: str, *told: object) -> None:
        for observer in self._observers:
            try:
                getattr(observer, event)(*told)
            except Exception as error:  # noqa: BLE001 - see the class
                self._complain(observer, event, error)

    def _complain(self, observer: Observer, event: str, error: Exception) -> None:
        """Once for each kind of event: what fails once fails thousands of times a minute."""
        kind = type(observer)
        if (kind, event) in self._complained:
            return
        self._complained.add((kind, event))
        # Its kind and place alone, as everywhere: an error's text may quote what it was told.
        logger.error(
            "%s fails at %r: %s at %s; commands go on, and this is not told again",
            kind.__name__,
            event,
            type(error).__name__,
            place(error),
        )

    def redelivered(self, subject: CommandRef) -> None:
        """See :class:`Observer`, here and below."""
        self._tell("redelivered", subject)

    def began(self, subject: CommandRef, wait: float | None, fence: int, attempt: int) -> None:  # noqa: D102
        self._tell("began", subject, wait, fence, attempt)

    def attempted(self, subject: CommandRef, tried: AttemptEvent) -> None:  # noqa: D102
        self._tell("attempted", subject, tried)

    def waits(self, subject: CommandRef, attempt: int, seconds: float, because: str) -> None:  # noqa: D102
        self._tell("waits", subject, attempt, seconds, because)

    def ended(self, subject: CommandRef, end: EndEvent) -> None:  # noqa: D102
        self._tell("ended", subject, end)

    def replayed(self, subject: CommandRef, outcome: str) -> None:  # noqa: D102
        self._tell("replayed", subject, outcome)

    def id_reused(self, subject: CommandRef) -> None:  # noqa: D102
        self._tell("id_reused", subject)

    def orphaned(self, subject: CommandRef, outcome: str, message: str) -> None:  # noqa: D102
        self._tell("orphaned", subject, outcome, message)

    def fault(self, subject: CommandRef, kind: str, place: str) -> None:  # noqa: D102
        self._tell("fault", subject, kind, place)

    def republished(self, command_id: str, command: str) -> None:  # noqa: D102
        self._tell("republished", command_id, command)


NULL_OBSERVER = Observer()
"""Nobody watches."""


def place(error: BaseException) -> str:
    """Where an error was raised, as ``file:line``, without a word of what was being done to what."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"


def command_ref(report: Report) -> CommandRef:
    """The command of a report."""
    return CommandRef(report.command_id, report.command, report.account or "", report.venue or "")


def end_event(report: Report) -> EndEvent:
    """The end that a report tells, without what the venue said."""
    return EndEvent(report.outcome.value, str(report.reason), report.attempts, report.enqueued_at, report.finished_at)


def waited(enqueued_at: int | None, now_ms: int) -> float | None:
    """Seconds from enqueueing to now, by two clocks; None where the message does not say when that was."""
    return (now_ms - enqueued_at) / 1000 if enqueued_at else None


def attempt_event(
    answer: Response | NoResponse, verdict: Verdict, decision: Decision, attempt: int, signed_at: float, now_ms: int
) -> AttemptEvent:
    """What may be told of an attempt. ``signed_at`` is on the monotonic clock, as the answer's timing is."""
    timing = answer.timing
    came = isinstance(answer, Response)
    # What a cache kept is dated when it was made.
    new = isinstance(answer, Response) and not staleness(answer)
    return AttemptEvent(
        attempt=attempt,
        proof=verdict.proof.value,
        decision=decision.value,
        http_status=answer.status if isinstance(answer, Response) else None,
        left=isinstance(answer, Response) or answer.bytes_left,
        signature_age=timing.first_byte - signed_at if timing else None,
        latency=timing.ended - timing.first_byte if timing else None,
        answered_at=now_ms / 1000 if came else None,
        venue_date=answer.date if isinstance(answer, Response) and new else "",
    )
