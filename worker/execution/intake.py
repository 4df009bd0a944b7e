"""From a message to a command that can be executed, or to the report that it can't."""

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
    """A command's arguments as the ledger keeps them, to look for the command at the venue by."""
    return canonical_json(command.arguments()).decode()


class Intake:
    """Knows which commands this worker can execute."""

    def __init__(self, venues: Mapping[str, Venue], accounts: Mapping[str, Account], clock: Clock) -> None:
        self._venues = venues
        self._accounts = accounts
        self._clock = clock

    def read(self, envelope: Envelope) -> tuple[Command, Account, Venue] | CommandRefused:
        """The command with its account and venue, or why it can't be one. Never raises."""
        if envelope.refusal:
            return CommandRefused(Reason.INVALID, envelope.refusal)
        if envelope.positional:
            return CommandRefused(Reason.INVALID, "arguments must be keywords; positional ones came")
        try:
            command = _parsed(envelope.task, envelope.arguments)
        except InvalidCommand as error:
            return CommandRefused(Reason.INVALID, "; ".join(error.problems))
        account = self._accounts.get(command.account)
        if account is None:
            known = ", ".join(sorted(self._accounts)) or "none"
            message = f"account {command.account!r} is not configured in this worker (configured: {known})"
            return CommandRefused(Reason.INVALID, message)
        venue = self._venues[account.venue]
        problem = venue.unsupported(command)
        if problem:
            return CommandRefused(Reason.INVALID, problem)
        late = self._clock.now_ms() - envelope.expires_at if envelope.expires_at is not None else 0
        if late > 0:
            return CommandRefused(Reason.EXPIRED, f"its message expired {late} ms before a worker took it")
        return command, account, venue

    def stored_arguments(self, envelope: Envelope) -> str:
        """The arguments to keep; none of what makes no command, which may hold a secret in the wrong place."""
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
    """What tells whether two messages ask for the same, be it a command or none."""
    command = _command(task, arguments)
    return command.fingerprint if command else fingerprint(task, arguments)


def _parsed(task: str, arguments: Mapping[str, Any]) -> Command:
    # A message is read by `exact_json`, whose floats are what was written; of any other float nobody knows.
    return parse_command(task, {name: exact_value(value) for name, value in arguments.items()})


def _command(task: str, arguments: Mapping[str, Any]) -> Command | None:
    try:
        return _parsed(task, arguments)
    except InvalidCommand:
        return None
