"""The attempts of a command: begin, connect, sign, send, judge, and send again what is proven safe to send again.

Rules that always hold here: the ledger says durably that a send has begun before the first byte leaves; the
deadline is checked last, right before each signature; only a proof of "not executed" lets a command be sent again
unless executing it twice has the effect of once; an attempt of unknown fate is never forgotten, and looked for where
the venue can be asked (:mod:`worker.execution.looking`).
"""

from dataclasses import replace

from producers.redaction import hidden_values, redact_text
from producers.report import Reason
from worker.clock import Clock
from worker.execution.backoff import Attempt, RetryLimits, TimeLeft, backoff_policy
from worker.execution.context import CommandRefused, Run
from worker.execution.events import Observer, attempt_event
from worker.execution.lease import LeaseManager
from worker.execution.looking import Looker
from worker.execution.pacing import NO_ANSWER, cool_down_after
from worker.execution.parking import WaitsFor
from worker.execution.pausing import Pauses
from worker.execution.planning import plan_once
from worker.execution.retry_policy import Decision, decide
from worker.execution.throttling import refuse_if_too_long
from worker.ledger.base import Progress
from worker.venues.base import PlanFailed, Proof, Verdict
from worker.venues.http.base import NoResponse, Response, SignedRequest
from worker.venues.http.transport import Transport
from worker.venues.response_freshness import distrust_if_stale
from worker.venues.response_redaction import redact_response, secrets_of

LEASE_MARGIN_SECONDS = 4.0
"""Added to the timeouts, for what none of them covers: resolving the venue's name, trying several addresses, waiting
for a busy machine."""


class LookedFor(Exception):
    """Raised when a command that was taken over to be looked for may be begun: it is nobody's now."""


class _TooLateToSign(Exception):
    """Raised when the venue would refuse the request by now, so that looks would not wait for it."""


