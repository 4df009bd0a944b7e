"""The one way a command goes: claim, permitted?, sign and send, judge, settle.

Rules that hold here, whatever happens: the ledger says durably that a send has begun before the first byte leaves; the
deadline is checked last, right before each signature; only a proof of "not executed" lets a command be sent again
unless executing it twice has the effect of once; an attempt of unknown fate is never forgotten.
"""

import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from os import getpid

from producers.commands import Command, Positions
from producers.printable import printable
from producers.redaction import HIDDEN, hidden_values, without
from producers.report import Outcome, Reason, Report
from worker.clock import Clock
from worker.execution import reports
from worker.execution.backoff import Attempt, RetryLimits, backoff_policy
from worker.execution.context import CommandRefused, Envelope
from worker.execution.events import (
    NULL_OBSERVER,
    CommandRef,
    Observer,
    attempt_event,
    command_ref,
    end_event,
    place,
    waited,
)
from worker.execution.intake import Intake, fingerprint_of, stored_arguments
from worker.execution.lease import ExistingReport, HaltedBetweenAttempts, Lease, LeaseLost, LeaseManager, RequeueMessage
from worker.execution.retry_policy import Decision, decide
from worker.ledger.base import Claim, Halted, Ledger, Progress
from worker.venues.accounts import Account
from worker.venues.base import Proof, Venue, Verdict
from worker.venues.freshness import distrust_if_stale
from worker.venues.http.base import Response, SignedRequest
from worker.venues.http.transport import Transport
from worker.venues.redaction import Secrets, redact_response, secrets_of

LEASE_MARGIN_SECONDS = 4.0
"""For what no timeout bounds: resolving the venue's name, several addresses, a busy machine."""


def _halted(halt: Halted) -> CommandRefused:
    since = datetime.fromtimestamp(halt.at / 1000, UTC).isoformat(timespec="seconds")
    return CommandRefused(Reason.HALTED, f"halted by {printable(halt.who, 100)} since {since}: {halt.why}")


def _sender_of(envelope: Envelope) -> CommandRef:
    """Of a command whose arguments nobody has looked at."""
    account = envelope.arguments.get("account")
    named = printable(account, reports.LONGEST_ALIAS).lower() if isinstance(account, str) else ""
    return CommandRef(envelope.command_id, envelope.task.removeprefix("orders."), named)


@dataclass(slots=True)
class _Run:
    """What one worker knows while it executes one command."""

    envelope: Envelope
    command: Command
    account: Account
    venue: Venue
    held: Lease
    attempt: int = 1
    last: Verdict | None = None
    signed_at: int | None = None
    signed_tick: float = 0.0
    """The same on the monotonic clock, in seconds."""
    doubt: str = ""
    """What raised the first doubt, in this worker's hands."""
    refused_after_doubt: bool = False
    """The last attempt was refused by the venue itself, in other words than those that raised the first doubt: the
    refusal may be the echo of what the doubtful attempt did."""
    secrets: Secrets = field(default_factory=Secrets)
    """What its requests, each signed anew, must not have in common with any report or log line."""

    @property
    def progress(self) -> Progress:
        return self.held.progress

    @property
    def subject(self) -> CommandRef:
        return CommandRef(self.envelope.command_id, self.command.name, self.account.alias, self.account.venue)


