"""Watches stored results for every wait of an asyncio client: one subscription, and one poll, for all of them."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from producers.errors import UNREACHABLE
from producers.redaction import client_error_text
from producers.redis.asynchronous import AsyncDirectClient
from producers.report_reader import POLL_SECONDS, RETRY_SECONDS
from producers.results import RESULT_KEY, ask_for_results, readable_results

READ_TOGETHER = 100
"""Results that are read in one round trip: each may be large."""


class Watcher(Protocol):
    """Where results are stored, for waits."""

    cause: str
    """Why the results can't be reached; empty while they can be."""
    closed: bool

    async def read(self, command_ids: list[str]) -> list[bytes | None]:
        """The stored results of these ids; None where there is none, or none that can be read.

        Raises:
            redis.RedisError, OSError: they cannot be reached.
        """

    def join(self, watch: "Watch", command_ids: Iterable[str]) -> None:
        """Tell ``watch`` of the results of these ids, those that are there and those that come."""

    def leave(self, watch: "Watch", command_ids: Iterable[str]) -> None:
        """Tell ``watch`` no more of these."""

    async def close(self) -> None:
        """End every wait."""


class Watch:
    """What one wait is told."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.stored: dict[str, bytes] = {}
        """Results by id that the wait has not taken yet."""
        self.closed = False
        self._unseen: set[str] = set()
        self._told = asyncio.Event()

    def add(self, command_ids: Iterable[str]) -> None:
        """Watch these ids, too."""
        added = set(command_ids)
        self._unseen |= added
        self.watcher.join(self, added)

    def discard(self, command_ids: Iterable[str]) -> None:
        """Watch these ids no longer."""
        for command_id in (left := list(command_ids)):
            self.stored.pop(command_id, None)
            self._unseen.discard(command_id)
        self.watcher.leave(self, left)

    def tell(self, command_id: str, raw: bytes | None) -> None:
        """What is stored of an id. Wakes the wait if it is something, or if now all ids were looked at once."""
        if raw:
            self.stored[command_id] = raw
        last_unseen = self._unseen == {command_id}
        self._unseen.discard(command_id)
        if raw or last_unseen:
            self._told.set()

    def wake(self) -> None:
        """The watcher has failed, or it or this watch was closed."""
        self._unseen.clear()
        self._told.set()

    def close(self) -> None:
        """End the wait."""
        self.closed = True
        self.wake()

    async def next(self, deadline: float | None) -> bool:
        """Wait until something is :attr:`stored`. False if nothing is by the deadline (in the loop's time) and at the
        first look at all ids, or when the client was closed."""
        while not self.stored and not self.closed and not self.watcher.closed:
            self._told.clear()
            try:
                async with asyncio.timeout_at(None if self._unseen else deadline):
                    await self._told.wait()
            except TimeoutError:
                break
            if not self._unseen and deadline is not None and deadline <= asyncio.get_running_loop().time():
                break
        return bool(self.stored)


class ResultWatcher:
    """Watches the result backend, over one pub/sub connection, while anybody waits."""

    def __init__(self, results: AsyncDirectClient) -> None:
        self.cause = ""
        self.closed = False
        self._results = results
        self._watches: dict[str, set[Watch]] = {}
        self._joined: set[str] = set()
        self._left: set[str] = set()
        self._announced: set[str] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def read(self, command_ids: list[str]) -> list[bytes | None]:
        """See :class:`Watcher`."""
        async with self._results.limited() as client, client.pipeline(transaction=False) as pipe:
            ask_for_results(pipe, command_ids)
            return readable_results(await pipe.execute(raise_on_error=False))

    def join(self, watch: Watch, command_ids: Iterable[str]) -> None:
        """See :class:`Watcher`."""
        for command_id in command_ids:
            self._watches.setdefault(command_id, set()).add(watch)
            self._joined.add(command_id)
        self._changed.set()
        if not self.closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run(), name="orders: awaited reports")

    def leave(self, watch: Watch, command_ids: Iterable[str]) -> None:
        """See :class:`Watcher`."""
        for command_id in command_ids:
            watches = self._watches.get(command_id, set())
            watches.discard(watch)
            if not watches:
                self._watches.pop(command_id, None)
                self._left.add(command_id)
        if self._left:
            self._changed.set()

    async def close(self) -> None:
        """End every wait."""
        self.closed, self.cause = True, "the client was closed"
        self._wake_all()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _wake_all(self) -> None:
        for watch in {watch for watches in self._watches.values() for watch in watches}:
            watch.wake()

    async def _run(self) -> None:
        while self._watches and not self.closed:
            try:
                async with self._results.client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    self._joined = set(self._watches)
                    await self._serve(pubsub)
            except Exception as error:  # noqa: BLE001 - whatever it is, the waits go on, and say it at their ends
                self.cause = f"{UNREACHABLE}: {client_error_text(error)}"
                self._wake_all()
                await asyncio.sleep(RETRY_SECONDS)

    async def _serve(self, pubsub: Any) -> None:
        """Subscribe, look and listen until nobody waits any more, or the server cannot be reached."""
        loop = asyncio.get_running_loop()
        listener: asyncio.Task[None] | None = None
        poll_at = 0.0
        try:
            while self._watches:
                self._changed.clear()
                # Subscribe before the first look, so that no report is missed in between.
                due = await self._subscribe(pubsub)
                listener = listener or loop.create_task(self._listen(pubsub), name="orders: announced reports")
                if listener.done():
                    listener.result()
                if loop.time() >= poll_at:
                    due, poll_at = set(self._watches), loop.time() + POLL_SECONDS
                await self._look(due)
                self.cause = ""
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(poll_at):
                        await self._changed.wait()
        finally:
            if listener is not None:
                listener.cancel()
                await asyncio.gather(listener, return_exceptions=True)

    async def _subscribe(self, pubsub: Any) -> set[str]:
        """Subscribe to what is waited for since the last time; returns that, and what was announced."""
        joined, left = self._joined & self._watches.keys(), self._left - self._watches.keys()
        due = joined | self._announced
        self._joined, self._left, self._announced = set(), set(), set()
        if joined:
            await pubsub.subscribe(*map(RESULT_KEY.format, joined))
        if left:
            await pubsub.unsubscribe(*map(RESULT_KEY.format, left))
        return due

    async def _listen(self, pubsub: Any) -> None:
        prefix = RESULT_KEY.format("")
        try:
            while True:
                message = await pubsub.get_message(timeout=None)
                if message is not None and message["type"] == "message":
                    self._announced.add(message["channel"].decode().removeprefix(prefix))
                    self._changed.set()
        finally:
            self._changed.set()

    async def _look(self, command_ids: Iterable[str]) -> None:
        """Read what is stored, and tell those who wait for it."""
        asked = [each for each in command_ids if each in self._watches]
        for first in range(0, len(asked), READ_TOGETHER):
            part = asked[first : first + READ_TOGETHER]
            for command_id, raw in zip(part, await self.read(part), strict=True):
                for watch in self._watches.get(command_id, ()):
                    watch.tell(command_id, raw)
