"""Enqueue commands and read their reports.

>>> client = OrderClient()  # doctest: +SKIP
>>> sent = client.enqueue(Close(account="main", pair="USD_BTC_PERP"))  # doctest: +SKIP
>>> report = client.wait(sent, timeout=30).raise_for_outcome()  # doctest: +SKIP

The command id is made before the first attempt to enqueue. When the broker fails, it is not known whether the message
got through; enqueueing the same command again with the same id is then safe, because an id is executed once.
"""

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self, cast

import redis
from celery import Celery
from celery.canvas import Signature
from kombu.exceptions import ChannelError, KombuError
from kombu.exceptions import ConnectionError as AmqpConnectionError

from producers.commands import Command
from producers.errors import UNREACHABLE, BrokerUnavailable, ChainBroken, IdReused, ReportPending
from producers.intents import Intent, recorded, was_sent
from producers.printable import is_command_id
from producers.publishing import BROKER_SECONDS, publisher_app, publisher_options
from producers.redaction import client_error_text, shown_arguments
from producers.redis.client import connect
from producers.redis.direct import DirectClient
from producers.report import Report
from producers.results import RESULT_KEY, NeverSent, forget_never_sent, read_result, stored_results
from producers.settings import QueueSettings
from producers.tracing import enqueue_spans, require_opentelemetry

__all__ = ["EnqueuedCommand", "OrderClient", "Sent", "publisher_app", "publisher_options"]

POLL_SECONDS = 1.0
"""How often a waiting client polls. Normally the announcement of a result comes first, but it may be lost."""


@dataclass(frozen=True, slots=True)
class EnqueuedCommand:
    """A command with its id, which was enqueued or is about to be."""

    command_id: str
    command: Command
    enqueued_at: int | None = field(default=None, compare=False)
    """UNIX ms when :meth:`OrderClient.enqueue` enqueued it; None for a command of which that is not known."""


Sent = EnqueuedCommand
"""The former name, kept for services that import it."""


