"""Executes commands. Every command takes the same four steps: admit, acquire, attempt, settle.

::

    admit     intake: arguments, account, policy        refused: a report that nothing was sent
    acquire   ledger: lease, halt                       already ended: the report that exists
    attempt   sign, send, judge, send again             see :mod:`worker.execution.attempt`
    settle    ledger: the report                        lease lost: again from the first step
"""

from collections.abc import Callable, Mapping

from producers.commands import Command, Positions
from producers.redaction import HIDDEN
from producers.report import Outcome, Reason, Report
from producers.results import NeverSent, read_result
from worker.clock import Clock
from worker.execution import reports
from worker.execution.admission import Admission
from worker.execution.attempt import AttemptRunner, LookedFor
from worker.execution.backoff import RetryLimits
from worker.execution.claims import Claims, ExistingReport
from worker.execution.context import CommandRefused, Envelope, Run
from worker.execution.events import NULL_OBSERVER, Observer, command_ref, end_event, queue_wait_seconds, raised_at
from worker.execution.holding import HeldForApproval
from worker.execution.intake import Intake, fingerprint_of
from worker.execution.lease import LeaseLost, LeaseManager, RefusedBetweenAttempts
from worker.execution.outage import RequeueMessage
from worker.execution.parking import ParkMessage
from worker.execution.planning import Planner
from worker.execution.policy.rulings import PERMITTED, Ruling
from worker.ledger.base import Known, Ledger, NeverBegun
from worker.venues.accounts import Account
from worker.venues.base import Venue
from worker.venues.http.transport import Transport

