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
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import redis
from celery import Celery
from celery.canvas import Signature
from kombu.exceptions import ChannelError, KombuError
from kombu.exceptions import ConnectionError as AmqpConnectionError

from producers.commands import Command
from producers.errors import BrokerUnavailable
from producers.intents import Intent
from producers.lanes import Lane, OnUnknown, lane_of
from producers.printable import is_command_id
from producers.publishing import BROKER_SECONDS, publisher_app, publisher_options
from producers.redaction import client_error_text
from producers.redis.client import connect
from producers.redis.direct import DirectClient
from producers.report import Report
from producers.report_reader import EnqueuedCommand, ReportReader
from producers.results import RESULT_KEY, forget_never_sent
from producers.seal import MAX_VALID_MS, seal
from producers.sending import Sender, message_options
from producers.settings import QueueSettings, SettingsError
from producers.signing import PrivateKey, SigningError
from producers.tracing import enqueue_spans, require_opentelemetry

__all__ = ["EnqueuedCommand", "OrderClient", "Sent", "publisher_app", "publisher_options"]

Sent = EnqueuedCommand
"""The former name, kept for services that import it."""


class OrderClient:
    """A synchronous client; safe to share among threads. Close it, or use it as a context manager.

    It survives a fork only if the broker is Redis. With RabbitMQ each process needs a client of its own.
    """

    def __init__(self, settings: QueueSettings | None = None, *, signer: PrivateKey | None = None) -> None:
        """Without ``settings``, read them from the environment (``ORDERS_…``). Nothing is connected yet.

        With a ``signer``, or a key file that the settings name, every command is sealed (:mod:`producers.seal`).

        Raises:
            SettingsError: the settings are invalid, or a key that they name cannot be read.
        """
        self._settings = settings or cast("QueueSettings", QueueSettings.load())
        if self._settings.traces:
            require_opentelemetry()
        self._app = publisher_app(self._settings.broker_url)
        self._results = _connect(self._settings.result_backend)
        self._direct_results = DirectClient(self._results)
        self._ledger = DirectClient(_connect(self._settings.ledger_url)) if self._settings.intents else None
        self._sender = Sender(self._settings, self._app, self._ledger)
        self._signer = signer or _signer(self._settings)
        try:
            self._reader = ReportReader(self._settings, self._results, self._ledger, BROKER_SECONDS)
        except SigningError as error:
            raise SettingsError(f"ORDERS_REPORT_KEYS: {error}") from None

    # -- sending -------------------------------------------------------------------------------------------------

    def command_id(self, given: str | None = None) -> str:
        """A new id for a command; or the given one, checked. With a signer it begins with the signer's name and a dot.

        Raises:
            ValueError: a command cannot be sent, or not be sealed, under the given id.
        """
        prefix = "" if self._signer is None else f"{self._signer.by}."
        if given is None:
            return f"{prefix}{uuid.uuid4()}"
        if not is_command_id(given):
            raise ValueError("a command id is 1 to 255 printable characters")
        if not given.startswith(prefix) or given == prefix:
            raise ValueError(f"the id of a command that {prefix[:-1]} seals begins with {prefix!r}")
        return given

    def enqueue(
        self,
        command: Command,
        command_id: str | None = None,
        *,
        lane: str | None = None,
        lane_on_unknown: OnUnknown = "hold",
    ) -> EnqueuedCommand:
        """Enqueue one command, under a new id unless one is given.

        In a ``lane`` of its account it begins when the command before it in that lane has ended. Should the outcome of
        a command be unknown, the lane waits until that is settled; or goes on, with ``lane_on_unknown="pass"``.

        Raises:
            ValueError: as :meth:`command_id`; or the lane can't be one.
            BrokerUnavailable: within 5 s, when it is not known to be enqueued. Try again with the id in the error.
        """
        return self.enqueue_many([(command, command_id)], lane=lane, lane_on_unknown=lane_on_unknown)[0]

    def enqueue_many(
        self,
        commands: Iterable[Command | tuple[Command, str | None]],
        *,
        lane: str | None = None,
        lane_on_unknown: OnUnknown = "hold",
    ) -> list[EnqueuedCommand]:
        """Enqueue many commands, each alone or with its id, a thousand in one round trip; in one lane, or in none.

        Their intents are recorded in the ledger's database, so commands that this method has returned are not lost with
        the broker.

        Raises:
            BrokerUnavailable: within 5 s; some of them may be enqueued. Try all again with the ids in the error.
        """
        entries, in_lane = list(commands), lane_of(lane, lane_on_unknown)
        sent = [self._with_id(entry) for entry in entries]
        with enqueue_spans([(each.command_id, each.command) for each in sent], traced=self._settings.traces) as headers:
            published = self._publish(sent, headers, in_lane)
        with_given_id = [each for each, entry in zip(published, entries, strict=True) if _has_id(entry)]
        # An id may have the mark of a chain's link that was never sent. The others' intents show that they were sent.
        without_intent = [each for each in with_given_id if self._ledger is None or not each.command.mutating]
        forget_never_sent(self._direct_results, [RESULT_KEY.format(each.command_id) for each in without_intent])
        return published

    def _publish(
        self, sent: Sequence[EnqueuedCommand], headers: Sequence[Mapping[str, str]], lane: Lane | None
    ) -> list[EnqueuedCommand]:
        enqueued_at = _now_ms()
        messages = [self._message(each.command, each.command_id, enqueued_at, lane) for each in sent]
        try:
            self._sender.send(messages, headers)
        except (KombuError, ChannelError, AmqpConnectionError, redis.RedisError, OSError) as error:
            # A broker that answers, and refuses: it is full, a replica, or does not permit it.
            refused = isinstance(error.__cause__ or error, redis.ResponseError | ChannelError)
            raise BrokerUnavailable([each.command_id for each in sent], client_error_text(error), refused) from error
        return [replace(each, enqueued_at=enqueued_at) for each in sent]

    def _with_id(self, entry: Command | tuple[Command, str | None]) -> EnqueuedCommand:
        command, given = entry if isinstance(entry, tuple) else (entry, None)
        return EnqueuedCommand(self.command_id(given), command)

    def _message(self, command: Command, command_id: str, now: int, lane: Lane | None) -> Intent:
        """What is sent, and is recorded as the intent of a mutating command; sealed if there is a signer."""
        kwargs = command.arguments()
        header = None
        if self._signer is not None:
            # A deadline does not shorten the seal: it is sealed itself, and ends the command in a report.
            header = seal(self._signer, command.task, command_id, kwargs, now, now + MAX_VALID_MS)
        return Intent(command_id, command.task, kwargs, now, header, lane)

    def signature(
        self,
        command: Command,
        command_id: str | None = None,
        *,
        lane: str | None = None,
        lane_on_unknown: OnUnknown = "hold",
    ) -> Signature:
        """A Celery signature of the command, for ``chain``, ``group`` and ``chord``.

        It is immutable: the result of the task before it does not become an argument. In a chain the next command is
        sent only if this one is ``accepted``. The id is made now, so a signature that is sent twice is executed once.

        It is sealed now as well, for 24 h, in which its turn must come. A task that replaces itself with a command
        passes its own id on to it: pass ``self.request.id`` here, which then must be one that can be sealed.

        >>> (chain(client.signature(cancel), client.signature(close))).apply_async()  # doctest: +SKIP

        Raises:
            ValueError: as :meth:`enqueue`.
        """
        message = self._message(command, self.command_id(command_id), _now_ms(), lane_of(lane, lane_on_unknown))
        signature = Signature(
            message.task, kwargs=message.kwargs, app=self._canvas_app, immutable=True, task_id=message.command_id
        )
        return signature.set(headers=message.headers(), **message_options(message))

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
            ReportUnverified: what is stored is not signed by any of the ``ORDERS_REPORT_KEYS``, where they are set.
            ReportPending: the result backend cannot be reached.
        """
        return self._reader.report(command)

    def wait(self, command: EnqueuedCommand | str, timeout: float = 60.0) -> Report:
        """Wait for the command's report, for ``timeout`` seconds at most, also through an outage of the result backend.

        Raises:
            ReportPending: there is no report in time. The command is not lost: wait again.
            ReportUnverified: in all that time there was only a report that is not believed.
            IdReused, ChainBroken: see :meth:`report`.
        """
        return self.wait_many([command], timeout)[0]

    def wait_many(self, commands: Sequence[EnqueuedCommand | str], timeout: float = 60.0) -> list[Report]:
        """Wait for all reports, in the order of the commands; see :meth:`wait`."""
        return self._reader.wait_many(commands, timeout)

    @property
    def verifies_reports(self) -> bool:
        """Whether only signed reports are believed (``ORDERS_REPORT_KEYS``)."""
        return bool(self._settings.report_keys)

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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _has_id(entry: Command | tuple[Command, str | None]) -> bool:
    return isinstance(entry, tuple) and entry[1] is not None


def _signer(settings: QueueSettings) -> PrivateKey | None:
    if not settings.seal_key_file:
        return None
    try:
        return PrivateKey.from_file(Path(settings.seal_key_file))
    except SigningError as error:
        raise SettingsError(f"ORDERS_SEAL_KEY_FILE: {error}") from None
