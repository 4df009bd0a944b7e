"""The ASGI application: it serves the venues itself, and `/_control/` by a Starlette application."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from functools import partial

import uvicorn
from starlette.types import Receive, Scope, Send

from worker.simulator.http.control_api import control_app
from worker.simulator.http.fault_effects import apply_fault
from worker.simulator.http.pending_reply import PendingReply
from worker.simulator.http.wire import WIRE, Wire, WireServer
from worker.simulator.messages import Examined, Reply, Request
from worker.simulator.records import Arrival
from worker.simulator.simulator import Simulator

logger = logging.getLogger("worker.simulator")

CONTROL_PREFIX = "/_control/"
MAX_BODY_BYTES = 65_536
"""The largest request body that is read; the longest command has less than a kilobyte."""

TARGETS = (
    *("id", "cliOrdId", "order_id", "clOrdId", "algoClOrdId", "clientId", "ordId", "algoId"),
    *("pair", "asset", "contractId", "symbol", "instId"),
)
"""The fields that name what a command is about, as `Arrival.target` shows them."""

SIGNATURES = (b"x-signature", b"authent", b"ok-access-sign")
"""The headers that contain a signature."""

_NOT_FOUND = Reply(404, b"Not Found", ((b"content-type", b"text/plain"),))
_TOO_LARGE = Reply(413, b"Content Too Large", ((b"content-type", b"text/plain"), (b"connection", b"close")))


class Application:
    """All venues and the control API, on one port."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._control = control_app(simulator, self.close_idle, self.keep_alive_for)
        self.server: WireServer | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            if scope["path"].startswith(CONTROL_PREFIX):
                await self._control(scope, receive, send)
            else:
                await self._venue(scope, receive, send)
        except asyncio.CancelledError:
            # Only a server that stops cancels, and it has closed the connection already.
            return

    async def close_idle(self, rst: bool) -> int:
        """Close the idle connections, see `WireServer.close_idle`."""
        return await self.server.close_idle(rst=rst) if self.server else 0

    def keep_alive_for(self, seconds: int) -> None:
        """Change how long a connection may be idle."""
        if self.server:
            self.server.keep_alive_for(seconds)

    async def _venue(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        if body is None:
            return  # the client has gone before its request was complete
        simulator = self._simulator
        request = Request(
            scope["method"], scope["path"], dict(scope["headers"]), scope["query_string"], body, simulator.now_ms()
        )
        examined = _unserved(_TOO_LARGE) if len(body) > MAX_BODY_BYTES else simulator.examine(request)
        examined = examined or _unserved(_NOT_FOUND)
        wire: Wire = scope["extensions"][WIRE]
        arrival = _arrival(request, examined, wire.peer_port, simulator.monotonic())
        key, who = examined.api_key, wire.peer_address
        refused = simulator.limits.check(request.method, request.path, key, who, examined.refusals)
        armed = None
        if refused is not None:
            arrival.fault = refused[0]
        else:
            armed = simulator.board.take(request.method, request.path, key, examined.fields or {})
            arrival.fault = armed.fault.kind.value if armed is not None else None
        simulator.accounts.add_arrival(arrival)
        pending = PendingReply(
            wire,
            receive,
            send,
            arrival,
            examined,
            simulator.latency,
            simulator.accounts,
            _echoes(request, examined),
        )
        if refused is not None:
            await pending.answer(refused[1])
        elif armed is None:
            await pending.answer(pending.execute())
        else:
            await apply_fault(pending, armed, simulator.held_requests)
        _log(arrival, scope)


async def _read(receive: Receive) -> bytes | None:
    """The body of a request, cut once it exceeds the limit; None if the client has gone."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body") and len(body) <= MAX_BODY_BYTES:
        message = await receive()
        body += message.get("body", b"")
    return None if message["type"] == "http.disconnect" else body


def _unserved(reply: Reply) -> Examined:
    return Examined(lambda: reply)


def _echoes(request: Request, examined: Examined) -> dict[bytes, bytes]:
    """The key, signature and passphrase that a response may repeat. Bit-Z's signature is a form field, not a header."""
    header = next((request.headers[name] for name in SIGNATURES if name in request.headers), b"")
    signature = header or (examined.fields or {}).get("sign", "").encode()
    passphrase = request.headers.get(b"ok-access-passphrase", b"")
    key = (examined.api_key or "").encode("latin-1", "replace")
    return {b"$API_KEY": key, b"$SIGNATURE": signature, b"$PASSPHRASE": passphrase}


def _arrival(request: Request, examined: Examined, peer_port: int, monotonic: float) -> Arrival:
    fields = examined.fields or {}
    return Arrival(
        seq=0,
        time_ms=request.time_ms,
        method=request.method,
        path=request.path,
        api_key=examined.api_key,
        timestamp_ms=examined.timestamp_ms,
        age_ms=None if examined.timestamp_ms is None else request.time_ms - examined.timestamp_ms,
        signature_ok=examined.signature_ok,
        peer_port=peer_port,
        monotonic=monotonic,
        target=next((fields[name] for name in TARGETS if name in fields), None),
    )


def _log(arrival: Arrival, scope: Scope) -> None:
    """Log one line, without headers, fields and body. A raw path contains no line break."""
    if not logger.isEnabledFor(logging.INFO):
        return
    path = scope["raw_path"][:200].decode("latin-1")
    answer = "no answer" if arrival.status is None else str(arrival.status)
    verdict = ", executed" if arrival.executed else ""
    fault = f" (fault: {arrival.fault})" if arrival.fault else ""
    logger.info("%s %s -> %s%s%s", arrival.method, path, answer, verdict, fault)


def run(host: str, port: int, *, demo: bool, on_ready: Callable[[str], None] | None, stop_with_stdin: bool) -> None:
    """Serve until a signal, see `server.serve`."""
    simulator = Simulator(demo=demo)
    application = Application(simulator)
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=Wire,
        loop="asyncio",  # `Wire.reset` needs real sockets, which uvloop hides
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=simulator.settings.keep_alive_seconds,
    )
    server = WireServer(config, lambda actual: ready(actual))
    application.server = server

    def ready(actual: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{actual}"
        logger.info("serving the venues on %s", url)
        if stop_with_stdin:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), partial(_stop_at_eof, server))
        if on_ready:
            on_ready(url)

    try:
        server.run()
    except KeyboardInterrupt:
        logger.info("stopped")


def _stop_at_eof(server: WireServer) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        server.should_exit = True
