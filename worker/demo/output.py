"""The demo's output: progress, the table, the legend, and for programs one JSON document."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from producers.cli.tables import print_record
from worker.demo.runner import Invariant, Row
from worker.demo.scenarios import ID_REUSED
from worker.demo.timeline import picture
from worker.operations.history import Moment

PLAIN_WIDTH = 100
"""The width of output that does not go to a terminal, in columns."""

TABLE_WIDTH = 110
"""The greatest width of the table; wider lines would be harder to read."""

MIN_TABLE_WIDTH = 76
"""In a narrower terminal the table would cut words, so that each row is printed as a record."""

COLUMNS = ("command", "what was done to it", "outcome / reason", "sent", "ms", "at the simulator", "as it should be")

STYLES = {"accepted": "green", "rejected": "red", "not_sent": "blue", "unknown": "yellow", ID_REUSED: "magenta"}

LEGEND = (
    ("accepted", "The venue accepted it."),
    ("rejected", "The venue refused it; nothing was executed."),
    ("not_sent", "Proven not executed, and given up. In this demo, no request was sent."),
    ("unknown", "It may or may not have been executed. It is never sent again automatically."),
    (ID_REUSED, "The id belongs to another command: the sender gets an error, and nothing is sent."),
)
UNKNOWN_EXPLAINED = (
    "unknown is not a failure of the worker: the venue executed the command and its reply was lost, so the worker "
    "can't know. Any other word would be a guess, and sending again could pay twice. Kraken Futures knows client order "
    "ids: there the worker looks before it says unknown, and finds the order."
)
TIMELINE = "What became of the withdrawal of 0.5 ETH whose reply was lost, as the ledger has it:"


class Screen:
    """Prints progress and results: live on a terminal, as plain lines elsewhere. With JSON, progress goes to stderr."""

    def __init__(self, *, json_output: bool) -> None:
        for stream in (sys.stdout, sys.stderr):
            # A character that the terminal can't show becomes a question mark, instead of an error.
            getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
        self._json = json_output
        self._written = False
        console = Console(stderr=json_output, highlight=False)
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console = Console(stderr=json_output, highlight=False, width=PLAIN_WIDTH)
        self._console = console

    @contextmanager
    def progress(self, what: str) -> Iterator[None]:
        """Show that something is being done; on a terminal the line disappears afterwards."""
        if not self._console.is_terminal:
            self.say(f"{what} …")
            yield
            return
        with self._console.status(Text(f"{what} …", no_wrap=True, overflow="ellipsis")):
            yield

    def say(self, text: str, style: str = "") -> None:
        """Print a line of text."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def lines(self, lines: Sequence[str]) -> None:
        """Print lines to copy, without wrapping them; nothing with JSON."""
        if not self._json:
            self.say("\n".join(lines))

    def done(self, name: str, text: str) -> None:
        """Print that a process is ready."""
        self._console.print(Text.assemble(("✓ ", "green"), f"{name:<10} {text}"), soft_wrap=True)

    def fail(self, text: str) -> None:
        """Print an error, always to stderr."""
        Console(stderr=True, highlight=False).print(Text(text, style="red"), soft_wrap=True)

    def results(self, rows: Sequence[Row], invariants: Sequence[Invariant]) -> None:
        """Print the table, the legend and a sentence for each invariant."""
        if self._json:
            return
        if self._console.width < MIN_TABLE_WIDTH:
            for row in rows:
                more = [] if row.ok else [("expected", Text(_expected(row), style="red"))]
                print_record(self._console, [*zip(COLUMNS, _cells(row), strict=True), *more])
                self._console.print()
        else:
            self._console.print(_table(rows, min(self._console.width, TABLE_WIDTH)))
            self._console.print()
        self._console.print(_legend())
        self._console.print()
        self._console.print(Text(UNKNOWN_EXPLAINED, style="italic"))
        self._console.print()
        self.invariants(invariants)

    def invariants(self, invariants: Sequence[Invariant]) -> None:
        """Print each invariant, and whether it holds."""
        if self._json:
            return
        lines = Table.grid(padding=(0, 1))
        for each in invariants:
            lines.add_row(_mark(each.holds), Text(each.sentence))
        self._console.print(lines)

    def timeline(self, moments: Sequence[Moment]) -> None:
        """Print the picture of one command; nothing with JSON."""
        if self._json or not moments:
            return
        self._console.print()
        self._console.print(Text(TIMELINE, style="bold"))
        self._console.print()
        self._console.print(picture(moments, min(self._console.width, TABLE_WIDTH)), soft_wrap=True)

    def document(
        self,
        rows: Sequence[Row],
        invariants: Sequence[Invariant],
        moments: Sequence[Moment] = (),
        error: str = "",
        **more: str,
    ) -> None:
        """Print the results as one JSON document on stdout, if JSON was requested; at most once."""
        if not self._json or self._written:
            return
        self._written = True
        as_expected = all(row.ok for row in rows) and all(each.holds for each in invariants)
        document = {
            "ok": as_expected and not error,
            "error": error or None,
            "rows": [_row(row) for row in rows],
            "invariants": [asdict(each) for each in invariants],
            "timeline": [{"at": each.at, "event": each.event, "words": each.words} for each in moments],
            **more,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        sys.stdout.flush()


def _table(rows: Sequence[Row], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, expand=True, width=width)
    # In a narrow table these columns are narrower too, so that the text beside them does not take eight lines.
    narrow = width < 96
    command, done, outcome, sent, took, book, _ = COLUMNS
    table.add_column(command, width=16 if narrow else 18)
    table.add_column(done, ratio=1)
    table.add_column(outcome, width=18 if narrow else 28)
    table.add_column(sent, justify="right", no_wrap=True)
    table.add_column(took, justify="right", no_wrap=True)
    table.add_column(book, width=11 if narrow else 13)
    table.add_column("", no_wrap=True, width=1)
    for row in rows:
        table.add_row(*_cells(row))
        if not row.ok:
            table.add_row("", Text(f"expected: {_expected(row)}", style="red"))
    return table


def _cells(row: Row) -> list[Text | str]:
    return [
        row.scenario.title,
        row.scenario.done or Text("nothing", style="dim"),
        _outcome(row),
        str(row.attempts),
        "-" if row.milliseconds is None else str(row.milliseconds),
        _effects_in_words(row),
        _mark(row.ok),
    ]


def _outcome(row: Row) -> Text:
    text = Text(row.outcome, style=STYLES.get(row.outcome, "red"))
    if row.reason:
        text.append(f" / {row.reason}", style="default")
    if row.replayed:
        text.append(" replayed", style="dim")
    return text


def _effects_in_words(row: Row) -> str:
    done = "answered" if row.scenario.effect.query else "executed"
    if row.effects == 0:
        return f"not {done}"
    return f"{done} once" if row.effects == 1 else f"{done} {row.effects} times"


def _expected(row: Row) -> str:
    expected = row.scenario.expected
    words = " / ".join(filter(None, (expected.outcome, expected.reason)))
    stored = ", the stored report" if expected.replayed else ""
    return f"{words}{stored}; sent: {expected.attempts}, at the simulator: {expected.effects}"


def _legend() -> Table:
    legend = Table.grid(padding=(0, 2))
    for word, meaning in LEGEND:
        legend.add_row(Text(word, style=STYLES[word]), meaning)
    legend.add_row("sent", "How many times a request was sent: the report's attempts.")
    legend.add_row("replayed", "The stored report of an earlier execution; nothing was executed again.")
    legend.add_row("ms", "Milliseconds from sending the command to receiving its report, including retries.")
    return legend


def _mark(good: bool) -> Text:
    return Text("✓", style="green") if good else Text("✗", style="bold red")


def _row(row: Row) -> dict[str, Any]:
    return {
        "command_id": row.scenario.command_id,
        "command": row.scenario.title,
        "done": row.scenario.done,
        "outcome": row.outcome,
        "reason": row.reason,
        "attempts": row.attempts,
        "replayed": row.replayed,
        "milliseconds": row.milliseconds,
        "effects": row.effects,
        "expected": asdict(row.scenario.expected),
        "ok": row.ok,
    }