class Executor:
    """Executes commands; one for a worker process, safe to share among threads."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        venues: Mapping[str, Venue],
        accounts: Mapping[str, Account],
        transport: Transport,
        clock: Clock,
        retry: RetryLimits,
        stopping: Callable[[], bool] = lambda: False,
        refusal: Callable[[Command], str | None] = lambda _: None,
        observer: Observer = NULL_OBSERVER,
        hidden: frozenset[str] = HIDDEN,
    ) -> None:
        """``stopping`` says that the worker was asked to stop: what has not begun is then given back. ``refusal`` says
        why a command is not permitted here. ``observer`` must raise nothing: see
        :class:`~worker.execution.events.Observers`; it is told no value of the ``hidden`` arguments."""
        self._observer = observer
        self._hidden = hidden
        self._refusal = refusal
        self._intake = Intake(venues, accounts, clock)
        self._transport = transport
        self._clock = clock
        self._retry = retry
        self._holder = LeaseManager(ledger, clock, stopping, observer)
        limits = transport.limits
        self._lease_ms = int((limits.connect_timeout + limits.read_timeout + LEASE_MARGIN_SECONDS) * 1000)
        self._worker = f"{socket.gethostname()}:{getpid()}"

    def execute(self, envelope: Envelope) -> Report | None:
        """Execute a command and return the report that stands; None when it belongs to another command's first run.

        Raises:
            GaveUpWaiting: the worker is stopping and nothing has begun: the message goes back to its queue. Once also
                after a fault of the worker's own that left no report, for another worker may know better.
        """
        if envelope.redelivered:
            self._observer.redelivered(_sender_of(envelope))
        try:
            report = self._execute(envelope, Progress())
        except RequeueMessage:
            raise
        except Exception as error:  # noqa: BLE001 - its text may quote the venue, and a command ends in a report
            report = self._unknown_after_fault(envelope, error)
        if report is not None and not report.replayed:
            self._observer.ended(command_ref(report), end_event(report))
        return report

    def replay_report(self, envelope: Envelope, stored: Report) -> Report:
        """The stored report of this id, as the answer to whoever has sent it again, with whatever arguments.

        Raises:
            GaveUpWaiting: the worker is stopping, and the ledger has not been told yet.
        """
        if stored.fingerprint == fingerprint_of(envelope.task, envelope.arguments):
            self._observer.replayed(_sender_of(envelope), stored.outcome.value)
        else:
            self._observer.id_reused(_sender_of(envelope))
        if envelope.task != Positions.task_name():
            # It has its end, which its intent waits for; and a stored report is kept for some days only.
            self._refuse(envelope, CommandRefused(Reason.INVALID, "its id is a query's"))
        return stored.as_replay()

    def _unknown_after_fault(self, envelope: Envelope, error: Exception) -> Report:
        """The report after a fault outside of any attempt, when it has come twice."""
        self._observer.fault(_sender_of(envelope), type(error).__name__, place(error))
        words = f"a fault in the worker ({type(error).__name__})"
        if not envelope.redelivered:
            raise RequeueMessage(words)
        refused = self._intake.refusal(envelope, CommandRefused(Reason.CRASHED, words))
        message = f"{words}, and nothing says whether a send was begun; it may have been executed"
        return refused.model_copy(update={"outcome": Outcome.UNKNOWN, "message": message})

    def _execute(self, envelope: Envelope, before: Progress) -> Report | None:
        taken = self._intake.read(envelope)
        if isinstance(taken, CommandRefused):
            return self._refuse(envelope, taken)
        command, account, venue = taken
        denied = self._refusal(command)
        if denied:
            return self._refuse(envelope, CommandRefused(Reason.DENIED, denied))
        claim = self._claim(envelope, command, account)
        died = CommandRefused(Reason.UNAVAILABLE, "its worker died")
        held = self._holder.hold(
            claim,
            mutating=command.mutating,
            orphan_report=lambda orphan: reports.orphaned(orphan, self._intake.refusal(envelope, died)),
        )
        if isinstance(held, ExistingReport):
            return held.report
        if isinstance(held, Halted):
            return self._refuse(envelope, _halted(held))
        held.progress = held.progress.after(before)
        run = _Run(envelope, command, account, venue, held)
        self._observer.began(
            run.subject, waited(envelope.enqueued_at, self._clock.now_ms()), held.fence, held.progress.tries
        )
        try:
            report = self._send(run)
        except LeaseLost:
            # Another worker took over while this one was away, and its report is the one that counts; or the ledger
            # has lost the record, and what this worker knows is all there is.
            return self._execute(envelope, run.progress)
        except RequeueMessage:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of our own must not end in a wrong word, nor in none
            # The error's own text and traceback may quote a request: only its kind and place are logged.
            self._observer.fault(run.subject, type(error).__name__, place(error))
            report = self._after_fault(run, error)
        settled = self._holder.settle(held, report)
        if settled is not None:
            return settled
        # Another owner is at work: it took over, or the ledger has lost the record and it began anew.
        if report.outcome is Outcome.ACCEPTED or (report.outcome is Outcome.UNKNOWN and not command.repeatable):
            return self._holder.settle_when_released(held, report)
        return self._execute(envelope, run.progress)

    def _refuse(self, envelope: Envelope, problem: CommandRefused) -> Report | None:
        """End a command that can't be made: nothing is sent, and the id is taken."""
        report = self._intake.refusal(envelope, problem)
        if envelope.task == Positions.task_name():
            return report
        claim = Claim(
            envelope.command_id,
            report.fingerprint,
            report.command,
            report.account or "",
            repeatable=False,
            token=self._token(),
            lease_ms=self._lease_ms,
            arguments=self._intake.stored_arguments(envelope),
        )
        return self._holder.refuse(
            claim,
            report,
            orphan_report=lambda orphan: reports.orphaned(orphan, self._intake.refusal(envelope, problem)),
        )

    def _claim(self, envelope: Envelope, command: Command, account: Account) -> Claim:
        return Claim(
            envelope.command_id,
            command.fingerprint,
            command.name,
            command.account,
            command.repeatable,
            self._token(),
            self._lease_ms,
            stored_arguments(command),
            account.place,
        )

    def _token(self) -> str:
        return f"{self._worker}:{secrets.token_hex(8)}"

    # -- sending -------------------------------------------------------------------------------------------------

    def _send(self, run: _Run) -> Report:
        prior = run.progress.tries - 1
        if prior >= self._retry.attempts:
            return self._report(run, *self._give_up(run, Reason.UNAVAILABLE, "the attempts are used up"))
        started = self._clock.monotonic()
        try:
            attempt = self._attempt(run)
            if attempt.decision.again:
                attempt = self._retried(run, attempt, prior, started)
        except CommandRefused as problem:
            return self._report(run, *self._give_up(run, problem.reason, problem.message))
        except HaltedBetweenAttempts as midway:
            return self._report(run, *self._give_up(run, Reason.HALTED, _halted(midway.halt).message))
        return self._report(run, *self._conclude(run, attempt))

    def _retried(self, run: _Run, first: Attempt, prior: int, started: float) -> Attempt:
        """The last attempt; ``first`` has been made already, at ``started``."""
        made = iter([first])
        policy = backoff_policy(
            self._retry,
            self._clock,
            started=started,
            attempts_left=self._retry.attempts - prior,
            deadline_ms=run.command.deadline,
            before_wait=lambda attempt, wait: self._pause(run, attempt, wait),
            wait=lambda seconds: self._holder.rest(run.held, seconds),
        )
        attempt: Attempt = policy(lambda: next(made, None) or self._attempt(run))
        return attempt

    def _attempt(self, run: _Run) -> Attempt:
        if run.held.paused:
            run.attempt += 1
            self._holder.begin_next_attempt(run.held, run.attempt)
        answer = self._transport.send(run.account.base_url, lambda: self._sign(run))
        if isinstance(answer, Response):
            answer = redact_response(answer, run.secrets)
            verdict = distrust_if_stale(run.signed_at, run.venue.judge(run.command, answer), answer)
        else:
            verdict = Verdict(Proof.UNKNOWN if answer.bytes_left else Proof.NOT_EXECUTED, answer.message)
        decision = decide(run.command, verdict.proof)
        self._record_attempt(run, verdict, decision, left=isinstance(answer, Response) or answer.bytes_left)
        tried = attempt_event(answer, verdict, decision, run.progress.tries, run.signed_tick, self._clock.now_ms())
        self._observer.attempted(run.subject, tried)
        return Attempt(verdict, decision)

    def _sign(self, run: _Run) -> SignedRequest:
        """The last step before the first byte: the connection is open, only now the clock is read.

        The lease is looked at after the signature: a process that is stopped in between, for whatever time, finds
        either its lease over or its signature old, and never sends a fresh signature without a lease.
        """
        while True:
            request, now_ms = self._signed(run)
            if self._holder.has_time_left(run.held, now_ms, seconds=self._transport.limits.read_timeout + 1):
                return request
            self._holder.renew(run.held)

    def _signed(self, run: _Run) -> tuple[SignedRequest, int]:
        """A request and the time in it."""
        now_ms, tick = self._clock.now_ms(), self._clock.monotonic()
        if run.command.deadline is not None and now_ms >= run.command.deadline:
            late = now_ms - run.command.deadline
            raise CommandRefused(Reason.EXPIRED, f"the deadline passed {late} ms before a request could be signed")
        try:
            request = run.venue.request(run.command, run.account, now_ms)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing has left
            raise CommandRefused(Reason.INVALID, f"the request can't be built ({type(error).__name__})") from None
        run.signed_at, run.signed_tick = now_ms, tick
        run.secrets |= secrets_of(request, run.account)
        return request, now_ms

    def _record_attempt(self, run: _Run, verdict: Verdict, decision: Decision, *, left: bool) -> None:
        before = run.progress
        unknown = decision in (Decision.RETRY_IN_DOUBT, Decision.UNKNOWN)
        run.last = verdict
        run.refused_after_doubt = verdict.own_refusal and bool(before.tainted) and verdict.message != run.doubt
        if unknown and not before.tainted:
            run.doubt = verdict.message
        run.held.progress = replace(
            before,
            sent=before.sent + int(left),
            tainted=before.tainted or (verdict.unknown_reason.value if unknown else ""),
            first_sent_at=before.first_sent_at or (run.signed_at if left else None),
            last_signed_at=run.signed_at or before.last_signed_at,
        )

    def _pause(self, run: _Run, attempt: Attempt, wait: float) -> None:
        # The venue's words may be in it, and in them the command's.
        because = without(attempt.verdict.message, hidden_values(run.envelope.arguments, self._hidden))
        self._observer.waits(run.subject, run.progress.tries, wait, because)
        self._holder.pause(run.held, lease_ms=int(wait * 1000) + self._lease_ms)

    # -- concluding ----------------------------------------------------------------------------------------------

    def _conclude(self, run: _Run, attempt: Attempt) -> tuple[Outcome, Reason, str]:
        verdict, decision = attempt.verdict, attempt.decision
        if decision is Decision.ACCEPT:
            return Outcome.ACCEPTED, Reason.OK, verdict.message
        if decision is Decision.UNKNOWN:
            return Outcome.UNKNOWN, verdict.unknown_reason, f"{verdict.message}; it may have been executed"
        if decision is Decision.REJECT:
            if not run.progress.tainted:
                return Outcome.REJECTED, Reason.REFUSED, verdict.message
            # The refusal may be the echo of an earlier attempt that worked: "not found" after a cancel whose reply
            # was lost.
            message = f"{verdict.message}; an earlier attempt of unknown fate may be why"
            return Outcome.UNKNOWN, Reason.REFUSED_AFTER_LOST, message
        if attempt.gave_up is Reason.EXPIRED:
            return self._give_up(run, Reason.EXPIRED, f"no time to try again before the deadline: {verdict.message}")
        return self._give_up(run, Reason.UNAVAILABLE, f"gave up after {run.progress.tries} attempts: {verdict.message}")

    def _give_up(self, run: _Run, reason: Reason, message: str) -> tuple[Outcome, Reason, str]:
        """Not sent when every attempt is proven not executed, else unknown for the reason the first doubt arose; or for
        the venue's refusal afterwards, where it ended with one, listed or not."""
        if not run.progress.tainted:
            return Outcome.NOT_SENT, reason, message
        why = Reason.REFUSED_AFTER_LOST if run.refused_after_doubt else Reason(run.progress.tainted)
        return Outcome.UNKNOWN, why, f"{message}; an attempt may have been executed"

    def _after_fault(self, run: _Run, error: Exception) -> Report:
        """A send was begun and the truth about it is lost: that is all that can be said. What the venue said is left
        out, for it may be what the fault is about."""
        run.last = None
        message = f"a fault in the worker ({type(error).__name__}) after a send was begun; it may have been executed"
        return self._report(run, Outcome.UNKNOWN, Reason.CRASHED, message)

    def _report(self, run: _Run, outcome: Outcome, reason: Reason, message: str) -> Report:
        return reports.conclusion(
            command_id=run.envelope.command_id,
            enqueued_at=run.envelope.enqueued_at,
            command=run.command,
            account=run.account,
            progress=run.progress,
            verdict=run.last,
            outcome=outcome,
            reason=reason,
            message=message,
            now_ms=self._clock.now_ms(),
        )
