"""Sends one command from the command line, and shows how it ended."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from producers.cli.exit_codes import ExitCode
from producers.cli.ledger import LedgerAnswer, look_up
from producers.cli.output import emit, exit_if_stdout_fails, exit_on_error, failure, note
from producers.cli.report import exit_with_report
from producers.cli.settings import queue_settings
from producers.commands import Command, parse_command
from producers.errors import ChainBroken, ReportPending, ReportUnverified
from producers.lanes import is_lane_name
from producers.printable import is_command_id
from producers.report import Outcome, Report

if TYPE_CHECKING:
    from producers.client import EnqueuedCommand, OrderClient


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How a command is sent and its report read."""

    command_id: str | None = None
    wait: bool = False
    timeout: float = 60.0
    """Seconds."""
    as_json: bool = False
    lane: str | None = None


NoReport = ReportPending | ReportUnverified | ChainBroken
"""Why there is no report in the result backend."""


def parse_or_exit(task: str, arguments: Mapping[str, Any], *, as_json: bool) -> Command:
    """The command; exit with a message that names every invalid argument."""
    given = {name: value for name, value in arguments.items() if value is not None}
    with exit_on_error(_typed(task), as_json=as_json):
        return parse_command(task, given)


def send(command: Command, options: SendOptions) -> typer.Exit:
    """Enqueue a command, wait if the options say so, and print the result; returns the exit to raise."""
    where = _typed(command.task)
    if options.lane is not None and not is_lane_name(options.lane):
        raise typer.BadParameter("a lane is named by 1 to 64 visible ASCII characters", param_hint="--lane")
    with exit_on_error(where, as_json=options.as_json), connected() as client:
        try:
            # Made here, so that every message about a failure can name it.
            command_id = client.command_id(options.command_id)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--id") from None
        return _send(client, command, command_id, options)


def _send(client: "OrderClient", command: Command, command_id: str, options: SendOptions) -> typer.Exit:
    where, again, enqueued = _typed(command.task), _how_to_repeat(command, command_id, options.lane), False
    try:
        with exit_on_error(where, as_json=options.as_json, command_id=command_id, again=again):
            sent = client.enqueue(command, command_id, lane=options.lane)
            enqueued = True
            report = _waited(client, sent, options) if options.wait else None
            with exit_if_stdout_fails(where, f"The command is enqueued; to see how it ended: orders show {command_id}"):
                return _announce(sent, options) if report is None else exit_with_report(report, as_json=options.as_json)
    except KeyboardInterrupt:
        after = f"The command is not cancelled; to see how it ends: orders show {command_id}"
        before = f"It may or may not be queued: orders show {command_id}. {again}"
        raise _interrupted(where, command_id, after if enqueued else before, as_json=options.as_json) from None


def _how_to_repeat(command: Command, command_id: str, lane: str | None) -> str:
    """How to repeat a send that may have failed. With another deadline it would be another command."""
    deadline = "" if command.deadline is None else f" --deadline {command.deadline}"
    in_lane = "" if lane is None else f" --lane {shlex.quote(lane)}"
    return f"To repeat it: the same command with --id {command_id}{deadline}{in_lane}, which can't be executed twice"


def show(command_id: str, options: SendOptions) -> typer.Exit:
    """Print how a command ended, from the result backend or else the ledger; returns the exit to raise."""
    if not is_command_id(command_id):
        raise typer.BadParameter("a command id is 1 to 255 printable characters", param_hint="ID")
    try:
        with exit_on_error("orders show", as_json=options.as_json, command_id=command_id), connected() as client:
            report, reason = _stored(client, command_id, options)
            if report is not None and report.outcome is not Outcome.UNKNOWN:
                return _with_word(report, as_json=options.as_json)
            # The result has expired, or is unknown, which the ledger may have settled since.
            answer = look_up(command_id)
            if report is not None and answer.unreachable:
                note(f"orders show: can't tell whether it has been settled since: {answer.problem}")
            if not client.verifies_reports:
                report = answer.report or report
            elif report is not None and answer.report is not None:
                note(f"orders show: the ledger says, unsigned: {answer.in_words()}")
            if report is not None:
                return _with_word(report, as_json=options.as_json)
            if isinstance(reason, ChainBroken) and not answer.record:
                raise reason
            if client.verifies_reports and answer.report is not None and not isinstance(reason, ReportUnverified):
                reason = ReportUnverified(command_id, "the ledger alone has one, which is not signed")
            return _no_report(command_id, answer, reason, as_json=options.as_json)
    except KeyboardInterrupt:
        raise _interrupted("orders show", command_id, "The command is not affected", as_json=options.as_json) from None


