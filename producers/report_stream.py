"""Awaits the reports of commands with asyncio."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import NoReturn, Self

import redis

from producers.enqueued import EnqueuedCommand, id_of
from producers.errors import UNREACHABLE, ReportPending
from producers.redaction import client_error_text
from producers.report import Report
from producers.report_checks import AwaitedReports, ReportChecker, checked_seconds
from producers.result_watcher import Watch, Watcher
from producers.results import NeverSent, Unverified

MAX_FOLLOWED = 10_000
"""Commands that one stream follows at the same time."""
LARGE_BYTES = 100_000
"""A result that is read in a thread, so that it does not hold the event loop up."""


class ReportStream:
    """Reports of the commands that it follows, as they come: an async iterator that does not end before it is closed.

    >>> async with client.reports() as reports:  # doctest: +SKIP
    ...     reports.add(await client.enqueue(close))
    ...     async for report in reports:
    ...         ...

    :class:`~producers.errors.IdReused` and :class:`~producers.errors.ChainBroken` are raised in place of the command's
    report. They are about that command alone: iterate again for the others. What is not believed
    (:class:`~producers.errors.ReportUnverified`) is not given; its command stays :attr:`open`.
    """

    def __init__(self, watcher: Watcher, checker: ReportChecker, limit: int = MAX_FOLLOWED) -> None:
        self._checker = checker
        self._awaited = AwaitedReports()
        self._watch = Watch(watcher)
        self._limit = limit

    @property
    def open(self) -> list[str]:
        """Ids of the commands whose reports have not come."""
        return self._awaited.open

    def add(self, *commands: EnqueuedCommand | str) -> None:
        """Follow these commands, too. One whose report was given already is given again.

        Raises:
            asyncio.QueueFull: the stream would follow more than 10,000 commands; none of these is followed.
            ValueError: the stream is closed.
        """
        if self._watch.closed:
            raise ValueError("the stream of reports is closed")
        command_ids = {id_of(command) for command in commands}
        if self._awaited.count_with(command_ids) > self._limit:
            raise asyncio.QueueFull(f"a stream of reports follows at most {self._limit:,} commands at a time")
        self._awaited.add(commands)
        self._watch.add(command_ids)

    def close(self) -> None:
        """Follow no command any longer, and end the iteration."""
        command_ids = self._awaited.open
        for command_id in command_ids:
            self._awaited.close(command_id)
        self._watch.discard(command_ids)
        self._watch.close()

    async def next(self, deadline: float | None = None) -> Report | None:
        """The next report; None if none comes by the deadline (in the event loop's time), or all is closed."""
        while await self._watch.next(deadline):
            command_id, raw = self._watch.stored.popitem()
            if (report := await self._read(command_id, raw)) is not None:
                return report
        return None

    def give_up(self, waited_seconds: float) -> NoReturn:
        """Raise what there is to say when the next report does not come in time."""
        self._awaited.give_up(waited_seconds, self._watch.watcher.cause)

    async def _read(self, command_id: str, raw: bytes) -> Report | None:
        found = None
        try:
            for command in self._awaited.of(command_id):
                result = await read_stored(self._checker, command, raw)
                found = self._awaited.found(command_id, result) or found
        except BaseException as error:
            if isinstance(error, Exception):
                self._awaited.close(command_id)
            raise
        finally:
            if not self._awaited.of(command_id):
                self._watch.discard([command_id])
        return found

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Report:
        if (report := await self.next()) is None:
            raise StopAsyncIteration
        return report

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CompletedReports:
    """The reports of some commands as they come: an async iterator, whose time begins with its first report asked for.

    No generator: one that is cancelled, by ``asyncio.timeout`` around ``anext`` for example, is at its end, and the
    caller would take the commands that are left for completed. This one goes on.
    """

    def __init__(
        self, stream: ReportStream, commands: Sequence[EnqueuedCommand | str], seconds: float, patience: float
    ) -> None:
        """``patience`` is how many of the ``seconds`` it really waits."""
        self._stream = stream
        self._commands: Sequence[EnqueuedCommand | str] = tuple(commands)
        self._seconds = seconds
        self._patience = patience
        self._deadline = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Report:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._deadline = self._loop.time() + self._patience
            self._stream.add(*self._commands)
        if not self._stream.open:
            raise StopAsyncIteration
        try:
            if (report := await self._stream.next(self._deadline)) is None:
                self._stream.give_up(self._seconds)
        except Exception:
            self._stream.close()
            raise
        return report

    async def aclose(self) -> None:
        """Wait for none of the others any more."""
        self._loop = self._loop or asyncio.get_running_loop()
        self._stream.close()

    def __del__(self) -> None:
        # Left before its end, like a generator: possibly in another thread, or after the loop was closed.
        if self._loop is not None and self._stream.open:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stream.close)


class AsyncReportReader:
    """The reading half of :class:`producers.async_client.AsyncOrderClient`."""

    def __init__(self, watcher: Watcher, checker: ReportChecker) -> None:
        self._watcher = watcher
        self._checker = checker

    async def report(self, command: EnqueuedCommand | str) -> Report | None:
        """See :meth:`producers.client.OrderClient.report`."""
        awaited = AwaitedReports([command])
        try:
            (raw,) = await self._watcher.read([id_of(command)])
        except (redis.RedisError, OSError) as error:
            raise ReportPending(id_of(command), 0, f"{UNREACHABLE}: {client_error_text(error)}") from error
        report = awaited.found(id_of(command), await read_stored(self._checker, command, raw))
        awaited.raise_if_unverified()
        return report

    async def wait_many(self, commands: Sequence[EnqueuedCommand | str], seconds: float) -> list[Report]:
        """See :meth:`producers.client.OrderClient.wait_many`."""
        async with aclosing(self.as_completed(commands, seconds)) as coming:
            reports = {report.command_id: report async for report in coming}
        return [reports[id_of(command)] for command in commands]

    def as_completed(self, commands: Sequence[EnqueuedCommand | str], seconds: float) -> "CompletedReports":
        """See :meth:`producers.client.OrderClient.as_completed`."""
        patience = self._patience(checked_seconds(seconds))
        return CompletedReports(self.stream(max(len(commands), 1)), commands, seconds, patience)

    def _patience(self, seconds: float) -> float:
        """How many seconds it really waits."""
        return seconds

    def stream(self, limit: int = MAX_FOLLOWED) -> ReportStream:
        """A stream that follows no command yet."""
        return ReportStream(self._watcher, self._checker, limit)


async def read_stored(
    checker: ReportChecker, command: EnqueuedCommand | str, raw: bytes | None
) -> Report | Unverified | None:
    """What a stored result says of a command, as :class:`ReportChecker` reads it; in a thread where that takes long."""
    large = len(raw or b"") > LARGE_BYTES
    result = await asyncio.to_thread(checker.read, command, raw) if large else checker.read(command, raw)
    if not isinstance(result, NeverSent):
        return result
    await asyncio.to_thread(checker.check_never_sent, command, result)
    return None
