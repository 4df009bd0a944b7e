"""Enqueue commands and read their reports with asyncio.

>>> async with AsyncOrderClient() as client:  # doctest: +SKIP
...     sent = await client.enqueue(Close(account="main", pair="USD_BTC_PERP"))
...     report = (await client.wait(sent, timeout=30)).raise_for_outcome()
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from producers.base_client import SENDING_ERRORS, BaseClient
from producers.commands import Command
from producers.enqueued import EnqueuedCommand
from producers.errors import BrokerUnavailable
from producers.intents import Intent
from producers.lanes import OnUnknown
from producers.publishing import BROKER_SECONDS
from producers.redis.asynchronous import AsyncDirectClient
from producers.redis.asynchronous import connect as connect_async
from producers.redis.client import connect
from producers.redis.direct import DirectClient
from producers.report import Report
from producers.report_checks import ReportChecker
from producers.report_stream import AsyncReportReader, ReportStream
from producers.result_watcher import ResultWatcher, Watcher
from producers.results import forget_never_sent_async
from producers.sending import Sender
from producers.settings import QueueSettings
from producers.signing import PrivateKey
from producers.tracing import enqueue_spans

CALL_SECONDS = 4.5
"""Limit of one call to a server, with the wait for a connection: a client is told within 5 s."""
THREADS = 8
"""Threads that publish to a broker for which there is no asyncio client; kombu lends ten connections."""


class AsyncOrderClient(BaseClient):
    """:class:`~producers.client.OrderClient` for asyncio: the same methods, arguments and errors.

    It belongs to the event loop in which it is used first, and not to a forked process: elsewhere its calls raise
    ``RuntimeError``, and send nothing. Close it, or use it as a
    context manager (``async with``). However many calls and waits are open, it holds at most 8 connections with each
    of results and ledger, and one on which all waits listen.

    A cancelled call leaves nothing behind. Of a cancelled :meth:`enqueue` it is not known whether the command was
    enqueued: the ``CancelledError`` has a :class:`~producers.errors.BrokerUnavailable` with the ids as its cause.
    """

    def __init__(self, settings: QueueSettings | None = None, *, signer: PrivateKey | None = None) -> None:
        """See :class:`BaseClient`."""
        super().__init__(settings, signer=signer)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open()

    def _check_loop(self) -> None:
        """Refuse a call in another event loop, as a forked process has, before it sends anything: the reply could not
        be read there, and a command would be enqueued whose id nobody has.

        Raises:
            RuntimeError: it is another one than that of the first call.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # What is made here is awaited in a loop.
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise RuntimeError(
                "this AsyncOrderClient belongs to another event loop; nothing was sent. Make one in each"
            )

    def _open(self) -> None:
        self._results = _connect(self._settings.result_backend)
        self._ledger = _connect(self._settings.ledger_url) if self._settings.intents else None
        # For what runs in threads: Celery's publishing, and the rare look into the ledger.
        blocking = DirectClient(connect(self._settings.ledger_url, timeout=BROKER_SECONDS)) if self._ledger else None
        self._blocking_ledger = blocking
        self._sender = Sender(self._settings, self._app, blocking)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="orders-publish")
        self._watcher: Watcher = ResultWatcher(self._results)
        self._reader = AsyncReportReader(self._watcher, ReportChecker(self._settings, blocking))

    # -- sending -------------------------------------------------------------------------------------------------

    async def enqueue(
        self,
        command: Command,
        command_id: str | None = None,
        *,
        lane: str | None = None,
        lane_on_unknown: OnUnknown = "hold",
    ) -> EnqueuedCommand:
        """See :meth:`producers.client.OrderClient.enqueue`."""
        return (await self.enqueue_many([(command, command_id)], lane=lane, lane_on_unknown=lane_on_unknown))[0]

    async def enqueue_many(
        self,
        commands: Iterable[Command | tuple[Command, str | None]],
        *,
        lane: str | None = None,
        lane_on_unknown: OnUnknown = "hold",
    ) -> list[EnqueuedCommand]:
        """See :meth:`producers.client.OrderClient.enqueue_many`."""
        self._check_loop()
        batch = self._batch(commands, lane, lane_on_unknown)
        try:
            with enqueue_spans(batch.named, traced=self._settings.traces) as headers:
                try:
                    await self._send(batch.messages, headers)
                except SENDING_ERRORS as error:
                    raise batch.unavailable(error) from error
            await forget_never_sent_async(self._results, batch.to_forget)
        except asyncio.CancelledError as cancelled:
            command_ids = [each.command_id for each in batch.sent]
            raise cancelled from BrokerUnavailable(command_ids, "cancelled before it had answered")
        return list(batch.sent)

    async def _send(self, messages: Sequence[Intent], headers: Sequence[Mapping[str, str]]) -> None:
        if self._ledger is not None and self._sender.in_transactions:
            for commands in self._sender.transactions(messages, headers):
                await self._ledger.transaction(commands)
            return
        publish = asyncio.get_running_loop().run_in_executor(
            self._threads, self._sender.send_by_celery, messages, headers
        )
        async with asyncio.timeout(CALL_SECONDS):
            await publish

    # -- reading -------------------------------------------------------------------------------------------------

    async def report(self, command: EnqueuedCommand | str) -> Report | None:
        """See :meth:`producers.client.OrderClient.report`."""
        self._check_loop()
        return await self._reader.report(command)

    async def wait(self, command: EnqueuedCommand | str, timeout: float = 60.0) -> Report:  # noqa: ASYNC109 - as OrderClient
        """See :meth:`producers.client.OrderClient.wait`."""
        return (await self.wait_many([command], timeout))[0]

    async def wait_many(
        self,
        commands: Sequence[EnqueuedCommand | str],
        timeout: float = 60.0,  # noqa: ASYNC109 - as OrderClient
    ) -> list[Report]:
        """See :meth:`producers.client.OrderClient.wait_many`."""
        self._check_loop()
        return await self._reader.wait_many(commands, timeout)

    def as_completed(self, commands: Sequence[EnqueuedCommand | str], timeout: float = 60.0) -> AsyncIterator[Report]:
        """See :meth:`producers.client.OrderClient.as_completed`; an async iterator."""
        self._check_loop()
        return self._reader.as_completed(commands, timeout)

    def reports(self, *commands: EnqueuedCommand | str) -> ReportStream:
        """A stream of reports, of these commands and of those that are added to it later.

        Raises:
            asyncio.QueueFull: they are more than 10,000.
        """
        self._check_loop()
        stream = self._reader.stream()
        stream.add(*commands)
        return stream

    async def close(self) -> None:
        """Close every connection, and end every wait."""
        await self._watcher.close()
        await self._results.close()
        if self._ledger is not None:
            await self._ledger.close()
        await asyncio.to_thread(self._close_blocking)

    def _close_blocking(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._blocking_ledger is not None:
            self._blocking_ledger.client.close()
        self._close_apps()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _connect(url: str) -> AsyncDirectClient:
    return AsyncDirectClient(connect_async(url, timeout=BROKER_SECONDS), CALL_SECONDS)
