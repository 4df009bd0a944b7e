"""`orders send FILE`: many commands from JSON lines, all validated before any is enqueued."""

import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from producers import exact_json
from producers.cli.exit_codes import ExitCode, worst
from producers.cli.forms import emit_line, print_many
from producers.cli.options import SendOptions, confirm, is_plausible
from producers.cli.output import exit_if_stdout_fails, exit_on_error, failure, note, terminated_as_interrupted
from producers.cli.report import exit_with_report
from producers.cli.send import connected, preview, waited, what_pays_out
from producers.cli.tables import print_table
from producers.commands import COMMANDS, Command, fingerprint, parse_command
from producers.enqueued import EnqueuedCommand
from producers.errors import BrokerUnavailable, ChainBroken, IdReused, InvalidCommand, ReportPending, ReportUnverified
from producers.lanes import is_lane_name
from producers.printable import printable

if TYPE_CHECKING:
    from producers.client import OrderClient

WHERE = "orders send"
MAX_LINES = 10_000
MAX_LINE_BYTES = 64 * 1024
"""As a command's message (the contract)."""
_OWN = ("command", "id", "lane")
_NAMES = [command.name for command in COMMANDS.values()]
MAX_TOGETHER = 1000
"""Reports that are looked for in one round trip."""
MAX_PROBLEMS = 50
"""How many problems are told of a file."""
DIGITS = 16
"""Hexadecimal digits of a command's fingerprint in its derived id."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file."""

    number: int
    command: Command
    command_id: str
    lane: str | None
    has_own_id: bool


def send_lines(file: str, id_prefix: str | None, options: SendOptions, *, confirmed: bool) -> typer.Exit:
    """Send the commands of a file; returns the exit to raise."""
    as_json = options.as_json
    print_many()
    with terminated_as_interrupted(), exit_on_error(WHERE, as_json=as_json), connected() as client:
        prefix = _prefix(client, id_prefix)
        lines = _read(client, file, prefix, as_json=as_json)
        if options.dry_run:
            return _preview(client, lines, as_json=as_json)
        _check_ids(client, [line for line in lines if id_prefix or line.has_own_id], options)
        _confirm(lines, yes=confirmed, as_json=as_json)
        same = _same_ids(lines, prefix)
        if same and id_prefix is None:
            # Before anything is sent: it is all that whoever kills the program, or loses its output, has.
            note(f"the ids begin with {prefix}; to repeat it: the same file with{same}")
        sent = _enqueue(client, lines, same, as_json=as_json)
        shown = f"The commands are enqueued, and not cancelled. To see their ids: orders send FILE{same} --dry-run"
        try:
            with exit_if_stdout_fails(WHERE, shown):
                return _reports(client, sent, options) if options.wait else _announce(lines, as_json=as_json)
        except KeyboardInterrupt:
            return failure(f"interrupted. {shown}", "Interrupted", where=WHERE, as_json=as_json)


# -- reading -----------------------------------------------------------------------------------------------------------


def _prefix(client: "OrderClient", given: str | None) -> str:
    try:
        return client.command_id(given)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--id-prefix") from None


def _read(client: "OrderClient", file: str, prefix: str, *, as_json: bool) -> list[Line]:
    """The commands; exit with every problem, each with its line."""
    found: list[Line] = []
    problems: list[str] = []
    lines_of: dict[str, int] = {}
    derived: Counter[str] = Counter()
    with _opened(file, as_json=as_json) as stream:
        for number, text in _texts(stream, as_json=as_json):
            try:
                line = _line(client, number, text, prefix, derived)
            except (ValueError, RecursionError) as error:
                problems.append(f"line {number}: {_problem(error)}")
                continue
            if line.command_id in lines_of:
                problems.append(f"line {number}: it has the id of line {lines_of[line.command_id]}")
            lines_of.setdefault(line.command_id, number)
            found.append(line)
    if not (found or problems):
        problems = [f"{file} has no command"]
    if problems:
        more = [f"and {len(problems) - MAX_PROBLEMS:,} more"] if len(problems) > MAX_PROBLEMS else []
        shown = [*problems[:MAX_PROBLEMS], *more]
        message = "nothing was sent: " + "; ".join(shown)
        raise failure(message, "InvalidCommand", where=WHERE, as_json=as_json, problems=shown)
    return found


