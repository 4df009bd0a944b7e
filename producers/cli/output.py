"""Output of the `orders` program: JSON documents, records and tables, hints, and errors as messages with exit codes.

Standard output has the result only; with ``--json`` it is one JSON document, also for errors. Hints, progress and
errors for people go to standard error.
"""

import errno
import json
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from producers.cli.exit_codes import ERRORS, EXPECTED, ExitCode, error_code, error_type
from producers.errors import BrokerUnavailable, ChainBroken, IdReused, InvalidCommand
from producers.printable import printable

UNLIMITED = 100_000
"""Columns where the width is not known."""
MIN_WIDTH = 24
"""Columns that a folded column needs to be readable."""
_COLUMN_GAP = 2
"""Spaces between two columns."""
_NOT_WRITTEN = {errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EFBIG, errno.EDQUOT}
"""Errors of a write to standard output that end the program with a message."""


def emit(document: Mapping[str, Any]) -> None:
    """Write the JSON document; indented at a terminal."""
    print(json.dumps(document, indent=2 if sys.stdout.isatty() else None))


def note(message: str) -> None:
    """Write a hint to standard error."""
    print(printable(message), file=sys.stderr)


@contextmanager
def exit_if_stdout_fails(where: str, otherwise: str) -> Iterator[None]:
    """Exit with code 1 and a message on standard error when standard output cannot be written: a full disk, or a reader
    that has gone. ``otherwise`` describes what has happened all the same."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            raise
        # Python would try to write the rest of the buffer again when it ends.
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - no path of ours
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        note(f"{where}: standard output can't be written ({error.strerror}). {otherwise}")
        raise SystemExit(ExitCode.FAILED) from None


def failure(
    message: str, error_type: str, *, where: str, as_json: bool, code: ExitCode | None = None, **more: Any
) -> typer.Exit:
    """Print an error and return the exit to raise, with the code that :data:`ERRORS` has for its type.

    ``where`` is the command as it was typed (``orders close``); ``more`` are further fields of the JSON error.
    """
    if as_json:
        emit({"error": {"type": error_type, "message": message, **more}})
    else:
        note(f"{where}: {message}")
    return typer.Exit(ERRORS[error_type] if code is None else code)


@contextmanager
def exit_on_error(where: str, *, as_json: bool, command_id: str | None = None, again: str = "") -> Iterator[None]:
    """Turn every expected error in the block into a message and an exit code.

    ``again`` says how to repeat a command of which it is not known whether it was enqueued.
    """
    try:
        yield
    except EXPECTED as error:
        more: dict[str, Any] = {} if command_id is None else {"command_id": command_id}
        if isinstance(error, InvalidCommand):
            more["problems"] = list(error.problems)
        if isinstance(error, IdReused | ChainBroken):
            more["report"] = error.report
        message = _as_typed(error) if isinstance(error, InvalidCommand) else str(error)
        if isinstance(error, BrokerUnavailable) and again:
            known = ", ".join(error.command_ids)
            message = f"{error.trouble}; not known to be enqueued: {known}. {again}"
        code = error_code(error)
        raise failure(message, error_type(error), where=where, as_json=as_json, code=code, **more) from None


def _as_typed(error: InvalidCommand) -> str:
    """The problems with each argument named as its option: ``order_id`` becomes ``--order-id``."""
    split = (problem.partition(" ") for problem in error.problems)
    return "; ".join(f"--{name.replace('_', '-')} {rest}" for name, _, rest in split)


class _Console(Console):
    """A console that reports a closed pipe like any other error of a write; Rich would end the program silently."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def console(*, stderr: bool = False) -> Console:
    """A console that folds lines only if a terminal or ``COLUMNS`` sets a width."""
    out = _Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not (out.is_terminal or os.environ.get("COLUMNS")):
        out.width = UNLIMITED
    return out


def _cell(value: object) -> Text:
    return value if isinstance(value, Text) else Text(printable(value))


def longest_word(texts: Iterable[Text]) -> int:
    """The width of the longest word. Words are never broken, because an id may be copied from the screen."""
    return max((len(word) for text in texts for word in text.plain.split()), default=0)


def folded(head: Text, value: Text, indent: int, width: int) -> Text:
    """A text that starts with ``head`` and continues with ``value``, indented by ``indent`` columns and folded between
    words. A word that is wider than the rest of the line stays whole."""
    available = max(1, width - indent)
    lines = textwrap.wrap(value.plain, available, break_long_words=False, break_on_hyphens=False) or [""]
    body = Text(("\n" + " " * indent).join(lines), value.style)
    return Text.assemble(head, " " * (indent - head.cell_len), body)


def print_record(out: Console, rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line."""
    cells = [(name, _cell(value)) for name, value in rows]
    indent = max(len(name) for name, _ in cells) + _COLUMN_GAP
    for name, value in cells:
        out.print(folded(Text(name, "dim"), value, indent, out.width), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table whose last column is folded between words; if it is too wide, print each row as a record."""
    out, cells = console(), [[_cell(value) for value in row] for row in rows]
    widths = [max(len(name), *(row[n].cell_len for row in cells)) for n, name in enumerate(columns)]
    indent = sum(widths[:-1]) + _COLUMN_GAP * (len(columns) - 1)
    last = max(longest_word(row[-1] for row in cells), min(widths[-1], MIN_WIDTH))
    if indent + last > out.width:
        for number, row in enumerate(cells):
            if number:
                out.print()
            print_record(out, zip(columns, row, strict=True))
        return
    for row in [[Text(name, "bold") for name in columns], *cells]:
        head = Text()
        for cell, width in zip(row[:-1], widths, strict=False):
            head.append_text(cell).append(" " * (width - cell.cell_len + _COLUMN_GAP))
        out.print(folded(head, row[-1], indent, out.width))


def when(milliseconds: int | None) -> str:
    """UNIX milliseconds as a UTC time for people; empty for None."""
    if milliseconds is None:
        return ""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"
