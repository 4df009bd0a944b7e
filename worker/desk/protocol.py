"""uvicorn's HTTP protocol in pure Python, with bounds on time and number that it lacks.

It is h11's, and not that of httptools, because h11 bounds the headers of a request.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10.0
"""How long a request may take to arrive, from the connection or the first byte of it to the end of its body."""
READER_SECONDS = 30.0
"""How long a browser may take to accept more of an answer."""
MAX_CONNECTIONS = 100
MAX_HEADER_BYTES = 16 * 1024


class BoundedProtocol(H11Protocol):
    """One connection of a browser."""

    _arrival: asyncio.TimerHandle | None = None
    _before: object = None
    """The request that was there before the one whose arrival is timed."""
    _reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close what is too many at once, and give the first request its time."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        for timer in (self._arrival, self._reader):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give each request its time, once."""
        if self._arrival is None and self._is_between_requests():
            self._expect_request()
        super().data_received(data)
        if self._arrival is not None and self.cycle is not self._before and not self.cycle.more_body:
            self._arrival.cancel()
            self._arrival = None

    def on_response_complete(self) -> None:
        """Time a request that came with the one before it, and whose body is not here yet."""
        before: object = self.cycle
        super().on_response_complete()
        if self.cycle is not before and self.cycle.more_body:
            self._before = before
            self._arrival = self._arrival or self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        """Wait for a browser that does not read, but not for ever."""
        super().pause_writing()
        self._reader = self.loop.call_later(READER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The browser reads again."""
        super().resume_writing()
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _is_between_requests(self) -> bool:
        cycle: Any = self.cycle
        return cycle is None or cycle.response_complete

    def _expect_request(self) -> None:
        self._before = self.cycle
        self._arrival = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)
