"""Sends one command from the command line, and shows how it ended."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from producers.cli.exit_codes import ExitCode
from producers.cli.forms import emit
from producers.cli.ledger import look_up
from producers.cli.options import SendOptions
from producers.cli.output import exit_if_stdout_fails, exit_on_error, failure, note, terminated_as_interrupted
from producers.cli.report import exit_with_report
from producers.cli.settings import queue_settings
from producers.cli.tables import console, print_record
from producers.commands import Command, Withdraw, parse_command
from producers.errors import ReportPending
from producers.lanes import Lane, is_lane_name
from producers.report import Report

if TYPE_CHECKING:
    from producers.client import EnqueuedCommand, OrderClient


def parse_or_exit(task: str, arguments: Mapping[str, Any], *, as_json: bool) -> Command:
    """The command; exit with a message that names every invalid argument."""
    given = {name: value for name, value in arguments.items() if value is not None}
    with exit_on_error(_typed(task), as_json=as_json):
        return parse_command(task, given)


def send(command: Command, options: SendOptions) -> typer.Exit:
    """Enqueue a command, wait if the options say so, and print the result; returns the exit to raise."""
    with terminated_as_interrupted(), _sender(command, options) as (client, command_id):
        return _send(client, command, command_id, options)


def dry_run(command: Command, options: SendOptions) -> typer.Exit:
    """Print what :func:`send` would send; returns the exit to raise."""
    with _sender(command, options) as (client, command_id):
        document = preview(client, command, command_id, options.lane)
    if options.as_json:
        emit(document)
    else:
        print_record(console(), preview_rows(document))
        note(f"{_typed(command.task)}: nothing was sent")
    return typer.Exit(ExitCode.ACCEPTED)


def preview(client: "OrderClient", command: Command, command_id: str, lane: str | None) -> dict[str, Any]:
    """What would be sent, without a seal: nothing is signed."""
    headers = {"enqueued_at": "when it is sent", **(Lane(lane).headers() if lane else {})}
    if client.sealed_by:
        headers["orders_seal"] = f"signed with the key {client.sealed_by} when it is sent"
    return {
        "dry_run": True,
        "queue": command.task,
        "command_id": command_id,
        "arguments": command.arguments(),
        "fingerprint": command.fingerprint,
        "headers": headers,
    }


def preview_rows(document: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The rows of a preview for people."""
    yield "queue", document["queue"]
    yield "id", document["command_id"]
    yield from document["arguments"].items()
    yield "fingerprint", document["fingerprint"]
    yield from ((f"header {name}", value) for name, value in document["headers"].items())


@contextmanager
def _sender(command: Command, options: SendOptions) -> "Iterator[tuple[OrderClient, str]]":
    """A client and the id to send a command under, made here so that every message about a failure can name it."""
    if options.lane is not None and not is_lane_name(options.lane):
        raise typer.BadParameter("a lane is named by 1 to 64 visible ASCII characters", param_hint="--lane")
    with exit_on_error(_typed(command.task), as_json=options.as_json), connected() as client:
        try:
            command_id = client.command_id(options.command_id)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--id") from None
        yield client, command_id


def what_pays_out(command: Command) -> str:
    """What a command pays out, in words; empty for one that pays out nothing."""
    if not isinstance(command, Withdraw):
        return ""
    more = [f", {name} {given}" for name, given in (("network", command.network), ("tag", command.tag)) if given]
    words = "Withdraw {qty} {asset} from account {account} to {address}".format_map(command.arguments())
    return words + "".join(more)


def _send(client: "OrderClient", command: Command, command_id: str, options: SendOptions) -> typer.Exit:
    where, again, enqueued = _typed(command.task), _how_to_repeat(command, command_id, options.lane), False
    try:
        with exit_on_error(where, as_json=options.as_json, command_id=command_id, again=again):
            sent = client.enqueue(command, command_id, lane=options.lane)
            enqueued = True
            report = waited(client, sent, options) if options.wait else None
            with exit_if_stdout_fails(where, f"The command is enqueued; to see how it ended: orders show {command_id}"):
                return _announce(sent, options) if report is None else exit_with_report(report, as_json=options.as_json)
    except KeyboardInterrupt:
        after = f"The command is not cancelled; to see how it ends: orders show {command_id}"
        before = f"It may or may not be queued: orders show {command_id}. {again}"
        raise interrupted(where, command_id, after if enqueued else before, as_json=options.as_json) from None


def _how_to_repeat(command: Command, command_id: str, lane: str | None) -> str:
    """How to repeat a send that may have failed. With another deadline it would be another command."""
    deadline = "" if command.deadline is None else f" --deadline {command.deadline}"
    in_lane = "" if lane is None else f" --lane {shlex.quote(lane)}"
    return f"To repeat it: the same command with --id {command_id}{deadline}{in_lane}, which can't be executed twice"


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


def awaited(client: "OrderClient", command: "EnqueuedCommand | str", options: SendOptions) -> Report:
    """Wait for a report, with a clock at a terminal."""
    if not sys.stderr.isatty():
        return client.wait(command, options.timeout)
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        seconds = f"{round(options.timeout, 1):g} s at most"
        progress.add_task(f"waiting for the report, {seconds} (Ctrl-C does not affect the command)")
        return client.wait(command, options.timeout)


def waited(client: "OrderClient", sent: "EnqueuedCommand", options: SendOptions) -> Report:
    """Wait for the report of what was just sent; where none comes in time, say what the ledger knows of the command."""
    try:
        return awaited(client, sent, options)
    except ReportPending:
        if (answer := look_up(sent.command_id)).record:
            note(f"{sent.command_id}: {answer.in_words()}")
        raise


def interrupted(where: str, command_id: str, hint: str, *, as_json: bool) -> typer.Exit:
    """Tell that a person has interrupted; returns the exit to raise."""
    message = f"interrupted. {hint}"
    return failure(message, "Interrupted", where=where, as_json=as_json, command_id=command_id)


def _typed(task: str) -> str:
    """The command as typed: ``orders.close`` is ``orders close``."""
    return task.replace(".", " ")
