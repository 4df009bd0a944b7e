"""Both clients under one suite: the asyncio client with the face of the synchronous one."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Self, TypeVar

import pytest

from producers.async_client import AsyncOrderClient
from producers.client import OrderClient
from producers.report import Report
from producers.testing import InMemoryAsyncOrderClient, InMemoryOrderClient

T = TypeVar("T")
ClientClass = Callable[..., OrderClient]


class AsyncClientInThread:
    """An asyncio client whose calls block, each from any thread; its event loop runs in a thread of its own."""

    make: Callable[..., Any] = AsyncOrderClient

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="event loop")
        self._thread.start()
        try:
            self._client = self._call(self._made(*arguments, **named))
        except BaseException:
            self._end()
            raise

    @classmethod
    async def _made(cls, *arguments: Any, **named: Any) -> Any:
        return cls.make(*arguments, **named)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @property
    def _sender(self) -> Any:
        client, call = self._client, self._call

        class Sender:
            def send(self, *arguments: Any) -> None:
                call(client._send(*arguments))

        return Sender()

    def enqueue(self, *arguments: Any, **named: Any) -> Any:
        return self._call(self._client.enqueue(*arguments, **named))

    def enqueue_many(self, *arguments: Any, **named: Any) -> Any:
        return self._call(self._client.enqueue_many(*arguments, **named))

    def report(self, command: Any) -> Report | None:
        return self._call(self._client.report(command))

    def wait(self, *arguments: Any, **named: Any) -> Report:
        return self._call(self._client.wait(*arguments, **named))

    def wait_many(self, *arguments: Any, **named: Any) -> list[Report]:
        return self._call(self._client.wait_many(*arguments, **named))

    def as_completed(self, commands: Sequence[Any], timeout: float = 60.0) -> Iterator[Report]:
        reports = self._client.as_completed(commands, timeout)
        try:
            while (report := self._call(self._next(reports))) is not None:
                yield report
        finally:
            self._call(reports.aclose())

    @staticmethod
    async def _next(reports: Any) -> Report | None:
        return await anext(reports, None)

    def close(self) -> None:
        self._call(self._client.close())
        self._call(self._nothing_left())
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @staticmethod
    async def _nothing_left() -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"the client left tasks behind: {left}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class InMemoryAsyncClientInThread(AsyncClientInThread):
    make = InMemoryAsyncOrderClient


CLIENTS: dict[str, Any] = {"sync": OrderClient, "asyncio": AsyncClientInThread}

TWINS: dict[str, Any] = {"memory": InMemoryOrderClient, "asyncio in memory": InMemoryAsyncClientInThread}


@pytest.fixture(params=CLIENTS)
def client_class(request: pytest.FixtureRequest) -> ClientClass:
    """Each of the two clients."""
    made: ClientClass = CLIENTS[request.param]
    return made
