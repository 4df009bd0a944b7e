"""The events of a command while it is executed, for observers: metrics, log lines, traces.

This module imports no observer, and events hold nothing that must not be shown: command id, command, account and venue
of a command, never its arguments, a request or a response's body. An observer can't break a command: :class:`Observers`
logs what one raises, once for each kind of event, and goes on."""

import logging
from pathlib import Path
from typing import NamedTuple

from producers.report import Report
from worker.execution.retry_policy import Decision
from worker.venues.base import Verdict
from worker.venues.http.base import NoResponse, Response
from worker.venues.response_freshness import staleness

logger = logging.getLogger("orders.observer")


class CommandRef(NamedTuple):
    """The command that an event is about."""

    command_id: str
    command: str
    """``close``, ``submit``, ``cancel``, ``withdraw`` or ``positions``."""
    account: str
    """The alias as it was sent; it is configured in this worker only where ``venue`` is given."""
    venue: str = ""


class AttemptEvent(NamedTuple):
    """One attempt and what its response proved."""

    attempt: int
    """Its number, counted over all owners of the command."""
    proof: str
    decision: str
    http_status: int | None
    bytes_left: bool
    """Whether any byte of the request was sent."""
    signature_age_seconds: float | None
    """From reading the clock for the signature to the first byte; None when nothing was sent."""
    latency_seconds: float | None
    """From the first byte to the whole response, or to giving up on it; None when nothing was sent."""
    answered_at: float | None
    """When the response was whole, UNIX seconds by this worker's clock; None without a response."""
    venue_date: str
    """The response's ``Date`` header, or empty."""


class LookEvent(NamedTuple):
    """One look for a command in doubt at its venue."""

    sight: str
    """One of :class:`~worker.venues.lookups.Sight`."""
    counts: bool
    """Whether it is an absence after which no request can arrive any more."""
    number: int
    """Counted since the last attempt."""
    seconds: float
    words: str
    """For people."""


class EndEvent(NamedTuple):
    """How a command ended, and when; UNIX milliseconds."""

    outcome: str
    reason: str
    attempts: int
    enqueued_at: int | None
    finished_at: int | None


class Observer:
    """Base of observers. Its methods do nothing: an observer overrides those of the events that it uses.

    Called in the thread that executes the command, between its steps: a slow observer delays commands.
    """

    def redelivered(self, ref: CommandRef) -> None:
        """The broker delivered the message a second time: a worker died with it, or lost its connection."""

    def began(self, ref: CommandRef, wait: float | None, fence: int, attempt: int) -> None:
        """The first attempt of this owner begins, and the ledger says so. ``wait`` is seconds since the command was
        enqueued, where it says when; a ``fence`` above 1 means that it was taken over from an owner who is gone."""

    def attempted(self, ref: CommandRef, event: AttemptEvent) -> None:
        """A request was made and its response judged, or it could not be sent."""

    def looked(self, ref: CommandRef, event: LookEvent) -> None:
        """A command in doubt was looked for at its venue."""

    def waits(self, ref: CommandRef, attempt: int, seconds: float, because: str) -> None:
        """The command waits before its next attempt, or (``attempt`` 0) before its plan is tried again; ``because`` is
        a line for people, without secrets."""

    def ended(self, ref: CommandRef, end: EndEvent) -> None:
        """The command has its report."""

    def held(self, ref: CommandRef, until: int) -> None:
        """The command waits for persons to approve it, until then (UNIX ms); its worker is free."""

    def parked(self, ref: CommandRef, waits_for: str, seconds: float) -> None:
        """The command gives its thread and its message back, and comes again after these seconds; ``waits_for`` is one
        of :class:`~worker.execution.parking.WaitsFor`."""

    def throttled(self, ref: CommandRef, brake: str, seconds: float, why: str) -> None:
        """An attempt may not begin for these seconds, for the venue's sake; ``brake`` is one of
        :class:`~worker.ledger.pacing.Brake`, ``why`` is for people."""

    def cooled_down(self, ref: CommandRef, seconds: float | None, by_address: bool | None, why: str) -> None:
        """A response asks for no further requests of the account, or of every account at its host (``by_address``), for
        these seconds; None where it does not say for how long. ``by_address`` is None where the attempt after a
        cool-down has shown nothing, so that it is renewed."""

    def replayed(self, ref: CommandRef, outcome: str) -> None:
        """The id was sent again and answered with the stored report."""

    def id_reused(self, ref: CommandRef) -> None:
        """The id was sent again with other arguments, which was refused."""

    def orphaned(self, ref: CommandRef, outcome: str, message: str) -> None:
        """The command's owner is gone, and its end was declared here."""

    def fault(self, ref: CommandRef, kind: str, raised_at: str) -> None:
        """A fault of the worker's own: ``kind`` is an exception's name, ``raised_at`` a ``file:line``."""

    def republished(self, command_id: str, command: str) -> None:
        """A command that was enqueued and lost on its way was published again."""

    def badly_sealed(self, command: str, problem: str, mode: str) -> None:
        """A command without a valid seal came: it was executed (mode ``warn``) or refused (``require``)."""

    def ruled(self, ref: CommandRef, words: str, denied: bool) -> None:
        """The withdrawal policy denied the command, or would have, where it only warns. ``words`` name the rule, and no
        amount or address."""


