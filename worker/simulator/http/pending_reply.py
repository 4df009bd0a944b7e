"""One request being answered: what may be done with it, over ASGI and over the bare connection."""

import asyncio
from collections.abc import Callable, Mapping

from starlette.types import Receive, Send

from worker.simulator.accounts import Book, Snapshot
from worker.simulator.http.wire import Wire
from worker.simulator.messages import Reply
from worker.simulator.records import Arrival

FLUSH_SECONDS = 5.0
"""How long written bytes may take to leave before a closing connection is reset."""

Headers = tuple[tuple[bytes, bytes], ...]


class Exchange:
    """A request read in full, with its arrival on record, and the connection that waits for its answer.

    `run` carries the request out; `latency` gives the seconds before an answer begins. `echoes` are the words that an
    answer may repeat of the request, by their placeholders.
    """

    def __init__(
        self,
        wire: Wire,
        receive: Receive,
        send: Send,
        arrival: Arrival,
        run: Callable[[], Reply],
        latency: Callable[[], float],
        book: Book,
        echoes: Mapping[bytes, bytes],
    ) -> None:
        self._wire = wire
        self._receive = receive
        self._send = send
        self._arrival = arrival
        self._run = run
        self._latency = latency
        self._book = book
        self.echoes = echoes

    @property
    def is_over(self) -> bool:
        """Whether the connection is gone or going."""
        return self._wire.transport.is_closing()

    def execute(self) -> Reply:
        """Carry the request out; to be called at most once. Returns the venue's ordinary answer."""
        reply = self._run()
        self._arrival.executed = reply.executed
        return reply

    def rehearse(self) -> Reply:
        """The venue's ordinary answer to a request that is not carried out."""
        with self._book.rehearsal():
            return self._run()

    def read(self, then: Snapshot) -> Reply:
        """The ordinary answer to a read, as it was then."""
        with self._book.as_of(then):
            return self._run()

    async def answer(self, reply: Reply) -> None:
        """Send a whole answer."""
        await self.start(reply.status, reply.headers, len(reply.body))
        await self.send_body(reply.body, more=False)

    async def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Send status line and headers, after the latency; without a length the body goes in chunks."""
        if latency := self._latency():
            await asyncio.sleep(latency)
        # On record before it is sent: whoever has read the answer finds it there.
        self._arrival.status = status
        if length is not None:
            headers = (*headers, (b"content-length", str(length).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send_body(self, body: bytes, *, more: bool) -> None:
        """Send a piece of the body."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def send_bare(self, data: bytes) -> None:
        """Put bytes on the connection past HTTP's machinery."""
        self._wire.transport.write(data)

    async def answer_with_surplus(self, reply: Reply, surplus: bytes) -> None:
        """Send a whole answer, and bytes behind its end that belong to none; in one segment where the system can."""
        self._wire.cork(True)
        await self.start(reply.status, reply.headers, len(reply.body))
        await self.send_body(reply.body, more=True)
        await self.send_bare(surplus)
        await self.send_body(b"", more=False)
        self._wire.cork(False)

    async def client_gone(self, seconds: float) -> None:
        """Wait until the client ends the connection, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return

    async def cut(self, *, reset: bool) -> None:
        """End the connection now: RST, or FIN after what was written. Returns when it has ended."""
        if reset:
            self._wire.reset()
        else:
            self._wire.finish()
            await self.client_gone(FLUSH_SECONDS)
            self._wire.reset()
        # uvicorn takes an application that returns before the connection is seen to be gone for a broken one.
        await self.client_gone(FLUSH_SECONDS)
