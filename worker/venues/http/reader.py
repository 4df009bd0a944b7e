"""Reads one HTTP/1 answer from a socket: bounded in time as a whole and in size, and nothing beyond its end.

What it means is :mod:`worker.venues.http.grammar`'s. Python's own reader, and urllib3's, keep no bytes that came after
an answer and lose them unseen; here they are seen, and end the connection.
"""

import socket
import time
from dataclasses import dataclass

from worker.venues.http.grammar import (
    FIELDS,
    HEAD_BYTES,
    NEVER_USED_AGAIN,
    AnswerTooLarge,
    Head,
    UnreadableAnswer,
    make_head,
    read_chunk_size,
    read_field,
    read_status,
)

INTERIM_ANSWERS = 16
"""How many 1xx answers may come before the answer: venues send none or one."""


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An answer, and what becomes of the connection that it came on."""

    head: Head
    body: bytes
    idle_seconds: float
    """As of :class:`~worker.venues.http.grammar.Head`; never used again also where more came than the answer."""


def read_answer(sock: socket.socket, seconds: float, most: int) -> WholeAnswer:
    """The next answer, whole.

    A body whose length nothing says ends with the connection. That it was cut short shows over TLS alone (RFC 9112,
    9.8). It is taken all the same: its status is known, and of a JSON object no beginning is an object.

    Args:
        sock: a connection on which the whole request was sent.
        seconds: for everything.
        most: bytes of its body, and as many of what divides it into chunks.

    Raises:
        UnreadableAnswer: it is none.
        AnswerTooLarge: its body is larger.
        OSError: the network failed; ``TimeoutError`` after those seconds.
    """
    wire = _Wire(sock, time.monotonic() + seconds)
    for _ in range(INTERIM_ANSWERS):
        head = _read_head(wire)
        # 101: what comes now is no HTTP, and nobody asked for it.
        if head.status >= 200 or head.status == 101:
            break
    else:
        raise UnreadableAnswer("it is unreadable: only interim answers came")
    body = _read_body(wire, head, most)
    return WholeAnswer(head, body, NEVER_USED_AGAIN if wire.has_more() else head.idle_seconds)


class _Wire:
    """What came, as far as it was read."""

    def __init__(self, sock: socket.socket, ends_at: float) -> None:
        self._sock, self._ends_at = sock, ends_at
        self._data = bytearray()
        self._at = 0
        self._lines_may_take = 0

    def expect_lines(self, most: int) -> None:
        """Let the lines that come now have so many bytes."""
        self._lines_may_take = most

    def line(self) -> bytes:
        """The next line, without its end."""
        looked_until = self._at
        while (end := self._data.find(b"\n", looked_until)) < 0:
            looked_until = len(self._data)
            self._allow(looked_until - self._at)
            self._receive()
        line = bytes(self._data[self._at : end])
        self._allow(len(line) + 1)
        self._lines_may_take -= len(line) + 1
        self._at = end + 1
        if not line.endswith(b"\r"):
            raise UnreadableAnswer("it is unreadable: a line does not end in CR LF")
        return line[:-1]

    def _allow(self, size: int) -> None:
        if size > self._lines_may_take:
            raise UnreadableAnswer("it is unreadable: its lines are longer than any venue's")

    def exactly(self, size: int) -> bytes:
        """So many bytes."""
        while len(self._data) - self._at < size:
            self._receive()
        start, self._at = self._at, self._at + size
        return bytes(self._data[start : self._at])

    def rest(self, most: int) -> bytes:
        """All until the connection's end."""
        while len(self._data) - self._at <= most:
            if not self._may_receive():
                return self.exactly(len(self._data) - self._at)
        raise AnswerTooLarge

    def has_more(self) -> bool:
        """Whether more came than was read. What is still in the kernel is looked for before the next request; there is
        nothing in between, for a read is larger than a TLS record (RFC 8446, 5.1) and takes the whole of it."""
        return len(self._data) > self._at

    def _receive(self) -> None:
        if not self._may_receive():
            raise UnreadableAnswer("the answer ended half-way" if self._data else "the connection was closed instead")

    def _may_receive(self) -> bool:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        data = self._sock.recv(65_536)
        self._data += data
        return bool(data)


def _read_head(wire: _Wire) -> Head:
    wire.expect_lines(HEAD_BYTES)
    minor, status = read_status(wire.line())
    return make_head(minor, status, _read_fields(wire))


def _read_fields(wire: _Wire) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    while line := wire.line():
        fields.append(read_field(line))
        if len(fields) > FIELDS:
            raise UnreadableAnswer("it is unreadable: it has more header lines than any venue's")
    return fields


def _read_body(wire: _Wire, head: Head, most: int) -> bytes:
    if head.bodiless:
        return b""
    if head.chunked:
        return _read_chunks(wire, most)
    if head.length is None:
        return wire.rest(most)
    if head.length > most:
        raise AnswerTooLarge
    return wire.exactly(head.length)


def _read_chunks(wire: _Wire, most: int) -> bytes:
    body = bytearray()
    wire.expect_lines(most)
    while size := read_chunk_size(wire.line()):
        if len(body) + size > most:
            raise AnswerTooLarge
        body += wire.exactly(size)
        if wire.exactly(2) != b"\r\n":
            raise UnreadableAnswer("it is unreadable: a chunk does not end where its size says")
    # What a trailer says is not asked for; that it is one is.
    wire.expect_lines(HEAD_BYTES)
    _read_fields(wire)
    return bytes(body)
