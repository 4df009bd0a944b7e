"""From a message to a command that can be executed, or to the report that it can't."""

import hashlib
from collections.abc import Mapping
from typing import Any

from producers.commands import Command, canonical_json, fingerprint, parse_command
from producers.errors import InvalidCommand
from producers.exact_json import exact_value
from producers.report import Reason, Report
from worker.clock import Clock
from worker.execution import reports
from worker.execution.context import CommandRefused, Envelope
from worker.venues.accounts import Account
from worker.venues.base import Venue


def stored_arguments(command: Command) -> str:
    """A command's arguments as the ledger keeps them, so that a reconcile can look for the command at the venue."""
    return canonical_json(command.arguments()).decode()


def fingerprint_of_stored(task: str, arguments: str) -> str:
    """The fingerprint of a valid command, from its arguments as the ledger keeps them: see
    :func:`~producers.commands.fingerprint`."""
    return hashlib.sha256(f'["{task}",{arguments}]'.encode()).hexdigest()


class Intake:
    """Turns messages into commands, or refuses those that this worker can't execute."""

    def __init__(self, venues: Mapping[str, Venue], accounts: Mapping[str, Account], clock: Clock) -> None:
        self._venues = venues
        self._accounts = accounts
        self._clock = clock

    def parse(self, envelope: Envelope) -> tuple[Command, Account, Venue]:
        """The command with its account and venue.

        Raises:
            CommandRefused: the message makes no command that this worker can execute.
        """
        if envelope.refusal:
            raise CommandRefused(Reason.INVALID, envelope.refusal)
        if envelope.positional:
            raise CommandRefused(Reason.INVALID, "arguments must be keywords; positional ones came")
        try:
            command = _parsed(envelope.task, envelope.arguments)
        except InvalidCommand as error:
            raise CommandRefused(Reason.INVALID, "; ".join(error.problems)) from None
        account = self._accounts.get(command.account)
        if account is None:
            known = ", ".join(sorted(self._accounts)) or "none"
            message = f"account {command.account!r} is not configured in this worker (configured: {known})"
            raise CommandRefused(Reason.INVALID, message)
        venue = self._venues[account.venue]
        problem = venue.unsupported(command)
        if problem:
            raise CommandRefused(Reason.INVALID, problem)
        return command, account, venue

    def check_time(self, envelope: Envelope, command: Command) -> None:
        """Return if the command's message may still be taken up.

        Raises:
            CommandRefused: it may not.
        """
        late_ms = self._clock.now_ms() - envelope.expires_at if envelope.expires_at is not None else 0
        if late_ms > 0:
            raise CommandRefused(Reason.EXPIRED, f"its message expired {late_ms} ms before a worker took it")
        if not command.mutating and 0 < envelope.begin_by < self._clock.now_ms():
            raise CommandRefused(Reason.EXPIRED, reports.late_message(envelope.begin_by))  # no ledger checks a query

    def stored_arguments(self, envelope: Envelope) -> str:
        """The arguments for the ledger; empty when they make no command, for then a secret may be in the wrong
        place."""
        command = _command(envelope.task, envelope.arguments)
        return stored_arguments(command) if command else ""

    def refusal(self, envelope: Envelope, problem: CommandRefused) -> Report:
        """The report that nothing was sent, finished now."""
        command = _command(envelope.task, envelope.arguments)
        return reports.refusal(
            command_id=envelope.command_id,
            task=envelope.task,
            arguments=envelope.arguments,
            command=command,
            account=self._accounts.get(command.account) if command else None,
            reason=problem.reason,
            message=problem.message,
            enqueued_at=envelope.enqueued_at,
            now_ms=self._clock.now_ms(),
        )


def fingerprint_of(task: str, arguments: Mapping[str, Any]) -> str:
    """The fingerprint of a message's request, whether it makes a command or not."""
    command = _command(task, arguments)
    return command.fingerprint if command else fingerprint(task, arguments)


def _parsed(task: str, arguments: Mapping[str, Any]) -> Command:
    # Messages are read by `exact_json`, whose floats keep the digits as they were written.
    return parse_command(task, {name: exact_value(value) for name, value in arguments.items()})


def _command(task: str, arguments: Mapping[str, Any]) -> Command | None:
    try:
        return _parsed(task, arguments)
    except InvalidCommand:
        return None
