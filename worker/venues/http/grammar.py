"""The head of an HTTP/1 response, parsed strictly by its grammar (RFC 9112, RFC 9110).

No library is strict enough. http.client accepts ``Content-Length: +46``, a status ``2_00`` and a head that ends
half-way; h11 unfolds lines, accepts control characters and lets a ``Transfer-Encoding`` overrule a ``Content-Length``;
llhttp, which httptools binds, does not stop at the end of a response. A response that two parsers may read differently
proves nothing about an order.

Where the grammar permits alternatives, the unambiguous one is required. All of these are rejected:

* a line that ends in LF alone (RFC 9112, 2.2, permits it), and a folded line (5.2);
* a repeated ``Content-Length``, even with equal values (RFC 9110, 8.6), or one beside a ``Transfer-Encoding`` (6.3);
* any transfer coding except ``chunked`` alone, and any transfer coding in HTTP/1.0 (6.1);
* any content coding, because every request says ``Accept-Encoding: identity``. So nothing is ever decompressed, and no
  body can be truncated or blown up by that;
* a version other than 1.0 and 1.1, and a status outside 100 to 599 (RFC 9110, 15).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_HEAD_BYTES = 32 * 1024
"""The size limit of a head, and of a trailer."""
MAX_FIELDS = 100
"""The number of header lines allowed in a head, and in a trailer; http.client has the same limit."""
KEEP_ALIVE_MARGIN_SECONDS = 1.0
"""Subtracted from an announced idle time: the venue starts to count earlier, and a request takes time to arrive."""
NOT_REUSABLE = -1.0


class MalformedResponse(Exception):
    """The bytes received are not a valid response. The text says why, and quotes none of them."""


class ResponseTooLarge(Exception):
    """The body of a response is larger than allowed."""


@dataclass(frozen=True, slots=True)
class Head:
    """The status and headers of a response, and what they say about its body."""

    minor_version: int
    """1 for HTTP/1.1."""
    status: int
    values: Mapping[str, Sequence[str]]
    """The values of each header, without surrounding white space, by its name in lower case."""
    names: Mapping[str, str]
    """By the same, the name as it was received first."""
    length: int | None
    """The length of the body in bytes; None when the body is chunked, or ends with the connection."""
    chunked: bool

    @property
    def headers(self) -> dict[str, str]:
        """The headers by their names; the values of a repeated one are joined (RFC 9110, 5.3)."""
        return {self.names[known]: ", ".join(values) for known, values in self.values.items()}

    @property
    def bodiless(self) -> bool:
        """Whether the response has no body, whatever its headers say (RFC 9112, 6.3)."""
        return self.status < 200 or self.status in (204, 304)

    @property
    def max_idle_seconds(self) -> float:
        """How long the connection may stay idle after this response and still be used; ``NOT_REUSABLE`` for never.

        An HTTP/1.0 connection is never reused, because no standard defines how it is kept open. ``Keep-Alive`` is
        defined by RFC 2068, 19.7.1; an unreadable value in it counts as zero. Infinity means that no limit was
        announced.
        """
        # An unexpected body would be read as the next response, and a body of unknown length ends with the connection.
        unclear = self.chunked or bool(self.length) if self.bodiless else self.length is None and not self.chunked
        closes = "connection" in self.values and "close" in _elements(self.values["connection"])
        if self.minor_version == 0 or self.status < 200 or unclear or closes:
            return NOT_REUSABLE
        seconds = math.inf
        for element in _elements(self.values["keep-alive"]) if "keep-alive" in self.values else ():
            name, value = (part.strip() for part in f"{element}=".split("=")[:2])
            number = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
            if name == "timeout":
                seconds = min(seconds, number - KEEP_ALIVE_MARGIN_SECONDS)
            elif name == "max" and number < 1:
                return NOT_REUSABLE
        return seconds if seconds > 0 else NOT_REUSABLE


_FRAMING = ("transfer-encoding", "content-length", "content-encoding")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) [\t\x20-\x7e\x80-\xff]*")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELD_LINE = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
# Python refuses to parse numbers of thousands of digits, so the number of digits is bounded here.
_LENGTH = re.compile("[0-9]{1,18}")
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_EXTENSION = rb"[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:" + _EXTENSION + rb")*")


def parse_status_line(line: bytes) -> tuple[int, int]:
    """The minor version and the status of a status line.

    Raises:
        MalformedResponse: the line is not a status line of HTTP/1.0 or 1.1.
    """
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise MalformedResponse("malformed response: its first line is not a status line of HTTP/1.0 or 1.1")
    return int(found[1]), int(found[2])


def parse_field_line(line: bytes) -> tuple[str, str]:
    """The name and value of a header line.

    Raises:
        MalformedResponse: the line is not a header line.
    """
    found = _FIELD_LINE.fullmatch(line)
    if found is None:
        raise MalformedResponse("malformed response: invalid header line")
    return found[1].decode("ascii"), found[2].strip(b" \t").decode("latin-1")


def parse_chunk_size(line: bytes) -> int:
    """The size in the first line of a chunk, in bytes; extensions are ignored.

    Raises:
        MalformedResponse: the line has no valid size.
    """
    found = _CHUNK_LINE.fullmatch(line)
    if found is None:
        raise MalformedResponse("malformed response: invalid chunk size")
    return int(found[1], 16)


def make_head(minor_version: int, status: int, fields: list[tuple[str, str]]) -> Head:
    """A head whose headers state unambiguously where the body ends.

    Raises:
        MalformedResponse: they do not, or the body has a content coding, which was not requested.
    """
    values: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for name, value in fields:
        known = name.lower()
        if known in values:
            if known in _FRAMING:
                raise MalformedResponse("malformed response: repeated length or coding")
            values[known].append(value)
        else:
            values[known], names[known] = [value], name
    coding, length, content_coding = [values[known][0] if known in values else None for known in _FRAMING]
    if coding is not None and (length is not None or minor_version == 0 or coding.lower() != "chunked"):
        raise MalformedResponse("malformed response: unknown transfer coding, or one beside a length")
    if length is not None and not _LENGTH.fullmatch(length):
        raise MalformedResponse("malformed response: invalid length")
    if content_coding is not None and content_coding.lower() != "identity":
        raise MalformedResponse("malformed response: unrequested content coding")
    return Head(minor_version, status, values, names, None if length is None else int(length), coding is not None)


def _elements(values: Sequence[str]) -> list[str]:
    return [element.strip(" \t").lower() for value in values for element in value.split(",")]