MAX_LEASES = 100
"""How many leases on one command an execution takes before it treats losing them as a fault of the worker. A lease is
lost to a worker that took over, which costs one of the command's attempts, or with a record that the ledger's server
lost: nothing gets here but a server that loses its records again and again."""


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
        ruling: Callable[[Command], Ruling] = lambda _: PERMITTED,
        observer: Observer = NULL_OBSERVER,
        hidden: frozenset[str] = HIDDEN,
        forget_never_sent: Callable[[str], object] = lambda _: None,
    ) -> None:
        """``stopping`` says that the worker was asked to stop: what has not begun is then given back. ``refusal`` says
        why a command is not permitted here, and ``ruling`` what the withdrawal policy says about it. ``observer`` must
        raise nothing: see :class:`~worker.execution.events.Observers`; no event that it receives has a value of the
        ``hidden`` arguments. ``forget_never_sent`` deletes the stored mark that an id was never sent, and no report."""
        self._stored_result, self._forget_never_sent = ledger.stored_result, forget_never_sent
        self._observer, self._clock = observer, clock
        self._intake = Intake(venues, accounts, clock)
        claims = Claims(ledger, clock, stopping, observer)
        self._leases = LeaseManager(ledger, claims, clock, stopping)
        self._attempts = AttemptRunner(
            leases=self._leases, transport=transport, clock=clock, retry=retry, observer=observer, hidden=hidden
        )
        self._admission = Admission(
            intake=self._intake,
            claims=claims,
            planner=Planner(transport.send, clock, retry, stopping, observer, hidden),
            clock=clock,
            stopping=stopping,
            refusal=refusal,
            ruling=ruling,
            observer=observer,
            lease_ms=self._attempts.lease_ms,
            budget_seconds=retry.budget_seconds,
        )

    def execute(self, envelope: Envelope) -> Report | None:
        """Execute a command and return its report; None when the id belongs to another command that has no report yet.

        Raises:
            RequeueMessage: the worker is stopping and nothing has begun: the message goes back to its queue. Once also
                after a fault in the worker that left no report, because another worker may not have it.
            HeldForApproval: persons must approve it; its message is published again once they have.
            ParkMessage: it waits, and its message is to wait at the broker.
            NeverBegun: the message is a dead letter, see :attr:`Envelope.known_until`.
        """
        if envelope.redelivered:
            self._observer.redelivered(envelope.command_ref)
        try:
            report = self._execute(envelope)
        except HeldForApproval as held:
            self._observer.held(envelope.command_ref, held.until)
            raise
        except ParkMessage as waits:
            self._observer.parked(envelope.command_ref, waits.parking.waits_for.value, waits.parking.wait_ms / 1000)
            raise
        except (RequeueMessage, NeverBegun):
            raise
        except Exception as error:  # noqa: BLE001 - every command ends in a report
            report = self._requeue_or_report_unknown(envelope, error)
        if report is not None and not report.replayed:
            self._observer.ended(command_ref(report), end_event(report))
        return report

    def _replay_of_query(self, envelope: Envelope, result: bytes | None) -> Report | None:
        """The report in this stored result, if it or this command is a query: the answer to a sender that has sent the
        id again, with the same arguments or others. A query has no record: only its result says that its id is taken.

        It answers a repeated query, keeps a mutating command from taking a query's id, and keeps a query from replacing
        the report of a mutating command.

        Raises:
            RequeueMessage: the worker is stopping, and the id is not refused in the ledger yet.
        """
        stored = read_result(result, envelope.command_id)
        if isinstance(stored, NeverSent):
            self._forget_never_sent(envelope.command_id)  # it is not true any more
        if not isinstance(stored, Report):
            return None
        if Positions.name not in (stored.command, envelope.task.removeprefix("orders.")):
            return None
        if stored.fingerprint == fingerprint_of(envelope.task, envelope.arguments):
            self._observer.replayed(envelope.command_ref, stored.outcome.value)
        else:
            self._observer.id_reused(envelope.command_ref)
        if envelope.task != Positions.task_name():
            # Its intent is removed only when the ledger ends the command, and a result expires after some days.
            self._admission.refuse(envelope, CommandRefused(Reason.INVALID, "its id is a query's"))
        return stored.as_replay()

    def _requeue_or_report_unknown(self, envelope: Envelope, error: Exception) -> Report:
        """Handle a fault outside of any attempt: requeue the message once, because another worker may not have the
        fault (RequeueMessage), and report ``unknown`` when it has come back; but report nothing of an id that may be
        another command's (NeverBegun)."""
        self._observer.fault(envelope.command_ref, type(error).__name__, raised_at(error))
        words = f"a fault in the worker ({type(error).__name__})"
        if not envelope.redelivered:
            raise RequeueMessage(words)
        if 0 < envelope.known_until < self._clock.now_ms():
            raise NeverBegun(envelope.command_id)
        refused = self._intake.refusal(envelope, CommandRefused(Reason.CRASHED, words))
        message = f"{words}, and nothing says whether a send was begun; it may have been executed"
        return refused.model_copy(update={"outcome": Outcome.UNKNOWN, "message": message})

    def _execute(self, envelope: Envelope) -> Report | None:
        lost: Run | None = None
        look = True
        for _ in range(MAX_LEASES):
            try:
                run = self._admission.begin(envelope, look=look)
            except CommandRefused as refused:
                if lost is not None and lost.progress.tainted:
                    return self._give_up_in_doubt(lost, refused)
                result = self._stored_result(envelope.command_id) if envelope.heeds_result else None
                return self._replay_of_query(envelope, result) or self._admission.refuse(envelope, refused)
            if isinstance(run, Known):
                replay = self._replay_of_query(envelope, run.result)
                if replay is not None:
                    return replay
                envelope = envelope._replace(heeds_result=False)
                continue
            if isinstance(run, ExistingReport):
                return run.report
            look = True
            if lost is not None:
                run.take_over(lost)
            try:
                return self._settle(run, self._attempt(run))
            except LookedFor:
                look, lost = False, None
            except LeaseLost:
                # Another worker took over while this one was away, and its report is the one that counts; or the
                # ledger has lost the record, and what this worker knows is all there is: it is not parked any more.
                lost, envelope = run, envelope._replace(parks=False)
            envelope = envelope._replace(begin_by=0, known_until=0, heeds_result=False)  # it has begun
        raise LeaseLost(f"{envelope.command_id}: {MAX_LEASES} leases were lost")

    def _give_up_in_doubt(self, run: Run, refused: CommandRefused) -> Report | None:
        """End a command that must not be sent again, after an attempt of unknown fate whose lease was lost. If the
        ledger has lost the record, only this worker knows of that attempt, and the report says that it may have been
        executed."""
        conclusion = reports.give_up(run, refused.reason, refused.message)
        report = reports.of_run(run, conclusion, self._clock.now_ms())
        return self._leases.settle_when_released(run.lease, report)

    def _attempt(self, run: Run) -> Report:
        """Send the command until no further attempt follows, and return its report.

        Raises:
            LeaseLost, LookedFor, ParkMessage, RequeueMessage: see :meth:`AttemptRunner.last_attempt`.
        """
        if run.lease.memory is None:  # else it goes on after it was parked
            enqueued_at = None if run.was_held else run.envelope.enqueued_at
            wait = queue_wait_seconds(enqueued_at, self._clock.now_ms())
            self._observer.began(run.command_ref, wait, run.lease.fence, run.progress.tries)
        try:
            return reports.of_run(run, self._conclusion(run), self._clock.now_ms())
        except (LeaseLost, LookedFor, ParkMessage, RequeueMessage):
            raise
        except Exception as error:  # noqa: BLE001 - every command ends in a report
            # The error's own text and traceback may quote a request: only its class and where it was raised are logged.
            self._observer.fault(run.command_ref, type(error).__name__, raised_at(error))
            # The report leaves out the venue's response, which may be what caused the fault.
            run.last_verdict = None
            return reports.of_run(run, reports.after_fault(error), self._clock.now_ms())

    def _conclusion(self, run: Run) -> reports.Conclusion:
        """How the command ends. It is looked for before it ends in doubt, where a look can show that it does not."""
        ending = run.ending
        if ending is None:
            conclusion = self._conclusion_of_attempts(run)
            if conclusion.without_doubt is None or not run.lookable:
                return conclusion
            ending = conclusion.without_doubt
        run.ending = ending
        attempt = self._attempts.looker.look(run)
        if attempt.decision.may_retry:
            return reports.Conclusion(ending.outcome, ending.reason, ending.message)
        return reports.conclude(run, attempt)

    def _conclusion_of_attempts(self, run: Run) -> reports.Conclusion:
        try:
            return reports.conclude(run, self._attempts.last_attempt(run))
        except CommandRefused as refused:
            return reports.give_up(run, refused.reason, refused.message)
        except RefusedBetweenAttempts as refused:
            return reports.give_up(run, *reports.why_not_begun(refused.answer))

    def _settle(self, run: Run, report: Report) -> Report | None:
        """End the command in the ledger and return the report that the ledger has.

        Raises:
            LeaseLost: another owner is at work, and nothing is known that sending again could contradict.
        """
        cool_down = self._attempts.pauses.take_cool_down(run)
        settled = self._leases.settle(run.lease, report, cool_down, run.envelope.following)
        if settled is not None:
            return settled
        # Another owner is at work: it took over, or the ledger has lost the record and it began anew.
        if report.outcome is Outcome.ACCEPTED or (report.outcome is Outcome.UNKNOWN and not run.command.repeatable):
            return self._leases.settle_when_released(run.lease, report)
        raise LeaseLost(run.envelope.command_id)