class OrderClient:
    """A synchronous client; safe to share among threads. Close it, or use it as a context manager.

    It survives a fork only if the broker is Redis. With RabbitMQ each process needs a client of its own.
    """

    def __init__(self, settings: QueueSettings | None = None) -> None:
        """Without ``settings``, read them from the environment (``ORDERS_…``). Nothing is connected yet.

        Raises:
            SettingsError: the settings are invalid.
        """
        self._settings = settings or cast("QueueSettings", QueueSettings.load())
        if self._settings.traces:
            require_opentelemetry()
        self._app = publisher_app(self._settings.broker_url)
        self._results = _connect(self._settings.result_backend)
        self._direct_results = DirectClient(self._results)
        self._ledger = DirectClient(_connect(self._settings.ledger_url)) if self._settings.intents else None

    # -- sending -------------------------------------------------------------------------------------------------

    def enqueue(self, command: Command, command_id: str | None = None) -> EnqueuedCommand:
        """Enqueue one command, under a new id unless one is given.

        Raises:
            BrokerUnavailable: within 5 s, when it is not known to be enqueued. Try again with the id in the error.
        """
        return self.enqueue_many([(command, command_id)])[0]

    def enqueue_many(self, commands: Iterable[Command | tuple[Command, str | None]]) -> list[EnqueuedCommand]:
        """Enqueue many commands, each alone or with its id, in one round trip to the broker.

        Their intents are recorded in one round trip to the ledger's database, so commands that this method has returned
        are not lost with the broker.

        Raises:
            BrokerUnavailable: within 5 s; some of them may be enqueued. Try all again with the ids in the error.
        """
        entries = list(commands)
        sent = [_sent(entry) for entry in entries]
        with enqueue_spans([(each.command_id, each.command) for each in sent], traced=self._settings.traces) as headers:
            published = self._publish(sent, headers)
        with_given_id = [each for each, entry in zip(published, entries, strict=True) if _has_id(entry)]
        # An id may have the mark of a chain's link that was never sent. The others' intents show that they were sent.
        without_intent = [each for each in with_given_id if self._ledger is None or not each.command.mutating]
        forget_never_sent(self._direct_results, [RESULT_KEY.format(each.command_id) for each in without_intent])
        return published

    def _publish(self, sent: Sequence[EnqueuedCommand], headers: Sequence[Mapping[str, str]]) -> list[EnqueuedCommand]:
        enqueued_at = time.time_ns() // 1_000_000
        try:
            with (
                self._recording_intents(sent, enqueued_at),
                self._app.producer_pool.acquire(block=True, timeout=BROKER_SECONDS) as producer,
                producer.batch(),
            ):
                for each, more in zip(sent, headers, strict=True):
                    self._app.send_task(
                        each.command.task,
                        kwargs=each.command.arguments(),
                        task_id=each.command_id,
                        headers={"enqueued_at": enqueued_at, **more},
                        producer=producer,
                        retry=False,
                        **_message_options(each.command),
                    )
        except (KombuError, ChannelError, AmqpConnectionError, redis.RedisError, OSError) as error:
            # A broker that answers, and refuses: it is full, a replica, or does not permit it.
            refused = isinstance(error.__cause__ or error, redis.ResponseError | ChannelError)
            raise BrokerUnavailable([each.command_id for each in sent], client_error_text(error), refused) from error
        return [replace(each, enqueued_at=enqueued_at) for each in sent]

    def _recording_intents(self, sent: Sequence[EnqueuedCommand], enqueued_at: int) -> AbstractContextManager[None]:
        """Record the intents of mutating commands. A query needs none, and costs the ledger nothing."""
        intents = [
            Intent(each.command_id, each.command.task, each.command.arguments(), enqueued_at)
            for each in sent
            if each.command.mutating
        ]
        if not intents or self._ledger is None:
            return nullcontext()
        return recorded(self._ledger, intents, replicas=self._settings.intent_replicas)

    def signature(self, command: Command, command_id: str | None = None) -> Signature:
        """A Celery signature of the command, for ``chain``, ``group`` and ``chord``.

        It is immutable: the result of the task before it does not become an argument. In a chain the next command is
        sent only if this one is ``accepted``. The id is made now, so a signature that is sent twice is executed once.

        >>> (chain(client.signature(cancel), client.signature(close))).apply_async()  # doctest: +SKIP
        """
        sent = _sent((command, command_id))
        signature = Signature(
            command.task, kwargs=command.arguments(), app=self._canvas_app, immutable=True, task_id=sent.command_id
        )
        return signature.set(headers={"enqueued_at": time.time_ns() // 1_000_000}, **_message_options(command))

    @cached_property
    def _canvas_app(self) -> Celery:
        """The app that sends signatures. It has the result backend, where chords count their finished parts."""
        return publisher_app(self._settings.broker_url, self._settings.result_backend)

    # -- reading -------------------------------------------------------------------------------------------------

    def report(self, command: EnqueuedCommand | str) -> Report | None:
        """The command's report, or None while there is none.

        Raises:
            IdReused: the report is another command's; only when called with what :meth:`enqueue` returned.
            ChainBroken: the command was never sent, because the task before it in its chain or chord was not accepted.
            ReportPending: the result backend cannot be reached.
        """
        found: dict[str, Report] = {}
        try:
            self._collect([command], found)
        except (redis.RedisError, OSError) as error:
            raise ReportPending(_id(command), 0, f"{UNREACHABLE}: {client_error_text(error)}") from error
        return found.get(_id(command))

    def wait(self, command: EnqueuedCommand | str, timeout: float = 60.0) -> Report:
        """Wait for the command's report, for ``timeout`` seconds at most, also through an outage of the result backend.

        Raises:
            ReportPending: there is no report in time. The command is not lost: wait again.
            IdReused, ChainBroken: see :meth:`report`.
        """
        return self.wait_many([command], timeout)[0]

    def wait_many(self, commands: Sequence[EnqueuedCommand | str], timeout: float = 60.0) -> list[Report]:
        """Wait for all reports, in the order of the commands; see :meth:`wait`."""
        deadline = time.monotonic() + timeout
        reports: dict[str, Report] = {}
        cause = ""
        while True:
            missing = [command for command in commands if _id(command) not in reports]
            try:
                with self._pubsub() as announced:
                    # Subscribe before the first look, so that no report is missed in between.
                    announced.subscribe(*[RESULT_KEY.format(_id(command)) for command in missing])
                    self._collect(missing, reports)
                    while len(reports) < len({_id(c) for c in commands}) and time.monotonic() < deadline:
                        remaining = max(0.0, deadline - time.monotonic())
                        announced.get_message(timeout=min(POLL_SECONDS, remaining))
                        self._collect([c for c in missing if _id(c) not in reports], reports)
                cause = ""
            except (redis.RedisError, OSError) as error:
                cause = f"{UNREACHABLE}: {client_error_text(error)}"
                time.sleep(min(0.2, max(0.0, deadline - time.monotonic())))
            pending = [command for command in commands if _id(command) not in reports]
            if not pending:
                return [reports[_id(command)] for command in commands]
            if time.monotonic() >= deadline:
                raise ReportPending(_id(pending[0]), timeout, cause)

    def _pubsub(self) -> Any:
        return self._results.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call] # redis-py's gap

    def _collect(self, missing: Sequence[EnqueuedCommand | str], reports: dict[str, Report]) -> None:
        """Fetch the reports that are there, in one round trip."""
        if not missing:
            return
        found = stored_results(self._results, [_id(command) for command in missing])
        for command, raw in zip(missing, found, strict=True):
            report = self._checked(command, read_result(raw, _id(command)))
            if report is not None:
                reports[_id(command)] = report

    def _checked(self, command: EnqueuedCommand | str, found: Report | NeverSent | None) -> Report | None:
        if isinstance(found, NeverSent):
            if self._was_sent(command):
                return None
            raise ChainBroken(found.report, _id(command))
        if (
            found is not None
            and isinstance(command, EnqueuedCommand)
            and found.fingerprint != command.command.fingerprint
        ):
            raise IdReused(command.command_id, found.to_json())
        return found

    def _was_sent(self, command: EnqueuedCommand | str) -> bool:
        """Whether a command that is marked as never sent, as a link of a chain, was sent on its own since."""
        if isinstance(command, EnqueuedCommand) and command.enqueued_at is not None:
            return True
        ledger = self._ledger.client if self._ledger is not None else _connect(self._settings.ledger_url)
        try:
            return was_sent(ledger, _id(command))
        except (redis.RedisError, OSError):
            # Without intents, producers need not be able to reach the ledger.
            return self._settings.intents
        finally:
            if self._ledger is None:
                ledger.close()

    def close(self) -> None:
        """Close every connection."""
        self._results.close()
        if self._ledger is not None:
            self._ledger.client.close()
        self._app.close()
        if "_canvas_app" in self.__dict__:
            self._canvas_app.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _connect(url: str) -> redis.Redis:
    return connect(url, timeout=BROKER_SECONDS)


def _message_options(command: Command) -> dict[str, Any]:
    """The queue, and the form of the arguments that monitors may show."""
    return {
        "queue": command.task,
        "argsrepr": "()",
        "kwargsrepr": shown_arguments(command.task, command.arguments()),
    }


def _sent(entry: Command | tuple[Command, str | None]) -> EnqueuedCommand:
    command, command_id = entry if isinstance(entry, tuple) else (entry, None)
    if command_id is not None and not is_command_id(command_id):
        raise ValueError("a command id is 1 to 255 printable characters")
    return EnqueuedCommand(command_id or str(uuid.uuid4()), command)


def _has_id(entry: Command | tuple[Command, str | None]) -> bool:
    return isinstance(entry, tuple) and entry[1] is not None


def _id(command: EnqueuedCommand | str) -> str:
    return command.command_id if isinstance(command, EnqueuedCommand) else command
