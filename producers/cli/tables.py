"""Records and tables for people, which never break a word: an id may be copied from the screen."""

import errno
import os
import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from producers.printable import printable

UNLIMITED = 100_000
"""Columns where the width is not known."""
MIN_WIDTH = 24
"""Columns that a folded column needs to be readable."""
_COLUMN_GAP = 2
"""Spaces between two columns."""


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
