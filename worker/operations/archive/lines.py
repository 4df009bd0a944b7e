"""The archive's files: one for each UTC day, JSON lines, only ever added to.

A line is an entry of the journal, byte for byte as the server has it::

    {"position":"1795678901234-0","fields":["event","begin","id","w-1",…,"seq","17","sha":"…"]}

or a note of what the archive itself saw, in front of the first entry that the note is about::

    {"note":"server","at":1795678901234,"server":"<run id>","deleted":"0-0"}
    {"note":"gap","at":…,"text":"…","lost":3,"back_to":{"position":…,"fields":[…]}}
    {"note":"tampered","at":…,"text":"…"}
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.ledger.raw_journal import Entry

_POSITION = re.compile(rb"\d{1,20}-\d{1,20}")
FILE = re.compile(r"journal-\d{4}-\d{2}-\d{2}\.jsonl")
_NOTE = b'{"note":'
_ENTRY, _FIELDS = b'{"position":"', b'","fields":["'
_MAX_LINE_BYTES = 16 * 1024 * 1024


def file_name(position: bytes) -> str:
    """The file of an entry, by the UTC day of its position."""
    seconds = int(position.partition(b"-")[0]) // 1000
    return f"journal-{datetime.fromtimestamp(min(seconds, 253_402_300_799), UTC):%Y-%m-%d}.jsonl"


def entry_line(position: bytes, fields: Sequence[bytes]) -> bytes:
    """An entry as a line, without the line feed. Bytes that are not UTF-8 become lone surrogates, as in Python."""
    joined = b'","'.join(fields)
    if joined.count(b'"') == 2 * len(fields) - 2 and position.isascii() and _is_plain(joined):
        return b'%b%b%b%b"]}' % (
            _ENTRY,
            position,
            _FIELDS,
            joined,
        )  # what json.dumps makes of it, in a third of the time
    texts = [field.decode("utf-8", "surrogateescape") for field in fields]
    return json.dumps({"position": position.decode("ascii"), "fields": texts}, separators=(",", ":")).encode("ascii")


def note_line(note: str, **more: Any) -> bytes:
    """A note as a line, without the line feed."""
    return json.dumps({"note": note, **more}, separators=(",", ":")).encode("ascii")


def parse(line: bytes) -> Entry | Mapping[str, Any]:
    """An entry, or a note as an object.

    Raises:
        ValueError: it is neither.
    """
    head, _, joined = line.partition(_FIELDS)
    if head.startswith(_ENTRY) and joined.endswith(b'"]}') and _is_plain(line):
        fields = joined[:-3].split(b'","')
        if _POSITION.fullmatch(head, len(_ENTRY)) and joined.count(b'"') == 2 * len(fields) - 1:
            return head[len(_ENTRY) :], fields
    try:
        stored = json.loads(line)
        return _note_of(stored) if is_note(line) else entry_of(stored)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it is neither an entry nor a note") from error


def _note_of(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(stored["note"], str) or type(stored["at"]) is not int or type(stored.get("lost", 0)) is not int:
        raise ValueError("a note has a text, a time, and perhaps a number of entries")
    return dict(stored)


def entry_of(stored: Mapping[str, Any]) -> Entry:
    """The entry in an object that a line holds."""
    position = stored["position"].encode("ascii")
    if not _POSITION.fullmatch(position):
        raise ValueError("the position is none")
    return position, [each.encode("utf-8", "surrogateescape") for each in stored["fields"]]


def _is_plain(text: bytes) -> bool:
    """Whether JSON writes this as it is, but for quotation marks."""
    return text.isascii() and b"\\" not in text and text.decode("ascii").isprintable()


def line_position(line: bytes) -> bytes:
    """The position in a line that holds an entry; empty for any other line."""
    return line[len(_ENTRY) :].partition(b'"')[0] if line.startswith(_ENTRY) else b""


def is_note(line: bytes) -> bool:
    """Whether a line is a note and no entry."""
    return line.startswith(_NOTE)


def files(folder: Path) -> list[Path]:
    """The archive's files, oldest first.

    Raises:
        OSError: the folder can't be read.
    """
    return sorted(path for path in folder.iterdir() if FILE.fullmatch(path.name))


def lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file, without their line feeds. What is behind the last line feed was not written to its
    end, and is none.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE_BYTES):
            if line.endswith(b"\n"):
                yield line[:-1]
