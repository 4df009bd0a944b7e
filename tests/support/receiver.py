"""A receiver of webhooks: a real HTTP server that keeps what it is sent and answers as a test wants."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def report(self) -> Any:
        return json.loads(self.body)

    def verified(self, secret: str = SECRET) -> bool:
        """Whether one of its signatures is of this secret, by another implementation than the product's."""
        content = b".".join([self.message_id.encode(), self.headers["webhook-timestamp"].encode(), self.body])
        made = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), content, hashlib.sha256).digest()
        return f"v1,{base64.b64encode(made).decode()}" in self.headers["webhook-signature"].split()


Answer = Callable[[BaseHTTPRequestHandler, Received], object]


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """Answers with a status."""

    def answer(handler: BaseHTTPRequestHandler, _: Received) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def raw(sent: bytes) -> Answer:
    """Sends these bytes in place of an answer, and closes the connection."""

    def answer(handler: BaseHTTPRequestHandler, _: Received) -> None:
        handler.wfile.write(sent)
        handler.close_connection = True

    return answer


class Receiver:
    """Answers with :attr:`answer`, which a test may change at any time."""

    def __init__(self) -> None:
        self.answer: Answer = status(204)
        self.received: list[Received] = []
        self.released = threading.Event()
        """Set when what hangs or drips is to go on."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                got = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                receiver.received.append(got)
                receiver.answer(self, got)

            def do_GET(self) -> None:
                status(405)(self, Received(self.path, {}, b""))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/reports?to=books"

    def hangs(self, handler: BaseHTTPRequestHandler, got: Received) -> None:
        """An answer that does not come before :attr:`released` is set."""
        self.released.wait()
        handler.close_connection = True

    def drips(self, handler: BaseHTTPRequestHandler, got: Received) -> None:
        """An answer that comes a byte at a time and never ends."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.released.wait(0.05):
            try:
                handler.wfile.write(b"x")
            except OSError:
                break
        handler.close_connection = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def reports(self) -> list[tuple[str, str]]:
        """Command id and outcome of what was received, in order, repetitions left out."""
        first = {each.message_id: each.report for each in list(self.received)}
        return [(report["command_id"], report["outcome"]) for report in first.values()]
