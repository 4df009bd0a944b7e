"""The venue of the benchmarks: a process that takes any HTTP request, notes when it came, and accepts it.

``with VenueManager(...) as manager: venue = manager.Venue()`` starts it and makes its methods callable from here.
Nothing is verified. It is a thread for each connection over plain sockets, so that it is never what limits a worker.
The time of an arrival is the kernel's (``SO_TIMESTAMPNS``): on a busy machine this process may be scheduled late.
"""

import contextlib
import re
import socket
import struct
import threading
import time
from multiprocessing.managers import BaseManager
from typing import Any, NamedTuple

SO_TIMESTAMPNS = 35  # of Linux; Python's socket module does not name it
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
COMMAND = re.compile(rb"(?:^|&)(?:qty|id)=([^&]*)")
SIGNED_AT = re.compile(rb"(?:^|&)timestamp=(\d+)")


class Arrival(NamedTuple):
    """One request; times are UNIX milliseconds."""

    command: str
    at_ms: float
    signed_at_ms: int | None


ENVELOPE = b'{"code":200,"msg":"null","result":{}}'
ACCEPTED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(ENVELOPE),
    ENVELOPE,
)


def kernel_time_ms(ancillary: list[tuple[int, int, bytes]]) -> float:
    """When the kernel received these bytes, in UNIX milliseconds."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("ll", data[:16])
            return float(seconds * 1000) + nanoseconds / 1e6
    return time.time_ns() / 1e6


def receive(sock: socket.socket) -> tuple[bytes, float] | None:
    """The body of the next request and when its first byte came; None at the end. Clients do not pipeline."""
    received, arrived_ms = b"", 0.0
    while True:
        data, ancillary, _, _ = sock.recvmsg(65_536, 64)
        if not data:
            return None
        arrived_ms = arrived_ms or kernel_time_ms(ancillary)
        received += data
        head, complete, body = received.partition(b"\r\n\r\n")
        length = CONTENT_LENGTH.search(head)
        if complete and len(body) >= (int(length[1]) if length else 0):
            return body, arrived_ms


class Venue:
    """The server, and its record of what came."""

    def __init__(self) -> None:
        self.reset()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        threading.Thread(target=self._accept, daemon=True).start()

    def port(self) -> int:
        """The port on 127.0.0.1 that it listens on."""
        return int(self._listener.getsockname()[1])

    def reset(self, latency_ms: float = 0) -> None:
        """Forget all requests; from now on answer after so long."""
        self._latency_seconds = latency_ms / 1000
        self._arrivals: list[Arrival] = []
        self._last_answer_ms = 0.0

    def count(self) -> int:
        """Requests since the reset."""
        return len(self._arrivals)

    def last_answer_ms(self) -> float:
        """When the last answer left, in UNIX milliseconds."""
        return self._last_answer_ms

    def arrivals(self) -> list[Arrival]:
        """The requests since the reset."""
        return self._arrivals

    def wait_for(self, count: int, seconds: float) -> bool:
        """Wait until so many requests have come; False when they do not come in time."""
        ends_at = time.monotonic() + seconds
        while self.count() < count:
            if time.monotonic() > ends_at:
                return False
            time.sleep(0.05)
        return True

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):  # the client may go at any moment
            while request := receive(sock):
                self._note(*request)
                time.sleep(self._latency_seconds)
                sock.sendall(ACCEPTED)
                self._last_answer_ms = time.time_ns() / 1e6

    def _note(self, body: bytes, arrived_ms: float) -> None:
        command, signed_at = COMMAND.search(body), SIGNED_AT.search(body)
        number = command[1] if command else b""
        self._arrivals.append(Arrival(number.decode(), arrived_ms, int(signed_at[1]) if signed_at else None))


class VenueManager(BaseManager):
    """The venue's process."""

    Venue: Any


VenueManager.register("Venue", Venue)
