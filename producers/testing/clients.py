"""The real clients over a backend in memory."""

# Celery publishes no types.
# mypy: disallow-subclassing-any=False

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import redis
from celery import Celery

from producers.async_client import AsyncOrderClient
from producers.base_client import now_ms
from producers.celery_app import OwnSettingsCelery
from producers.client import OrderClient
from producers.enqueued import EnqueuedCommand, id_of
from producers.errors import UNREACHABLE
from producers.intents import Intent
from producers.report import Outcome, Report
from producers.report_checks import ReportChecker
from producers.report_reader import ReportReader
from producers.report_stream import AsyncReportReader
from producers.result_watcher import Watch
from producers.settings import QueueSettings
from producers.signing import PrivateKey
from producers.testing.backend import InMemoryBackend

NOWHERE = "memory://"


class InMemoryOrders(InMemoryBackend):
    """Clients in memory, and what becomes of the commands that they send."""

    @cached_property
    def client(self) -> "InMemoryOrderClient":
        """A client, for code that takes an :class:`~producers.client.OrderClient`."""
        return InMemoryOrderClient(self)

    @property
    def async_client(self) -> "InMemoryAsyncOrderClient":
        """A client for code that takes an :class:`~producers.async_client.AsyncOrderClient`. A new one each time: it
        belongs to an event loop, and ends when it is closed."""
        return InMemoryAsyncOrderClient(self)


class InMemoryOrderClient(OrderClient):
    """An :class:`~producers.client.OrderClient` whose commands stay in this process. It reads no settings."""

    def __init__(self, orders: InMemoryBackend | None = None, *, signer: PrivateKey | None = None) -> None:
        """A client of this backend, or of one of its own, where every command is accepted."""
        self._backend = orders or InMemoryBackend()
        super().__init__(_settings(), signer=signer)

    def _open(self) -> None:
        # The parts that OrderClient calls; what is not here is not called.
        self._direct_results = _NoMarks()  # type: ignore[assignment]
        self._sender = _Sender(self._backend)  # type: ignore[assignment]
        self._reader = _Reader(self._backend, _Checker(self._backend))

    def _make_app(self) -> Celery:
        return InMemoryCelery(self._backend)

    def _make_canvas_app(self) -> Celery:
        return self._app

    def close(self) -> None:
        """Nothing is open; the client can be used again."""


class InMemoryAsyncOrderClient(AsyncOrderClient):
    """An :class:`~producers.async_client.AsyncOrderClient` whose commands stay here. It reads no settings."""

    def __init__(self, orders: InMemoryBackend | None = None, *, signer: PrivateKey | None = None) -> None:
        """A client of this backend, or of one of its own, where every command is accepted."""
        self._backend = orders or InMemoryBackend()
        super().__init__(_settings(), signer=signer)

    def _open(self) -> None:
        self._results = _NoAsyncMarks()  # type: ignore[assignment]
        self._watcher = InMemoryWatcher(self._backend)
        self._reader = _AsyncReader(self._backend, self._watcher, _Checker(self._backend))

    async def _send(self, messages: Sequence[Intent], headers: Sequence[Mapping[str, str]]) -> None:  # noqa: ARG002
        self._backend.publish(messages)

    def _make_app(self) -> Celery:
        return InMemoryCelery(self._backend)

    def _make_canvas_app(self) -> Celery:
        return self._app

    async def close(self) -> None:
        """End every wait."""
        await self._watcher.close()