class Observers(Observer):
    """Several observers as one. Nothing that one of them raises reaches the command, or the next observer."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers
        self._failed: set[tuple[type, str]] = set()

    def _notify(self, event: str, *arguments: object) -> None:
        for observer in self._observers:
            try:
                getattr(observer, event)(*arguments)
            except Exception as error:  # noqa: BLE001 - see the class
                self._log_failure(observer, event, error)

    def _log_failure(self, observer: Observer, event: str, error: Exception) -> None:
        """Log once for each kind of event: an observer that fails once fails thousands of times a minute."""
        kind = type(observer)
        if (kind, event) in self._failed:
            return
        self._failed.add((kind, event))
        # Only its kind and where it was raised: an error's text may quote the event.
        logger.error(
            "%s fails at %r: %s at %s; commands go on, and this is not logged again",
            kind.__name__,
            event,
            type(error).__name__,
            raised_at(error),
        )

    def redelivered(self, ref: CommandRef) -> None:
        """See :class:`Observer`, here and below."""
        self._notify("redelivered", ref)

    def began(self, ref: CommandRef, wait: float | None, fence: int, attempt: int) -> None:  # noqa: D102
        self._notify("began", ref, wait, fence, attempt)

    def attempted(self, ref: CommandRef, event: AttemptEvent) -> None:  # noqa: D102
        self._notify("attempted", ref, event)

    def looked(self, ref: CommandRef, event: LookEvent) -> None:  # noqa: D102
        self._notify("looked", ref, event)

    def waits(self, ref: CommandRef, attempt: int, seconds: float, because: str) -> None:  # noqa: D102
        self._notify("waits", ref, attempt, seconds, because)

    def ended(self, ref: CommandRef, end: EndEvent) -> None:  # noqa: D102
        self._notify("ended", ref, end)

    def held(self, ref: CommandRef, until: int) -> None:  # noqa: D102
        self._notify("held", ref, until)

    def parked(self, ref: CommandRef, waits_for: str, seconds: float) -> None:  # noqa: D102
        self._notify("parked", ref, waits_for, seconds)

    def throttled(self, ref: CommandRef, brake: str, seconds: float, why: str) -> None:  # noqa: D102
        self._notify("throttled", ref, brake, seconds, why)

    def cooled_down(self, ref: CommandRef, seconds: float | None, by_address: bool | None, why: str) -> None:  # noqa: D102
        self._notify("cooled_down", ref, seconds, by_address, why)

    def replayed(self, ref: CommandRef, outcome: str) -> None:  # noqa: D102
        self._notify("replayed", ref, outcome)

    def id_reused(self, ref: CommandRef) -> None:  # noqa: D102
        self._notify("id_reused", ref)

    def orphaned(self, ref: CommandRef, outcome: str, message: str) -> None:  # noqa: D102
        self._notify("orphaned", ref, outcome, message)

    def fault(self, ref: CommandRef, kind: str, raised_at: str) -> None:  # noqa: D102
        self._notify("fault", ref, kind, raised_at)

    def republished(self, command_id: str, command: str) -> None:  # noqa: D102
        self._notify("republished", command_id, command)

    def badly_sealed(self, command: str, problem: str, mode: str) -> None:  # noqa: D102
        self._notify("badly_sealed", command, problem, mode)

    def ruled(self, ref: CommandRef, words: str, denied: bool) -> None:  # noqa: D102
        self._notify("ruled", ref, words, denied)


NULL_OBSERVER = Observer()
"""An observer that ignores every event."""


def raised_at(error: BaseException) -> str:
    """Where an error was raised, as ``file:line``, which quotes nothing of what was being done."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"


def command_ref(report: Report) -> CommandRef:
    """The command that a report is about."""
    return CommandRef(report.command_id, report.command, report.account or "", report.venue or "")


def end_event(report: Report) -> EndEvent:
    """The end in a report, without the venue's own words."""
    return EndEvent(report.outcome.value, str(report.reason), report.attempts, report.enqueued_at, report.finished_at)


def queue_wait_seconds(enqueued_at: int | None, now_ms: int) -> float | None:
    """From enqueueing to now, by two machines' clocks; None where the message does not say when it was enqueued."""
    return (now_ms - enqueued_at) / 1000 if enqueued_at else None


def attempt_event(
    response: Response | NoResponse, verdict: Verdict, decision: Decision, attempt: int, signed_at: float, now_ms: int
) -> AttemptEvent:
    """What observers see of an attempt. ``signed_at`` is on the monotonic clock, as the response's timing is."""
    timing, status, answered_at, date = response.timing, None, None, ""
    if isinstance(response, Response):
        status, answered_at, date = response.status, now_ms / 1000, response.date
        if date and staleness(response):
            date = ""  # that of a response from a cache is the cached response's
    return AttemptEvent(
        attempt=attempt,
        proof=verdict.proof.value,
        decision=decision.value,
        http_status=status,
        bytes_left=isinstance(response, Response) or response.bytes_left,
        signature_age_seconds=timing.first_byte - signed_at if timing else None,
        latency_seconds=timing.ended - timing.first_byte if timing else None,
        answered_at=answered_at,
        venue_date=date,
    )