class AttemptRunner:
    """Makes the attempts of commands; one for a worker process, safe to share among threads."""

    def __init__(
        self,
        *,
        leases: LeaseManager,
        transport: Transport,
        clock: Clock,
        retry: RetryLimits,
        observer: Observer,
        hidden: frozenset[str],
    ) -> None:
        """``observer`` receives no value of the ``hidden`` arguments."""
        self._leases = leases
        self._transport = transport
        self._clock = clock
        self._retry = retry
        self._observer = observer
        self._hidden = hidden
        limits = transport.limits
        self.lease_ms = int((limits.connect_timeout + limits.read_timeout + LEASE_MARGIN_SECONDS) * 1000)
        self.pauses = Pauses(leases=leases, clock=clock, observer=observer, lease_ms=self.lease_ms)
        self.looker = Looker(leases, self.pauses, transport, clock, observer, hidden)

    def last_attempt(self, run: Run) -> Attempt:
        """Send the command, and send it again while its verdict and the retry limits allow that; return the last
        attempt.

        Raises:
            CommandRefused: a request must not be signed, or earlier owners have made all the attempts that are allowed.
            RefusedBetweenAttempts: an operator halted sending between two attempts, say.
            LeaseLost: another worker has taken the lease over.
            ParkMessage: it waits at the broker; the last attempt's fate is on record.
            RequeueMessage: the worker is stopping; the last attempt's fate is on record.
            LookedFor: it was taken over to be looked for, and may be begun.
        """
        if run.lease.taken_to_look:
            return self._taken_to_look(run)
        earlier_attempts = run.progress.tries - 1
        if earlier_attempts >= self._retry.attempts:
            raise CommandRefused(Reason.UNAVAILABLE, "the attempts are used up")
        attempt = self._attempt(run) if _may_be_sent(run) else self._look_instead(run)
        # Most commands need one attempt, and no policy is built for them.
        return self._retried(run, attempt, earlier_attempts) if attempt.decision.may_retry else attempt

    def _look_instead(self, run: Run) -> Attempt:
        """Look for a command whose attempt was begun and must not be made: the ledger has lost the record of an earlier
        one, which this worker remembers."""
        run.lease.progress = replace(run.progress, tries=run.progress.tries - 1)
        return self.looker.look(run)

    def _taken_to_look(self, run: Run) -> Attempt:
        """Look for a command whose owner is gone. What may be repeated is looked for once, and then sent again.

        Raises:
            LookedFor: it may be begun, and is nobody's.
        """
        may_be_sent = _may_be_sent(run) and self._gives_up(run) is None
        attempt = self.looker.look_once(run) if may_be_sent else self.looker.look(run)
        if attempt is not None:
            gives_up = self._gives_up(run)
            if not attempt.decision.may_retry or gives_up is not None:
                return replace(attempt, gave_up=gives_up)
        self._leases.park(run.lease, 0, run.memory)
        raise LookedFor

    def _gives_up(self, run: Run) -> Reason | None:
        """Why no further attempt may begin; None when one may."""
        if run.progress.tries >= self._retry.attempts:
            return Reason.UNAVAILABLE
        return self._time_left(run).lacks(0.0)

    def _retried(self, run: Run, first: Attempt, earlier_attempts: int) -> Attempt:
        """Send again until an attempt is the last, and return it; ``first`` has been made already."""
        first_attempt = iter([first])
        policy = backoff_policy(
            self._retry,
            self._time_left(run),
            earlier_attempts=earlier_attempts,
            before_wait=lambda attempt, seconds: self._before_wait(run, attempt, seconds),
            wait=lambda seconds: self._leases.sleep_between_attempts(run.lease, seconds),
        )
        attempt: Attempt = policy(lambda: next(first_attempt, None) or self._next_attempt(run))
        return attempt

    def _time_left(self, run: Run) -> TimeLeft:
        return TimeLeft(self._clock, run.lease.started + self._retry.budget_seconds, run.command.deadline)

    def _next_attempt(self, run: Run) -> Attempt:
        run.attempt += 1
        while throttled := self._leases.begin_next_attempt(run.lease, run.attempt):
            seconds = max(throttled.wait_ms, 1) / 1000
            self._observer.throttled(run.command_ref, throttled.brake.value, seconds, throttled.why)
            refuse_if_too_long(throttled, self._time_left(run))
            self.pauses.pause_or_park(run, seconds, WaitsFor(throttled.brake.value))
            self._leases.sleep_between_attempts(run.lease, seconds)
        return self._attempt(run)

    def _attempt(self, run: Run) -> Attempt:
        """Make the attempt that was begun; where it leaves a doubt and can be looked for, what the look says."""
        # Until there is a response, a probe has shown nothing.
        run.cool_down = NO_ANSWER if run.lease.claim.probe else None
        run.looks = run.absences = 0
        response, verdict = self._exchange(run)
        decision = decide(run.command, verdict.proof, lookable=run.lookable)
        if isinstance(response, Response):
            run.cool_down = cool_down_after(verdict)
        self._record_attempt(run, verdict, decision, sent=isinstance(response, Response) or response.bytes_left)
        event = attempt_event(
            response, verdict, decision, run.progress.tries, run.signed_monotonic, self._clock.now_ms()
        )
        self._observer.attempted(run.command_ref, event)
        if decision is Decision.LOOK:
            return self.looker.look(run)
        found = self.looker.look_once(run) if decision is Decision.RETRY_IN_DOUBT and run.lookable else None
        return found or Attempt(verdict, decision)

    def _exchange(self, run: Run) -> tuple[Response | NoResponse, Verdict]:
        """Send the request; what came back, and what it proves."""
        retry_after, sent = None, None

        def sign() -> SignedRequest:
            nonlocal sent
            sent = self._sign(run)
            return sent

        try:
            if not run.planned:
                command_id, send = run.envelope.command_id, self._transport.send
                run.lease.plan = plan_once(run.venue, run.command, command_id, run.account, send)
                run.planned = True
            response = self._transport.send(run.plan.base_url or run.account.base_url, sign)
        except PlanFailed as failed:
            response, retry_after = NoResponse(bytes_left=False, message=str(failed)), failed.retry_after
        except _TooLateToSign as late:
            response = NoResponse(bytes_left=False, message=str(late))
        if sent is not None:
            # Only now, so that no signature ages meanwhile. A later response may quote this request, too.
            run.secrets |= secrets_of(sent, run.account)
        if not isinstance(response, Response):
            proof = Proof.UNKNOWN if response.bytes_left else Proof.NOT_EXECUTED
            return response, Verdict(proof, response.message, retry_after=retry_after)
        response = redact_response(response, run.secrets)
        verdict = distrust_if_stale(run.signed_at, run.venue.judge(run.plan, response), response)
        return response, replace(verdict, unknown_reason=Reason.SEEN) if verdict.proof is Proof.SEEN else verdict

    def _sign(self, run: Run) -> SignedRequest:
        """Sign a request. The transport calls this when the connection is open, right before it sends the first byte.

        The lease is checked after the clock was read for the signature: a process that is stopped in between, for any
        time, finds its lease over or sends an old signature, and never sends a fresh signature without a lease.
        """
        while True:
            request, now_ms = self._signed(run)
            if self._leases.has_time_left(run.lease, now_ms, seconds=self._transport.limits.read_timeout + 1):
                return request
            self._leases.renew(run.lease)

    def _signed(self, run: Run) -> tuple[SignedRequest, int]:
        """A request and the time in its signature, UNIX ms."""
        now_ms, monotonic = self._clock.now_ms(), self._clock.monotonic()
        if run.command.deadline is not None and now_ms >= run.command.deadline:
            late_ms = now_ms - run.command.deadline
            raise CommandRefused(Reason.EXPIRED, f"the deadline passed {late_ms} ms before a request could be signed")
        if run.plan.lookup is not None and 0 < run.plan.lookup.until_ms <= now_ms:
            raise _TooLateToSign("the attempt was begun too long ago to be sent")
        try:
            request = run.venue.request(run.plan, now_ms)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was sent
            raise CommandRefused(Reason.INVALID, f"the request can't be built ({type(error).__name__})") from None
        run.signed_at, run.signed_monotonic = now_ms, monotonic
        return request, now_ms

    def _record_attempt(self, run: Run, verdict: Verdict, decision: Decision, *, sent: bool) -> None:
        """Add an attempt to what this worker knows; ``sent`` says whether any byte of its request left."""
        before = run.progress
        in_doubt = decision.leaves_doubt
        run.last_verdict = verdict
        seen = verdict.proof is Proof.SEEN  # remembered beside any doubt: absence proves nothing then
        own_refusal = verdict.own_refusal and not seen and bool(before.tainted)
        run.refused_after_doubt = own_refusal and verdict.message != run.first_doubt
        if in_doubt and not before.tainted:
            run.first_doubt = verdict.message
        run.lease.progress = Progress(
            before.tries,
            sent=before.sent + int(sent),
            tainted=(not seen and before.tainted) or (verdict.unknown_reason.value if in_doubt else ""),
            first_sent_at=before.first_sent_at or (run.signed_at if sent else None),
            last_signed_at=run.signed_at or before.last_signed_at,
        )

    def _before_wait(self, run: Run, attempt: Attempt, seconds: float) -> None:
        # The verdict's message may quote the venue's response, which may quote the command's arguments.
        because = redact_text(attempt.verdict.message, hidden_values(run.envelope.arguments, self._hidden))
        self._observer.waits(run.command_ref, run.progress.tries, seconds, because)
        self.pauses.pause_or_park(run, seconds, WaitsFor.RETRY)


def _may_be_sent(run: Run) -> bool:
    """Whether nothing of it is in doubt, or it may be repeated all the same."""
    return not run.progress.tainted or (run.command.repeatable and run.progress.tainted != Reason.SEEN)
