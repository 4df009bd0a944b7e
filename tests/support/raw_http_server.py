"""A server that sends hand-made bytes as HTTP responses, and one exchange with it."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing

from worker.venues.http.base import NoResponse, Response, SignedRequest
from worker.venues.http.transport import Transport

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"

Serve = Callable[[socket.socket], None]


def read_request(connection: socket.socket) -> bytes:
    """One whole request with a body of a declared length; empty when the peer closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        data += chunk
    head, body = data.split(b"\r\n\r\n", 1)
    length = next((int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN (SO_LINGER with a time of zero)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Peer:
    """A server that gives each accepted connection to the next of ``serves``."""

    def __init__(self, *serves: Serve, tls: ssl.SSLContext | None = None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.accepted = 0
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.listener.getsockname()[1]}"
        self._serves, self._tls = list(serves), tls
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for serve in self._serves:
            try:
                connection, _ = self.listener.accept()
                self.accepted += 1
                # What a server says is there at once, and does not wait until what it said before is acknowledged.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as wrapped:
                    serve(wrapped)
            except OSError:
                continue

    def close(self) -> None:
        """Accept no more."""
        self.listener.close()


def peer(*serves: Serve, tls: ssl.SSLContext | None = None) -> AbstractContextManager[Peer]:
    """A server for the time of a block."""
    return closing(Peer(*serves, tls=tls))


def post(transport: Transport, url: str, body: bytes = b"a=1") -> Response | NoResponse:
    """Send one request through the product's transport."""
    return transport.send(url, lambda: SignedRequest("POST", url + "/auth/close", {}, body))


def answer(reply: bytes, times: int = 1) -> Serve:
    """Send this reply to so many requests on one connection, then close the connection."""

    def serve(connection: socket.socket) -> None:
        for _ in range(times):
            if read_request(connection):
                connection.sendall(reply)

    return serve
