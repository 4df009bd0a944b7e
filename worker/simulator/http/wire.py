"""The TCP side: uvicorn's httptools protocol with its connection within the application's reach.

ASGI knows no way to end a connection without an answer, so each request's scope carries its connection under
`scope["extensions"][WIRE]`. What a client sees:

- `reset()`: SO_LINGER with a time of 0 makes the kernel answer the close with RST (`ConnectionResetError`); bytes
  written but not yet read by the client may be lost.
- `finish()`: an ordinary close after the written bytes, FIN (an empty or short reply).
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

WIRE = "simulator.wire"


class Wire(HttpToolsProtocol):
    """One client connection."""

    def on_message_begin(self) -> None:
        """Put this connection into the scope of the request that begins."""
        super().on_message_begin()
        self.scope["extensions"] = {WIRE: cast("dict[object, object]", self)}

    @property
    def peer_port(self) -> int:
        """The client's TCP port: the same for all requests of one connection."""
        return self.client[1] if self.client else 0

    @property
    def is_idle(self) -> bool:
        """Whether it waits for its next request."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self.transport.is_closing()

    def reset(self) -> None:
        """End the connection with RST."""
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def cork(self, on: bool) -> None:
        """Hold written bytes back, or let them go together: Linux's TCP_CORK, nothing elsewhere."""
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        option = getattr(socket, "TCP_CORK", None)
        if sock is not None and option is not None and not self.transport.is_closing():
            sock.setsockopt(socket.IPPROTO_TCP, option, int(on))

    def finish(self) -> None:
        """End the connection with FIN, after what was written."""
        self.transport.close()

    def keep_alive_for(self, seconds: int) -> None:
        """Change how long it may be idle, from its next answer on."""
        self.timeout_keep_alive = seconds


class WireServer(uvicorn.Server):
    """A uvicorn server that tells its port, lists its connections and ends them all when it stops."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @property
    def wires(self) -> Iterator[Wire]:
        """The open connections."""
        return (wire for wire in list(self.server_state.connections) if isinstance(wire, Wire))

    def keep_alive_for(self, seconds: int) -> None:
        """Change the idle time of open and of future connections."""
        self.config.timeout_keep_alive = seconds
        for wire in self.wires:
            wire.keep_alive_for(seconds)

    async def close_idle(self, *, rst: bool) -> int:
        """Close the idle connections; they are closed when this returns their number."""
        idle = [wire for wire in self.wires if wire.is_idle]
        for wire in idle:
            if rst:
                wire.reset()
            else:
                wire.finish()
        await asyncio.sleep(0)  # asyncio closes the socket in a callback of the next turn
        return len(idle)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell the port."""
        await super().startup(sockets)
        listener: Any = self.servers[0].sockets[0]
        self._on_ready(int(listener.getsockname()[1]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop at once: a silent or dripping answer would otherwise hold the process for its whole length."""
        for wire in self.wires:
            wire.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        await super().shutdown(sockets)