@contextmanager
def _opened(file: str, *, as_json: bool) -> Iterator[BinaryIO]:
    try:
        if file == "-":
            with open(sys.stdin.fileno(), "rb", closefd=False) as stream:
                yield stream
        else:
            with Path(file).open("rb") as stream:
                yield stream
    except OSError as error:
        message = f"{file} can't be read: {error.strerror or type(error).__name__}. Nothing was sent"
        raise failure(message, "Usage", where=WHERE, as_json=as_json) from None


def _texts(stream: BinaryIO, *, as_json: bool) -> Iterator[tuple[int, bytes]]:
    """Number and text of each line that is not blank; exit at what is too much to read."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        problem = ""
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            problem = f"line {number} is longer than {MAX_LINE_BYTES:,} bytes"
        elif number > MAX_LINES:
            problem = f"there are more than {MAX_LINES:,} lines: split the file"
        if problem:
            raise failure(f"nothing was sent: {problem}", "Usage", where=WHERE, as_json=as_json)
        if line.strip():
            yield number, line


def _line(client: "OrderClient", number: int, text: bytes, prefix: str, derived: Counter[str]) -> Line:
    """Parse a line. ``derived`` counts the ids that were derived from commands.

    Raises:
        ValueError, RecursionError: it is no command.
    """
    fields = exact_json.loads(text.decode("utf-8"))
    if not isinstance(fields, dict):
        raise ValueError("it must be a JSON object")  # noqa: TRY004 - one kind of error for every problem
    name, command_id, lane = (fields.get(each) for each in _OWN)
    if name not in _NAMES:
        raise ValueError(f'"command" must be one of {", ".join(_NAMES)}')
    if lane is not None and not is_lane_name(lane):
        raise ValueError('"lane" must be 1 to 64 visible ASCII characters')
    arguments = {key: value for key, value in fields.items() if key not in _OWN and value is not None}
    if twice := [key for key, value in arguments.items() if isinstance(value, exact_json.ConflictingValues)]:
        raise ValueError(f"{twice[0]} has more than one value")
    command = parse_command(f"orders.{name}", arguments)
    if command.deadline is not None and not is_plausible(command.deadline):
        raise ValueError("deadline must be UNIX milliseconds, between the years 2001 and 2286")
    if "id" in fields and not isinstance(command_id, str):
        raise ValueError('"id" must be a text')
    has_own_id = "id" in fields
    command_id = client.command_id(command_id if has_own_id else _derived_id(prefix, command, derived))
    return Line(number, command, command_id, lane, has_own_id)


def _derived_id(prefix: str, command: Command, derived: Counter[str]) -> str:
    """An id by what the line says and not by its number: in a file that was edited, every other line keeps its id. The
    deadline does not count, because a command with another deadline is not to be executed a second time."""
    arguments = {name: value for name, value in command.arguments().items() if name != "deadline"}
    command_id = f"{prefix}-{fingerprint(command.task, arguments)[:DIGITS]}"
    derived[command_id] += 1
    return f"{command_id}-{derived[command_id]}" if derived[command_id] > 1 else command_id


def _problem(error: Exception) -> str:
    if isinstance(error, InvalidCommand):
        return "; ".join(error.problems)
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON, at its character {error.pos + 1}"
    # What the decoder says of a text quotes none of it.
    return "it is not JSON in UTF-8" if isinstance(error, UnicodeError | RecursionError) else printable(error, 200)


# -- sending -----------------------------------------------------------------------------------------------------------


def _check_ids(client: "OrderClient", lines: Sequence[Line], options: SendOptions) -> None:
    """Exit if a line has the id of another command, as far as reports tell."""
    number = {line.command_id: line.number for line in lines}
    for first in range(0, len(lines), MAX_TOGETHER):
        asked = [EnqueuedCommand(line.command_id, line.command) for line in lines[first : first + MAX_TOGETHER]]
        try:
            with suppress(ReportPending, ReportUnverified, ChainBroken):
                for _ in client.as_completed(asked, timeout=0):
                    pass
        except IdReused as error:
            message = f"nothing was sent: line {number[error.command_id]}: {error}"
            raise failure(message, "IdReused", where=WHERE, as_json=options.as_json, report=error.report) from None


def _confirm(lines: Sequence[Line], *, yes: bool, as_json: bool) -> None:
    paying = [(line.number, what) for line in lines if (what := what_pays_out(line.command))]
    if not paying:
        return
    for number, what in () if yes else paying:
        note(f"line {number}: {what}")
    question = f"Send {len(lines)} commands, {len(paying)} of them withdrawals?"
    confirm(question, "nothing was sent", where=WHERE, yes=yes, as_json=as_json)


def _same_ids(lines: Sequence[Line], prefix: str) -> str:
    """The option with which the same file gets the same ids; empty where every line has an id of its own."""
    return "" if all(line.has_own_id for line in lines) else f" --id-prefix {shlex.quote(prefix)}"


def _enqueue(client: "OrderClient", lines: Sequence[Line], same: str, *, as_json: bool) -> list[EnqueuedCommand]:
    """Enqueue all, in the file's order; neighbours in one lane, or in none, together."""
    sent: list[EnqueuedCommand] = []
    again = f"To repeat it: the same file{same and f' with{same}'}; no command can be executed twice"
    try:
        for lane, neighbours in groupby(lines, key=lambda line: line.lane):
            sent += client.enqueue_many([(line.command, line.command_id) for line in neighbours], lane=lane)
    except BrokerUnavailable as error:
        message = f"{error.trouble}; {len(sent)} of {len(lines)} are enqueued, of the others it is not known. {again}"
        more: dict[str, Any] = {"enqueued": [each.command_id for each in sent]}
        raise failure(message, "BrokerUnavailable", where=WHERE, as_json=as_json, **more) from None
    except KeyboardInterrupt:
        message = f"interrupted; {len(sent)} of {len(lines)} are enqueued, of the others it is not known. {again}"
        raise failure(message, "Interrupted", where=WHERE, as_json=as_json) from None
    return sent