def _with_word(report: Report, *, as_json: bool) -> typer.Exit:
    """Print a report, and of one that an operator settled, whether that word is signed; returns the exit to raise."""
    if ", by the word of " in report.message and (record := look_up(report.command_id).record):
        note(f"orders show: settled {record.get('word') or 'by nobody, as the ledger says'}")
    return exit_with_report(report, as_json=as_json)


@contextmanager
def connected() -> "Iterator[OrderClient]":
    """An :class:`OrderClient` with the settings of the environment.

    Raises:
        SettingsError: it names the invalid setting.
    """
    from producers.client import OrderClient  # here, so that a usage error need not wait for the import of Celery

    with OrderClient(queue_settings()) as client:
        yield client


def _announce(sent: "EnqueuedCommand", options: SendOptions) -> typer.Exit:
    command = sent.command
    if options.as_json:
        document = {"command_id": sent.command_id, "command": command.name, "task": command.task}
        emit({**document, "arguments": command.arguments(), "fingerprint": command.fingerprint})
    else:
        # Only the id on standard output, for ID=$(orders close …).
        print(sent.command_id, flush=True)
        note(f"enqueued on {command.task}; to see how it ended: orders show {sent.command_id}")
    return typer.Exit(ExitCode.ACCEPTED)


def _awaited(client: "OrderClient", command: "EnqueuedCommand | str", options: SendOptions) -> Report:
    if not sys.stderr.isatty():
        return client.wait(command, options.timeout)
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(f"waiting for the report, {options.timeout:g} s at most (Ctrl-C does not affect the command)")
        return client.wait(command, options.timeout)


def _waited(client: "OrderClient", sent: "EnqueuedCommand", options: SendOptions) -> Report:
    """Wait for the report of what was just sent; where none comes in time, say what the ledger knows of the command."""
    try:
        return _awaited(client, sent, options)
    except ReportPending:
        if (answer := look_up(sent.command_id)).record:
            note(f"{sent.command_id}: {answer.in_words()}")
        raise


def _stored(client: "OrderClient", command_id: str, options: SendOptions) -> tuple[Report | None, NoReport | None]:
    """The report in the result backend, or None with the reason where it is known."""
    try:
        return (_awaited(client, command_id, options) if options.wait else client.report(command_id)), None
    except (ReportPending, ReportUnverified, ChainBroken) as reason:
        return None, reason


def _no_report(command_id: str, answer: LedgerAnswer, reason: NoReport | None, *, as_json: bool) -> typer.Exit:
    pending = reason if isinstance(reason, ReportPending) else None
    problem = f"no report for {command_id}" + (f" ({pending.cause})" if pending and pending.cause else "")
    message = f"{problem}, and {answer.in_words()}"
    record = dict(answer.record) if answer.record else None
    # A record without a report proves that there is none. Without a record, both places must have been read.
    unreachable = record is None and (answer.unreachable or (pending is not None and pending.unreachable))
    error_type = "Unreachable" if unreachable else "ReportPending"
    if isinstance(reason, ReportUnverified):
        error_type, message = "ReportUnverified", f"{reason} The ledger, unsigned: {answer.in_words()}"
    return failure(message, error_type, where="orders show", as_json=as_json, command_id=command_id, ledger=record)


def _interrupted(where: str, command_id: str, hint: str, *, as_json: bool) -> typer.Exit:
    message = f"interrupted. {hint}"
    return failure(message, "Interrupted", where=where, as_json=as_json, command_id=command_id)


def _typed(task: str) -> str:
    """The command as typed: ``orders.close`` is ``orders close``."""
    return task.replace(".", " ")
