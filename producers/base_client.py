"""What the synchronous and the asyncio client have in common: ids, seals, messages and errors, without any I/O."""

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import redis
from celery import Celery
from celery.canvas import Signature
from kombu.exceptions import ChannelError, KombuError
from kombu.exceptions import ConnectionError as AmqpConnectionError

from producers.commands import Command
from producers.enqueued import EnqueuedCommand
from producers.errors import BrokerUnavailable
from producers.intents import Intent
from producers.lanes import Lane, OnUnknown, lane_of
from producers.printable import is_command_id
from producers.publishing import publisher_app
from producers.redaction import client_error_text
from producers.results import RESULT_KEY
from producers.seal import MAX_VALID_MS, seal
from producers.sending import message_options
from producers.settings import QueueSettings, SettingsError
from producers.signing import PrivateKey, SigningError
from producers.tracing import require_opentelemetry

SENDING_ERRORS = (KombuError, ChannelError, AmqpConnectionError, redis.RedisError, OSError)
"""What broker or ledger may raise while commands are sent."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Commands that are about to be enqueued together."""

    sent: Sequence[EnqueuedCommand]
    messages: Sequence[Intent]
    to_forget: Sequence[str]
    """Result keys that may hold the mark of a chain's link that was never sent, which no longer is true."""

    @property
    def named(self) -> list[tuple[str, Command]]:
        """The commands with their ids."""
        return [(each.command_id, each.command) for each in self.sent]

    def unavailable(self, error: BaseException) -> BrokerUnavailable:
        """The error that tells that it is not known whether these commands were enqueued, and why."""
        # A broker that answers, and refuses: it is full, a replica, or does not permit it.
        refused = isinstance(error.__cause__ or error, redis.ResponseError | ChannelError)
        return BrokerUnavailable([each.command_id for each in self.sent], client_error_text(error), refused)


class BaseClient:
    """The part of a client that does no I/O."""

    def __init__(self, settings: QueueSettings | None = None, *, signer: PrivateKey | None = None) -> None:
        """Without ``settings``, read them from the environment (``ORDERS_…``). Nothing is connected yet.

        With a ``signer``, or a key file that the settings name, every command is sealed (:mod:`producers.seal`).

        Raises:
            SettingsError: the settings are invalid, or a key that they name cannot be read.
        """
        self._settings = settings or cast("QueueSettings", QueueSettings.load())
        if self._settings.traces:
            require_opentelemetry()
        self._signer = signer or _signer(self._settings)
        self._app = self._make_app()

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

    @property
    def sealed_by(self) -> str:
        """Who signs the commands, and with which key (``payroll/2026-11``); empty where nobody does."""
        return "" if self._signer is None else f"{self._signer.by}/{self._signer.kid}"

    def signature(
        self,
        command: Command,
        command_id: str | None = None,
        *,
        lane: str | None = None,
        lane_on_unknown: OnUnknown = "hold",
    ) -> Signature:
        """A Celery signature of the command, for ``chain``, ``group`` and ``chord``; sending those is Celery's, and
        blocks.

        It is immutable: the result of the task before it does not become an argument. In a chain the next command is
        sent only if this one is ``accepted``. The id is made now, so a signature that is sent twice is executed once.

        It is sealed now as well, for 24 h, in which its turn must come. A task that replaces itself with a command
        passes its own id on to it: pass ``self.request.id`` here, which then must be one that can be sealed.

        >>> (chain(client.signature(cancel), client.signature(close))).apply_async()  # doctest: +SKIP

        Raises:
            ValueError: as :meth:`command_id`; or the lane can't be one.
        """
        message = self._message(command, self.command_id(command_id), now_ms(), lane_of(lane, lane_on_unknown))
        signature = Signature(
            message.task, kwargs=message.kwargs, app=self._canvas_app, immutable=True, task_id=message.command_id
        )
        return signature.set(headers=message.headers(), **message_options(message))

    @property
    def verifies_reports(self) -> bool:
        """Whether only signed reports are believed (``ORDERS_REPORT_KEYS``)."""
        return bool(self._settings.report_keys)

    def _make_app(self) -> Celery:
        return publisher_app(self._settings.broker_url)

    @cached_property
    def _canvas_app(self) -> Celery:
        """The app that sends signatures. It has the result backend, where chords count their finished parts."""
        return self._make_canvas_app()

    def _make_canvas_app(self) -> Celery:
        return publisher_app(self._settings.broker_url, self._settings.result_backend)

    def _close_apps(self) -> None:
        self._app.close()
        if "_canvas_app" in self.__dict__:
            self._canvas_app.close()

    def _batch(
        self, commands: Iterable[Command | tuple[Command, str | None]], lane: str | None, lane_on_unknown: OnUnknown
    ) -> Batch:
        """Give each command its id and make its message.

        Raises:
            ValueError: as :meth:`command_id`; or the lane can't be one.
        """
        entries = [entry if isinstance(entry, tuple) else (entry, None) for entry in commands]
        in_lane, enqueued_at = lane_of(lane, lane_on_unknown), now_ms()
        sent = [EnqueuedCommand(self.command_id(given), command, enqueued_at) for command, given in entries]
        messages = [self._message(each.command, each.command_id, enqueued_at, in_lane) for each in sent]
        # The intents of the others show that they were sent.
        to_forget = [
            RESULT_KEY.format(given)
            for command, given in entries
            if given is not None and not (self._settings.intents and command.mutating)
        ]
        return Batch(sent, messages, to_forget)

    def _message(self, command: Command, command_id: str, now: int, lane: Lane | None) -> Intent:
        """What is sent, and is recorded as the intent of a mutating command; sealed if there is a signer."""
        kwargs = command.arguments()
        header = None
        if self._signer is not None:
            # A deadline does not shorten the seal: it is sealed itself, and ends the command in a report.
            header = seal(self._signer, command.task, command_id, kwargs, now, now + MAX_VALID_MS)
        return Intent(command_id, command.task, kwargs, now, header, lane)


def now_ms() -> int:
    """The time, in UNIX milliseconds."""
    return time.time_ns() // 1_000_000


def _signer(settings: QueueSettings) -> PrivateKey | None:
    if not settings.seal_key_file:
        return None
    try:
        return PrivateKey.from_file(Path(settings.seal_key_file))
    except SigningError as error:
        raise SettingsError(f"ORDERS_SEAL_KEY_FILE: {error}") from None
