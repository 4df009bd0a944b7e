"""Reads one HTTP/1 response from a socket, with limits for its size and for the whole time it takes.

It is parsed by :mod:`worker.venues.http.grammar`. The readers of Python and urllib3 silently discard bytes that follow
a response; here such bytes are noticed, and the connection is not used again.
"""

import itertools
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from worker.venues.http.grammar import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    NOT_REUSABLE,
    Head,
    MalformedResponse,
    ResponseTooLarge,
    make_head,
    parse_chunk_size,
    parse_field_line,
    parse_status_line,
)

MAX_INTERIM_RESPONSES = 16
"""How many 1xx responses may precede the final one; venues send none or one."""


@dataclass(frozen=True, slots=True)
class ReceivedResponse:
    """A complete response, and how long its connection may still be used."""

    head: Head
    body: bytes
    max_idle_seconds: float
    """See :attr:`Head.max_idle_seconds`; also ``NOT_REUSABLE`` if more bytes were received than the response has."""


def read_response(sock: socket.socket, timeout_seconds: float, max_body_bytes: int) -> ReceivedResponse:
    """Read the next response completely.

    A body of unstated length ends with the connection, and only TLS shows whether it was cut short (RFC 9112, 9.8).
    Such a body is accepted nevertheless: the status is known, and the beginning of a JSON object is not a JSON object.

    Args:
        sock: a connection on which the whole request was sent.
        timeout_seconds: the limit for the whole response.
        max_body_bytes: the limit for the body, and separately for the lines that divide it into chunks.

    Raises:
        MalformedResponse: the bytes received are not a valid response.
        ResponseTooLarge: the body is larger than allowed.
        OSError: the network failed; ``TimeoutError`` when the time limit has passed.
    """
    wire = _Wire(sock, time.monotonic() + timeout_seconds)
    for _ in range(MAX_INTERIM_RESPONSES):
        head = _read_head(wire)
        # After 101 the connection no longer speaks HTTP; no request asks for that.
        if head.status >= 200 or head.status == 101:
            break
    else:
        raise MalformedResponse("malformed response: too many interim responses")
    body = _read_body(wire, head, max_body_bytes)
    return ReceivedResponse(head, body, NOT_REUSABLE if wire.has_more() else head.max_idle_seconds)


class _Wire:
    """The bytes received on a connection, and how far they have been read."""

    def __init__(self, sock: socket.socket, ends_at: float) -> None:
        self._sock, self._ends_at = sock, ends_at
        self._data = bytearray()
        self._at = 0
        self._line_budget = 0

    def limit_lines(self, max_bytes: int) -> None:
        """Set how many bytes all following lines together may have."""
        self._line_budget = max_bytes

    def whole_head(self) -> Iterator[bytes] | None:
        """All lines until the empty one, if the next bytes received have them, as they usually do; None if the lines
        must be read one by one, because one of them is still to come or may be wrong."""
        if len(self._data) == self._at:
            self._receive()
        end = self._data.find(b"\r\n\r\n", self._at)
        if end < 0 or end + 4 - self._at > MAX_HEAD_BYTES:
            return None
        head = bytes(self._data[self._at : end])
        if head.count(b"\n") != head.count(b"\r\n"):
            return None
        self._at = end + 4
        return iter(head.split(b"\r\n"))

    def line(self) -> bytes:
        """The next line, without CR LF."""
        searched_until = self._at
        while (end := self._data.find(b"\n", searched_until)) < 0:
            searched_until = len(self._data)
            self._check_budget(searched_until - self._at)
            self._receive()
        line = bytes(self._data[self._at : end])
        self._check_budget(len(line) + 1)
        self._line_budget -= len(line) + 1
        self._at = end + 1
        if not line.endswith(b"\r"):
            raise MalformedResponse("malformed response: a line does not end in CR LF")
        return line[:-1]

    def _check_budget(self, size: int) -> None:
        if size > self._line_budget:
            raise MalformedResponse("malformed response: its header lines are too long")

    def exactly(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        while len(self._data) - self._at < size:
            self._receive()
        start, self._at = self._at, self._at + size
        return bytes(self._data[start : self._at])

    def until_end(self, max_bytes: int) -> bytes:
        """All bytes until the connection ends."""
        while len(self._data) - self._at <= max_bytes:
            if not self._receive_or_end():
                return self.exactly(len(self._data) - self._at)
        raise ResponseTooLarge

    def has_more(self) -> bool:
        """Whether more bytes were received than were read.

        Bytes that are still in the kernel are noticed before the next request is sent. There are none in between: each
        ``recv`` asks for more than a TLS record holds (RFC 8446, 5.1), and so takes the whole record.
        """
        return len(self._data) > self._at

    def _receive(self) -> None:
        if not self._receive_or_end():
            raise MalformedResponse(
                "the response ended half-way" if self._data else "the connection was closed instead"
            )

    def _receive_or_end(self) -> bool:
        """Receive more bytes; False when the connection has ended."""
        remaining_seconds = self._ends_at - time.monotonic()
        if remaining_seconds <= 0:
            raise TimeoutError
        self._sock.settimeout(remaining_seconds)
        data = self._sock.recv(65_536)
        self._data += data
        return bool(data)


def _read_head(wire: _Wire) -> Head:
    wire.limit_lines(MAX_HEAD_BYTES)
    lines = wire.whole_head() or itertools.chain([wire.line()], iter(wire.line, b""))
    minor_version, status = parse_status_line(next(lines))
    return make_head(minor_version, status, _read_fields(lines))


def _read_fields(lines: Iterable[bytes]) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    for line in lines:
        fields.append(parse_field_line(line))
        if len(fields) > MAX_FIELDS:
            raise MalformedResponse("malformed response: too many header lines")
    return fields


def _read_body(wire: _Wire, head: Head, max_bytes: int) -> bytes:
    if head.bodiless:
        return b""
    if head.chunked:
        return _read_chunks(wire, max_bytes)
    if head.length is None:
        return wire.until_end(max_bytes)
    if head.length > max_bytes:
        raise ResponseTooLarge
    return wire.exactly(head.length)


def _read_chunks(wire: _Wire, max_bytes: int) -> bytes:
    body = bytearray()
    wire.limit_lines(max_bytes)
    while size := parse_chunk_size(wire.line()):
        if len(body) + size > max_bytes:
            raise ResponseTooLarge
        body += wire.exactly(size)
        if wire.exactly(2) != b"\r\n":
            raise MalformedResponse("malformed response: a chunk is longer than its size says")
    # The fields of a trailer are not used, but it must be well-formed.
    wire.limit_lines(MAX_HEAD_BYTES)
    _read_fields(iter(wire.line, b""))
    return bytes(body)
