"""The first two steps of an execution: admit the command and acquire it, or refuse it."""

import secrets
import socket
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from os import getpid

from producers.commands import Command, Positions, Withdraw
from producers.report import Reason, Report
from worker.clock import Clock
from worker.execution import reports
from worker.execution.carried import Memory, QueryProgress
from worker.execution.claims import Acquired, Claims, ExistingReport, NotBegun
from worker.execution.context import CommandRefused, Envelope, Run
from worker.execution.events import CommandRef, Observer
from worker.execution.holding import hold_of, require_approval
from worker.execution.intake import Intake, stored_arguments
from worker.execution.pacing import pace_of
from worker.execution.policy.rulings import Ruling
from worker.execution.throttling import FirstTurn
from worker.ledger.base import Claim, Orphaned
from worker.ledger.holds import Held
from worker.venues.accounts import Account
from worker.venues.base import Venue
from worker.venues.http.base import Send

DIED = CommandRefused(Reason.UNAVAILABLE, "its worker died")


class Admission:
    """Admits commands and begins them in the ledger; one for a worker process, safe to share among threads."""

    def __init__(
        self,
        *,
        intake: Intake,
        claims: Claims,
        clock: Clock,
        stopping: Callable[[], bool],
        refusal: Callable[[Command], str | None],
        ruling: Callable[[Command], Ruling],
        observer: Observer,
        send: Send,
        lease_ms: int,
        budget_seconds: float,
    ) -> None:
        """``refusal``, ``ruling`` and ``observer`` as in :class:`~worker.execution.executor.Executor`; ``send`` is for
        what a plan reads, and ``lease_ms`` is how long one attempt may take."""
        self._intake = intake
        self._claims = claims
        self._clock = clock
        self._stopping = stopping
        self._refusal = refusal
        self._ruling = ruling
        self._observer = observer
        self._send = send
        self._lease_ms = lease_ms
        self._budget_seconds = budget_seconds
        self._worker = f"{socket.gethostname()}:{getpid()}"

    def begin(self, envelope: Envelope) -> Run | ExistingReport:
        """Admit the command and begin its first attempt, or its next one where it was parked.

        Raises:
            CommandRefused: the message makes no command, a policy forbids it, an operator halted it, a limit or a
                person denies it, or there is no time left to wait for the venue's limits.
            HeldForApproval: persons must approve it first.
            ParkMessage: it waits at the broker, for its other owner or for the venue's limits.
            RequeueMessage: the worker is stopping.
        """
        command, account, venue, ruling = self._admit(envelope)
        plan = venue.plan(command, envelope.command_id, account, self._send)
        claim = self._claim(envelope, command, account, venue, ruling)
        # What persons must approve is not taken up by another worker, see the ledger's begin.
        envelope = replace(envelope, parks=envelope.parks and claim.hold is None)
        ref = CommandRef(envelope.command_id, command.name, account.alias, account.venue)
        waiting = self._budget_seconds, self._clock, self._stopping, self._observer
        before = None if command.mutating else QueryProgress.from_header(envelope.progress)
        await_turn = FirstTurn(envelope, ref, command.deadline, *waiting, before)
        if not command.mutating:
            found: Acquired = self._claims.acquire_query(claim, before, await_turn=await_turn)
        else:
            found = self._acquire(envelope, command, claim, ruling, await_turn)
        if isinstance(found, NotBegun):
            raise CommandRefused(*reports.why_not_begun(found))
        if isinstance(found, ExistingReport):
            return found
        was_held = claim.hold is not None
        return Run(envelope, command, account, venue, plan, found, was_held=was_held, parks=envelope.parks)

    def _admit(self, envelope: Envelope) -> tuple[Command, Account, Venue, Ruling]:
        """The command with its account and venue, once it may be executed here, and under which limits and approvals.

        Raises:
            CommandRefused: the message makes no command, or a policy forbids it.
        """
        command, account, venue = self._intake.parse(envelope)
        denied = self._refusal(command)
        if denied:
            raise CommandRefused(Reason.DENIED, denied)
        ruling = self._claims.retry_until_available(lambda: self._ruling(command))
        if ruling.denied or ruling.warning:
            ref = CommandRef(envelope.command_id, command.name, account.alias, account.venue)
            self._observer.ruled(ref, ruling.denied or ruling.warning, bool(ruling.denied))
        if ruling.denied:
            raise CommandRefused(Reason.DENIED, ruling.denied)
        return command, account, venue, ruling

    def _acquire(
        self, envelope: Envelope, command: Command, claim: Claim, ruling: Ruling, await_turn: FirstTurn
    ) -> Acquired:
        orphan_report = self._orphan_report(envelope, DIED)
        acquire = partial(
            self._claims.acquire, orphan_report=orphan_report, await_turn=await_turn, parks=envelope.parks
        )
        found = acquire(claim)
        while isinstance(found, Held) and claim.hold:
            require_approval(envelope, command, ruling, found, self._clock.now_ms())
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

    def _claim(self, envelope: Envelope, command: Command, account: Account, venue: Venue, ruling: Ruling) -> Claim:
        return Claim(
            envelope.command_id,
            command.fingerprint,
            command.name,
            command.account,
            command.repeatable,
            self._token(),
            self._lease_ms,
            stored_arguments(command),
            account.digest,
            amount=command.qty if isinstance(command, Withdraw) else Decimal(0),
            limits=ruling.limits,
            hold=hold_of(envelope, command, ruling, self._clock),
            sealed_by=envelope.sealed_by,
            begin_by=envelope.begin_by,
            pace=pace_of(command, account, venue),
        )

    def _token(self) -> str:
        return f"{self._worker}:{secrets.token_hex(8)}"