def _announce(lines: Sequence[Line], *, as_json: bool) -> typer.Exit:
    for line in lines:
        command = line.command
        if as_json:
            document = {"line": line.number, "command_id": line.command_id, "command": command.name}
            emit_line({**document, "arguments": command.arguments(), "fingerprint": command.fingerprint})
        else:
            print(line.command_id)
    if not as_json:
        note(f"enqueued {len(lines)}; to see how they ended: orders show - --wait, with these ids")
    return typer.Exit(ExitCode.ACCEPTED)


def _reports(client: "OrderClient", sent: Sequence[EnqueuedCommand], options: SendOptions) -> typer.Exit:
    """Print each report as it comes, in the file's order."""
    deadline, codes = time.monotonic() + options.timeout, list[int]()
    for each in sent:
        left = replace(options, timeout=max(0.0, deadline - time.monotonic()))
        if codes and not options.as_json:
            print()
        try:
            with exit_on_error(WHERE, as_json=options.as_json, command_id=each.command_id):
                codes.append(exit_with_report(waited(client, each, left), as_json=options.as_json).exit_code)
        except typer.Exit as ended:
            codes.append(ended.exit_code)
        sys.stdout.flush()
    return typer.Exit(worst(codes))


def _preview(client: "OrderClient", lines: Sequence[Line], *, as_json: bool) -> typer.Exit:
    found = [(line, preview(client, line.command, line.command_id, line.lane)) for line in lines]
    if as_json:
        for line, document in found:
            emit_line({"line": line.number, **document})
    else:
        rows = [
            (line.number, line.command_id, each["queue"], line.lane or "-", _words(each["arguments"]))
            for line, each in found
        ]
        print_table(("line", "id", "queue", "lane", "arguments"), rows)
        note(f"{WHERE}: nothing was sent")
    return typer.Exit(ExitCode.ACCEPTED)


def _words(arguments: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in arguments.items())
