"""A request that waits for its reply: how it can be answered, over ASGI or directly on the connection."""

import asyncio
from collections.abc import Callable, Mapping

from starlette.types import Receive, Send

from worker.simulator.accounts import Accounts, Snapshot
from worker.simulator.http.wire import Wire
from worker.simulator.messages import Examined, Reply
from worker.simulator.records import Arrival

FLUSH_SECONDS = 5.0
"""How long written bytes may take to be sent before a closing connection is reset."""

Headers = tuple[tuple[bytes, bytes], ...]


class PendingReply:
    """A completely read request whose arrival is recorded, and the connection that waits for the response.

    `examined` executes the request, and `latency` returns the seconds before a response begins. `echoes` are the parts
    of the request that a response may repeat, by placeholder.
    """

    def __init__(
        self,
        wire: Wire,
        receive: Receive,
        send: Send,
        arrival: Arrival,
        examined: Examined,
        latency: Callable[[], float],
        accounts: Accounts,
        echoes: Mapping[bytes, bytes],
    ) -> None:
        self._wire = wire
        self._receive = receive
        self._send = send
        self._arrival = arrival
        self._run = examined.run
        self.refusals = examined.refusals
        self._latency = latency
        self._accounts = accounts
        self.echoes = echoes

    @property
    def is_over(self) -> bool:
        """Whether the connection is closed or closing."""
        return self._wire.transport.is_closing()

    def execute(self) -> Reply:
        """Execute the request and return the venue's ordinary reply. Must be called at most once."""
        reply = self._run()
        self._arrival.executed = reply.executed
        return reply

    def dry_run(self) -> Reply:
        """The venue's ordinary reply, without executing the request."""
        with self._accounts.dry_run():
            return self._run()

    def read(self, snapshot: Snapshot) -> Reply:
        """The ordinary reply to a read, as of a snapshot."""
        with self._accounts.reading_snapshot_in_use(snapshot):
            return self._run()

    async def answer(self, reply: Reply) -> None:
        """Send a complete response."""
        await self.start(reply.status, reply.headers, len(reply.body))
        await self.send_body(reply.body, more=False)

    async def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Send status line and headers, after the latency; without a length the body is sent in chunks."""
        if latency := self._latency():
            await asyncio.sleep(latency)
        # Recorded before it is sent, so that a client that has read the response finds it recorded.
        self._arrival.status = status
        if length is not None:
            headers = (*headers, (b"content-length", str(length).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send_body(self, body: bytes, *, more: bool) -> None:
        """Send a piece of the body."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def send_bare(self, data: bytes) -> None:
        """Write bytes directly to the connection."""
        self._wire.transport.write(data)

    async def answer_with_surplus(self, reply: Reply, surplus: bytes) -> None:
        """Send a complete response followed by surplus bytes, in one TCP segment where the system supports that."""
        self._wire.cork(True)
        await self.start(reply.status, reply.headers, len(reply.body))
        await self.send_body(reply.body, more=True)
        await self.send_bare(surplus)
        await self.send_body(b"", more=False)
        self._wire.cork(False)

    async def client_gone(self, seconds: float) -> None:
        """Wait until the client closes the connection, for a limited time."""
        try:
            async with asyncio.timeout(seconds):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return

    async def cut(self, *, reset: bool) -> None:
        """Close the connection, with RST or, after the written bytes, with FIN. Returns when it is closed."""
        if reset:
            self._wire.reset()
        else:
            self._wire.finish()
            await self.client_gone(FLUSH_SECONDS)
            self._wire.reset()
        # uvicorn reports an error if an application returns before its connection is known to be closed.
        await self.client_gone(FLUSH_SECONDS)
