"""uvicorn's httptools protocol, with the TCP connection accessible to the application.

ASGI can't close a connection without a response, so the scope of each request contains its connection under
`scope["extensions"][WIRE]`. A client sees

- after `reset()`: RST (`ConnectionResetError`), because SO_LINGER is set to 0; bytes that it has not read may be lost;
- after `finish()`: FIN after the written bytes (an empty or short reply).
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
        """Put the connection into the scope of the new request."""
        super().on_message_begin()
        self.scope["extensions"] = {WIRE: cast("dict[object, object]", self)}

    @property
    def peer_port(self) -> int:
        """The client's TCP port, which is the same for all requests of one connection."""
        return self.client[1] if self.client else 0

    @property
    def peer_address(self) -> str:
        """The client's IP address."""
        return self.client[0] if self.client else ""

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
        """Hold written bytes back, or send them together (TCP_CORK on Linux; no effect elsewhere)."""
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        option = getattr(socket, "TCP_CORK", None)
        if sock is not None and option is not None and not self.transport.is_closing():
            sock.setsockopt(socket.IPPROTO_TCP, option, int(on))

    def finish(self) -> None:
        """End the connection with FIN, after what was written."""
        self.transport.close()

    def keep_alive_for(self, seconds: int) -> None:
        """Change how long the connection may be idle, from its next response on."""
        self.timeout_keep_alive = seconds


class WireServer(uvicorn.Server):
    """A uvicorn server that reports its port, lists its connections and closes them all when it stops."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @property
    def wires(self) -> Iterator[Wire]:
        """The open connections."""
        return (wire for wire in list(self.server_state.connections) if isinstance(wire, Wire))

    def keep_alive_for(self, seconds: int) -> None:
        """Change the idle time of open and future connections."""
        self.config.timeout_keep_alive = seconds
        for wire in self.wires:
            wire.keep_alive_for(seconds)

    async def close_idle(self, *, rst: bool) -> int:
        """Close the idle connections; returns how many, after they are closed."""
        idle = [wire for wire in self.wires if wire.is_idle]
        for wire in idle:
            if rst:
                wire.reset()
            else:
                wire.finish()
        await asyncio.sleep(0)  # asyncio closes a socket in the next iteration of its loop
        return len(idle)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then report the port."""
        await super().startup(sockets)
        listener: Any = self.servers[0].sockets[0]
        self._on_ready(int(listener.getsockname()[1]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop at once. Otherwise a silent or slow response would delay the end of the process."""
        for wire in self.wires:
            wire.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        await super().shutdown(sockets)
