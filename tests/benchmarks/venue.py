"""The venue of the benchmarks: a process that takes any request, notes when it came, and says yes.

``python -m tests.benchmarks.venue`` prints its port and serves until its standard input ends. Nothing is verified. One
epoll loop over plain sockets, about 40 µs of CPU a request, so that it is never what limits a worker. When a request
arrived is the kernel's word (``SO_TIMESTAMPNS``): on a machine that is busy, this process may be told late.

Every other path is one of ours:

* ``POST /_/reset?latency_ms=L&refuse=K``: forget everything; answer after ``L`` ms; tell the first ``K`` requests of
  each command that there were too many requests, in the venue's own 429 envelope.
* ``GET /_/count``: how many requests came, and when the last answer left (UNIX ms).
* ``GET /_/arrivals``: the requests, ``[id, arrived, signed at]``; times in UNIX ms, the signature's as it was in the
  request, or null.
"""

import heapq
import json
import re
import selectors
import socket
import struct
import sys
import time
from urllib.parse import parse_qs, urlsplit

TIMESTAMPNS = 35  # SO_TIMESTAMPNS, Linux; Python's socket module doesn't name it
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
COMMAND = re.compile(rb"(?:^|&)(?:qty|id)=([^&]*)")
SIGNED = re.compile(rb"(?:^|&)timestamp=(\d+)")


def answer(status: str, body: bytes) -> bytes:
    """An HTTP answer that keeps the connection."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


YES = answer("200 OK", b'{"code":200,"msg":"null","result":{}}')
BUSY = answer("429 Too Many Requests", b'{"code":429,"msg":"Too many requests","result":null}')


class Wire:
    """One client's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.held = b""
        self.began = 0.0

    def read(self) -> list[tuple[bytes, bytes, float]] | None:
        """The requests that are complete now: first line, body, arrival in UNIX ms; None when the client has gone."""
        try:
            data, extra, _, _ = self.sock.recvmsg(65_536, 64)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        if not self.held:
            self.began = stamp(extra)
        self.held += data
        found = []
        while (request := self._cut()) is not None:
            found.append((*request, self.began))
            self.began = stamp(extra)
        return found

    def _cut(self) -> tuple[bytes, bytes] | None:
        head_ends = self.held.find(b"\r\n\r\n")
        if head_ends < 0:
            return None
        head = self.held[:head_ends]
        length = LENGTH.search(head)
        ends = head_ends + 4 + (int(length[1]) if length else 0)
        if len(self.held) < ends:
            return None
        body = self.held[head_ends + 4 : ends]
        self.held = self.held[ends:]
        return head[: head.find(b"\r\n")], body


def stamp(extra: list[tuple[int, int, bytes]]) -> float:
    """When the kernel took these bytes, in UNIX ms."""
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == TIMESTAMPNS:
            seconds, nanos = struct.unpack("ll", data[:16])
            return float(seconds * 1000) + nanos / 1e6
    return time.time_ns() / 1e6


class Venue:
    """The book of what came, and the loop."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._listener.setblocking(False)
        self._due: list[tuple[float, int, Wire, bytes]] = []
        self._numbers = 0
        self.reset(0, 0)

    def reset(self, latency_ms: float, refuse: int) -> None:
        """Forget everything."""
        self._latency, self._refuse = latency_ms / 1000, refuse
        self._arrivals: list[tuple[str, float, int | None]] = []
        self._tries: dict[bytes, int] = {}
        self._last_answer = 0.0

    def serve(self) -> None:
        """Until standard input ends."""
        watch = self._selector.register
        watch(self._listener, selectors.EVENT_READ, None)
        watch(sys.stdin, selectors.EVENT_READ, None)
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, _ in self._selector.select(wait):
                if key.fileobj is sys.stdin:
                    if not sys.stdin.buffer.raw.read(64):  # type: ignore[attr-defined]
                        return
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.data)
            while self._due and self._due[0][0] <= time.monotonic():
                _, _, wire, reply = heapq.heappop(self._due)
                self._reply(wire, reply)

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, TIMESTAMPNS, 1)
        self._selector.register(sock, selectors.EVENT_READ, Wire(sock))

    def _read(self, wire: Wire) -> None:
        requests = wire.read()
        if requests is None:
            self._selector.unregister(wire.sock)
            wire.sock.close()
            return
        for line, body, arrived in requests:
            path = line.split(b" ", 2)[1]
            if path.startswith(b"/_/"):
                self._send(wire, answer("200 OK", json.dumps(self._tell(path.decode())).encode()))
                continue
            reply = self._take(body, arrived)
            if self._latency:
                self._numbers += 1
                heapq.heappush(self._due, (time.monotonic() + self._latency, self._numbers, wire, reply))
            else:
                self._reply(wire, reply)

    def _take(self, body: bytes, arrived: float) -> bytes:
        command, signed = COMMAND.search(body), SIGNED.search(body)
        name = command[1] if command else b""
        self._arrivals.append((name.decode(), arrived, int(signed[1]) if signed else None))
        if self._refuse:
            self._tries[name] = self._tries.get(name, 0) + 1
            if self._tries[name] <= self._refuse:
                return BUSY
        return YES

    def _reply(self, wire: Wire, reply: bytes) -> None:
        self._send(wire, reply)
        self._last_answer = time.time_ns() / 1e6

    def _send(self, wire: Wire, reply: bytes) -> None:
        try:
            wire.sock.setblocking(True)
            wire.sock.sendall(reply)
            wire.sock.setblocking(False)
        except OSError:
            pass  # the client has gone; its next read says so

    def _tell(self, path: str) -> object:
        parts = urlsplit(path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/_/reset":
            self.reset(float(asked.get("latency_ms", 0)), int(asked.get("refuse", 0)))
        if parts.path == "/_/arrivals":
            return self._arrivals
        return {"count": len(self._arrivals), "last_answer": self._last_answer}


def main() -> None:
    """Tell the port and serve."""
    venue = Venue()
    print(venue.port, flush=True)
    venue.serve()


if __name__ == "__main__":
    main()
