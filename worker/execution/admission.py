"""The first two steps of an execution: admit the command and acquire it, or refuse it."""

import socket
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from os import getpid, urandom
from typing import NamedTuple

from producers.commands import Command, Positions, Withdraw
from producers.report import Outcome, Reason, Report
from worker.clock import Clock
from worker.execution import reports
from worker.execution.carried import Ending, Memory, QueryProgress
from worker.execution.claims import Acquired, Claims, ExistingReport, Lease, NotBegun
from worker.execution.context import CommandRefused, Envelope, Run
from worker.execution.events import CommandRef, Observer
from worker.execution.holding import hold_of, require_approval
from worker.execution.intake import Intake, fingerprint_of_stored, stored_arguments
from worker.execution.pacing import pace_of
from worker.execution.planning import Planner
from worker.execution.policy.rulings import PERMITTED, Ruling
from worker.execution.throttling import FirstTurn
from worker.ledger.base import Claim, Known, LookFirst, Orphaned
from worker.ledger.holds import Held
from worker.venues.accounts import Account
from worker.venues.base import Plan, Venue

DIED = CommandRefused(Reason.UNAVAILABLE, "its worker died")


class _Asked(NamedTuple):
    """A command that this worker can execute, as its message asks for it: what a :class:`Run` begins with."""

    envelope: Envelope
    command: Command
    account: Account
    venue: Venue
    ref: CommandRef