class InMemoryCelery(OwnSettingsCelery):
    """The app of signatures: what they send comes to the backend. It runs chains and groups, and no chords."""

    def __init__(self, backend: InMemoryBackend) -> None:
        super().__init__("in-memory-orders", broker_url=NOWHERE, result_backend="disabled://")
        self._orders = backend

    def send_task(
        self, name: str, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """Take a command, and what follows it in its chain.

        Raises:
            NotImplementedError: it is no command, or belongs to a chord.
        """
        if not name.startswith("orders.") or args or task_id is None or options.get("chord"):
            raise NotImplementedError(f"{name}: in memory there are commands, chains and groups of them, nothing else")
        links = list(options.get("chain") or ())
        self._orders.take(Intent(task_id, name, kwargs or {}, now_ms()), lambda report: self._follow(report, links))
        return self.AsyncResult(task_id)

    def _follow(self, report: Report, links: list[Any]) -> None:
        """Send the next link, the last of the list, if the command before it was accepted."""
        if not links:
            return
        if report.outcome is Outcome.ACCEPTED:
            *rest, link = links
            self.send_task(link["task"], (), link["kwargs"], link["options"]["task_id"], chain=rest)
            return
        for link in links:
            if not self._orders.was_sent(link["options"]["task_id"]):
                self._orders.breaks_chain(link["options"]["task_id"], report)


class InMemoryWatcher:
    """Tells waits of what is stored at a backend."""

    def __init__(self, backend: InMemoryBackend) -> None:
        self.cause = ""
        self.closed = False
        self._backend = backend
        self._watches: dict[str, dict[Watch, asyncio.AbstractEventLoop]] = {}
        backend.listen(self._announced)

    async def read(self, command_ids: list[str]) -> list[bytes | None]:
        """See :class:`producers.result_watcher.Watcher`."""
        return self._backend.read(command_ids)

    def join(self, watch: Watch, command_ids: Iterable[str]) -> None:
        """See :class:`producers.result_watcher.Watcher`."""
        for command_id in command_ids:
            self._watches.setdefault(command_id, {})[watch] = asyncio.get_running_loop()
            self._look(command_id)

    def leave(self, watch: Watch, command_ids: Iterable[str]) -> None:
        """See :class:`producers.result_watcher.Watcher`."""
        for command_id in command_ids:
            self._watches.get(command_id, {}).pop(watch, None)

    async def close(self) -> None:
        """See :class:`producers.result_watcher.Watcher`."""
        self.closed, self.cause = True, "the client was closed"
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()

    def _announced(self, command_id: str) -> None:
        for loop in set(self._watches.get(command_id, {}).values()):
            with suppress(RuntimeError):  # The loop is closed, with those who waited in it.
                loop.call_soon_threadsafe(self._look, command_id)

    def _look(self, command_id: str) -> None:
        try:
            (raw,) = self._backend.read([command_id])
            self.cause = ""
        except redis.RedisError as error:
            self.cause, raw = f"{UNREACHABLE}: {error}", None
        for watch in list(self._watches.get(command_id, {})):
            watch.tell(command_id, raw)


class _Sender:
    def __init__(self, backend: InMemoryBackend) -> None:
        self._backend = backend

    def send(self, messages: Sequence[Intent], headers: object) -> None:  # noqa: ARG002 - as Sender
        self._backend.publish(messages)


class _NoMarks:
    """The mark of a command that was never sent is deleted when the backend takes the command."""

    def script(self, *_: object) -> None: ...


class _NoAsyncMarks:
    async def script(self, *_: object) -> None: ...


class _Checker(ReportChecker):
    def __init__(self, backend: InMemoryBackend) -> None:
        super().__init__(_settings(), None)
        self._backend = backend

    def _was_sent(self, command: EnqueuedCommand | str) -> bool:
        return self._backend.was_sent(id_of(command))


class _Reader(ReportReader):
    def __init__(self, backend: InMemoryBackend, checker: ReportChecker) -> None:
        super().__init__(backend, checker)
        self._backend = backend

    def _patience(self, timeout: float) -> float:
        return min(timeout, self._backend.patience_seconds)


class _AsyncReader(AsyncReportReader):
    def __init__(self, backend: InMemoryBackend, watcher: InMemoryWatcher, checker: ReportChecker) -> None:
        super().__init__(watcher, checker)
        self._backend = backend

    def _patience(self, seconds: float) -> float:
        return min(seconds, self._backend.patience_seconds)


def _settings() -> QueueSettings:
    """Settings without any server, whatever the environment says."""
    return QueueSettings.model_construct(
        redis_url=NOWHERE, broker_url=NOWHERE, result_backend="disabled://", ledger_url=NOWHERE
    )
