"""An HTTP/1 answer's head, to the letter of its grammar (RFC 9112, RFC 9110).

Why not a library: http.client takes ``Content-Length: +46``, a status ``2_00`` and a head that ends half-way; h11 folds
lines, takes control characters and lets a ``Transfer-Encoding`` overrule a ``Content-Length``; llhttp, which httptools
binds, does not stop at an answer's end. What two readers can read in two ways proves nothing about an order.

Where the grammar leaves a choice, the one is made that leaves nothing to guess. These are unreadable, all of them:

* a line that ends in LF alone (RFC 9112, 2.2, allows both), and a folded one (5.2);
* a ``Content-Length`` said twice, be it twice the same (RFC 9110, 8.6), or beside a ``Transfer-Encoding`` (6.3);
* any transfer coding but ``chunked`` alone, and any at all from HTTP/1.0 (6.1);
* any content coding: none is asked for, every request says ``Accept-Encoding: identity``. So nothing is ever
  decompressed, and none is cut short or grows;
* a version that is neither 1.0 nor 1.1, and a status outside 100 to 599 (RFC 9110, 15).
"""

import math
import re
from dataclasses import dataclass

HEAD_BYTES = 32 * 1024
"""Of one head, and of a trailer."""
FIELDS = 100
"""Header lines of a head, and of a trailer; http.client's bound."""
KEEP_MARGIN = 1.0
"""Seconds by which an announced idle time is undercut: the venue's began earlier than ours, and a request travels."""
NEVER_USED_AGAIN = -1.0


class UnreadableAnswer(Exception):
    """What came is no answer. The text is for a person, and quotes nothing of it."""


class AnswerTooLarge(Exception):
    """The answer is larger than the ceiling."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer, and what they say about its body."""

    minor: int
    """Of the version: 1 for HTTP/1.1."""
    status: int
    fields: tuple[tuple[str, str], ...]
    """Names as they were written; values without blanks around them."""
    length: int | None
    """The body's, in bytes. None: it is chunked, or ends with the connection."""
    chunked: bool

    @property
    def bodiless(self) -> bool:
        """Whether it has no body whatever its headers say (RFC 9112, 6.3)."""
        return self.status < 200 or self.status in (204, 304)

    @property
    def idle_seconds(self) -> float:
        """For how long the connection may be idle after this answer and be used again; ``NEVER_USED_AGAIN``, infinity.

        HTTP/1.0's connections are not: what it says about keeping them is no standard's. ``Keep-Alive`` is RFC 2068's,
        19.7.1; what can't be read in it is taken for zero.
        """
        # A body where none may be would be read as the next answer; where nothing says its length, it ends so.
        unclear = self.chunked or bool(self.length) if self.bodiless else self.length is None and not self.chunked
        closes = "close" in _elements(self.values("connection"))
        if self.minor == 0 or self.status < 200 or unclear or closes:
            return NEVER_USED_AGAIN
        seconds = math.inf
        for element in _elements(self.values("keep-alive")):
            name, value = (part.strip() for part in f"{element}=".split("=")[:2])
            number = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
            if name == "timeout":
                seconds = min(seconds, number - KEEP_MARGIN)
            elif name == "max" and number < 1:
                return NEVER_USED_AGAIN
        return seconds if seconds > 0 else NEVER_USED_AGAIN

    def values(self, name: str) -> list[str]:
        """All values of a header, whose name is given in small letters."""
        return [value for known, value in self.fields if known.lower() == name]


_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) [\t\x20-\x7e\x80-\xff]*")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELD_LINE = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
# No number here has more digits than these: of thousands, Python refuses to read one.
_LENGTH = re.compile("[0-9]{1,18}")
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_EXTENSION = rb"[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:" + _EXTENSION + rb")*")


def read_status(line: bytes) -> tuple[int, int]:
    """Minor version and status of a status line.

    Raises:
        UnreadableAnswer: it is none.
    """
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise UnreadableAnswer("it is unreadable: its first line is no status line of HTTP/1.0 or 1.1")
    return int(found[1]), int(found[2])


def read_field(line: bytes) -> tuple[str, str]:
    """Name and value of a header line.

    Raises:
        UnreadableAnswer: it is none.
    """
    found = _FIELD_LINE.fullmatch(line)
    if found is None:
        raise UnreadableAnswer("it is unreadable: a header line is none")
    return found[1].decode("ascii"), found[2].strip(b" \t").decode("latin-1")


def read_chunk_size(line: bytes) -> int:
    """The size that a chunk's first line says, in bytes; its extensions are left aside.

    Raises:
        UnreadableAnswer: it says none.
    """
    found = _CHUNK_LINE.fullmatch(line)
    if found is None:
        raise UnreadableAnswer("it is unreadable: a chunk's size is no number")
    return int(found[1], 16)


def make_head(minor: int, status: int, fields: list[tuple[str, str]]) -> Head:
    """A head, when it says in one way alone where its body ends.

    Raises:
        UnreadableAnswer: it does not, or the body is coded in a way that was not asked for.
    """
    framing: dict[str, str] = {}
    for name, value in fields:
        known = name.lower()
        if known in ("content-length", "transfer-encoding", "content-encoding"):
            if known in framing:
                raise UnreadableAnswer("it is unreadable: a header that may be there once is there twice")
            framing[known] = value
    coding, length = framing.get("transfer-encoding"), framing.get("content-length")
    if coding is not None and (length is not None or minor == 0 or coding.lower() != "chunked"):
        raise UnreadableAnswer("it is unreadable: its transfer coding is none, or beside a length")
    if length is not None and not _LENGTH.fullmatch(length):
        raise UnreadableAnswer("it is unreadable: its length is no number")
    if framing.get("content-encoding", "identity").lower() != "identity":
        raise UnreadableAnswer("it is unreadable: its body is coded, which was not asked for")
    return Head(minor, status, tuple(fields), None if length is None else int(length), coding is not None)


def _elements(values: list[str]) -> list[str]:
    return [element.strip(" \t").lower() for value in values for element in value.split(",")]