class Admission:
    """Admits commands and begins them in the ledger; one for a worker process, safe to share among threads."""

    def __init__(
        self,
        *,
        intake: Intake,
        claims: Claims,
        planner: Planner,
        clock: Clock,
        stopping: Callable[[], bool],
        refusal: Callable[[Command], str | None],
        ruling: Callable[[Command], Ruling],
        observer: Observer,
        lease_ms: int,
        budget_seconds: float,
    ) -> None:
        """``refusal``, ``ruling`` and ``observer`` as in :class:`~worker.execution.executor.Executor`; ``lease_ms`` is
        how long one attempt may take."""
        self._intake = intake
        self._claims = claims
        self._planner = planner
        self._clock = clock
        self._stopping = stopping
        self._refusal = refusal
        self._ruling = ruling
        self._observer = observer
        self._lease_ms = lease_ms
        self._budget_seconds = budget_seconds
        self._worker = f"{socket.gethostname()}:{getpid()}"

    def begin(self, envelope: Envelope, *, look: bool = True) -> Run | ExistingReport | Known:
        """Admit the command and begin its first attempt, or its next one where it was parked. One that is in doubt, and
        can be looked for at its venue, is taken over to be looked for instead: at once, unless ``look`` is False; and
        before it is refused.

        Raises:
            CommandRefused: the message makes no command, a policy forbids it, an operator halted it, a limit or a
                person denies it, it can't be planned, or there is no time left to wait for the venue.
            HeldForApproval: persons must approve it first.
            ParkMessage: it waits at the broker, for its other owner, for the venue's limits, or for its plan.
            RequeueMessage: the worker is stopping.
        """
        command, account, venue = self._intake.parse(envelope)
        ref = CommandRef(envelope.command_id, command.name, account.alias, account.venue)
        asked = _Asked(envelope, command, account, venue, ref)
        looks = asked.venue.knows_client_order_ids and asked.command.mutating
        while True:
            found = self._take_to_look(asked) if looks and look else None
            if found is not None:
                return found
            try:
                begun = self._begin(asked)
            except CommandRefused as refused:
                ending = Ending(Outcome.NOT_SENT, refused.reason, refused.message)
                found = self._take_to_look(asked, ending) if looks else None
                if found is None:
                    raise
                return found
            if not isinstance(begun, LookFirst):
                return begun
            look = True

    def _take_to_look(self, asked: _Asked, ending: Ending | None = None) -> Run | ExistingReport | None:
        """Take a command over that is in doubt and can be looked for, or return the report that exists; None when it is
        to be begun. It ends by ``ending`` if it is proven that nothing of it was executed."""
        claim, parks = self._claim(asked, PERMITTED), asked.envelope.parks
        found = self._claims.take_to_look(claim, asked.command, asked.account, parks=parks)
        if not isinstance(found, Lease):
            return found
        # Should the ledger lose the record meanwhile, its owner puts it back, and it is counted again.
        ruling = self._claims.retry_until_available(lambda: self._ruling(asked.command))
        found.claim = replace(found.claim, limits=ruling.limits)
        run = Run(*asked, found, parks_looking=parks, planned=False)
        run.ending = run.ending or ending
        return run

    def _begin(self, asked: _Asked) -> Run | ExistingReport | LookFirst | Known:
        envelope, command = asked.envelope, asked.command
        ruling = self._permission(asked)
        claim = self._claim(asked, ruling)
        before = None if command.mutating else QueryProgress.from_header(envelope.progress)
        # What persons must approve is not taken up by another worker, see the ledger's begin.
        parks = envelope.parks and claim.hold is None
        waiting = self._budget_seconds, self._clock, self._stopping, self._observer
        turns = envelope if parks is envelope.parks else envelope._replace(parks=parks)
        await_turn = FirstTurn(turns, asked.ref, command.deadline, *waiting, before)
        if command.mutating:
            plan = self._planner.plan(asked.venue, command, asked.account, envelope, asked.ref)
            found = self._acquire(asked, claim, ruling, plan, await_turn)
        else:
            plan = Plan(command, asked.account)  # until its attempt
            found = self._claims.acquire_query(claim, before, plan=plan, await_turn=await_turn)
        if isinstance(found, NotBegun):
            raise CommandRefused(*reports.why_not_begun(found))
        if not isinstance(found, Lease):
            return found
        run = Run(*asked, found, parks=parks, parks_looking=envelope.parks)
        run.was_held, run.planned = claim.hold is not None, command.mutating
        return run

    def _permission(self, asked: _Asked) -> Ruling:
        """Under which limits and approvals the command may be executed here, now.

        Raises:
            CommandRefused: its message is too old, or a policy forbids it.
        """
        command = asked.command
        self._intake.check_time(asked.envelope, command)
        denied = self._refusal(command)
        if denied:
            raise CommandRefused(Reason.DENIED, denied)
        ruling = self._claims.retry_until_available(lambda: self._ruling(command))
        if ruling.denied or ruling.warning:
            self._observer.ruled(asked.ref, ruling.denied or ruling.warning, bool(ruling.denied))
        if ruling.denied:
            raise CommandRefused(Reason.DENIED, ruling.denied)
        return ruling

    def _acquire(self, asked: _Asked, claim: Claim, ruling: Ruling, plan: Plan, await_turn: FirstTurn) -> Acquired:
        envelope = asked.envelope
        acquire = partial(
            self._claims.acquire,
            plan=plan,
            orphan_report=self._orphan_report(envelope, DIED),
            await_turn=await_turn,
            parks=await_turn.envelope.parks,
        )
        found = acquire(claim)
        while isinstance(found, Held) and claim.hold:
            require_approval(envelope, asked.command, ruling, found, self._clock.now_ms())
            claim = replace(claim, hold=replace(claim.hold, decided=found.decided))
            found = acquire(claim)
        return found

    def refuse(self, envelope: Envelope, problem: CommandRefused) -> Report | None:
        """End a command that must not be sent; its id can't be used for another command any more.

        Raises:
            NeverBegun: see :attr:`Envelope.known_until`.
            ParkMessage: it waits at the broker for its other owner.
            RequeueMessage: the worker is stopping.
        """
        report = self._intake.refusal(envelope, problem)
        if envelope.task == Positions.task_name():
            before = QueryProgress.from_header(envelope.progress)
            return reports.parked(before.progress, before.memory, report, problem) if before else report
        claim = Claim(
            envelope.command_id,
            report.fingerprint,
            report.command,
            report.account or "",
            repeatable=False,
            token=self._token(),
            lease_ms=self._lease_ms,
            arguments=self._intake.stored_arguments(envelope),
            begin_by=0 if problem.while_held else envelope.known_until,
        )
        orphan_report = self._orphan_report(envelope, problem)
        return self._claims.refuse(claim, report, orphan_report=orphan_report, parks=envelope.parks)

    def _orphan_report(self, envelope: Envelope, problem: CommandRefused) -> Callable[[Orphaned], Report]:
        """A function that makes the report of a command whose worker died or has parked it; ``problem`` says why the
        command is not continued, for a report that nothing of unknown fate was sent."""

        def report(orphan: Orphaned) -> Report:
            refused = self._intake.refusal(envelope, problem)
            if orphan.doubt and not orphan.sending:
                return reports.parked(orphan.progress, Memory.from_text(orphan.doubt), refused, problem)
            return reports.orphaned(orphan, refused)

        return report

    def _claim(self, asked: _Asked, ruling: Ruling) -> Claim:
        envelope, command, account = asked.envelope, asked.command, asked.account
        arguments = stored_arguments(command)
        return Claim(
            envelope.command_id,
            fingerprint_of_stored(command.task, arguments),
            command.name,
            command.account,
            command.repeatable,
            self._token(),
            self._lease_ms,
            arguments,
            account.digest,
            amount=command.qty if isinstance(command, Withdraw) else Decimal(0),
            limits=ruling.limits,
            hold=hold_of(envelope, command, ruling, self._clock),
            sealed_by=envelope.sealed_by,
            begin_by=envelope.begin_by,
            pace=pace_of(command, account, asked.venue),
            heeds_result=envelope.heeds_result,
        )

    def _token(self) -> str:
        return f"{self._worker}:{urandom(8).hex()}"
