"""Reads and awaits the reports of commands in the result backend."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from producers.commands import Command
from producers.errors import UNREACHABLE, ChainBroken, IdReused, ReportPending, ReportUnverified
from producers.intents import was_sent
from producers.redaction import client_error_text
from producers.redis.client import connect
from producers.redis.direct import DirectClient
from producers.report import Report
from producers.report_signature import ReportKeys
from producers.results import RESULT_KEY, NeverSent, Unverified, read_result, stored_results
from producers.settings import QueueSettings

POLL_SECONDS = 1.0
"""How often a waiting client polls. Normally the announcement of a result comes first, but it may be lost."""


@dataclass(frozen=True, slots=True)
class EnqueuedCommand:
    """A command with its id, which was enqueued or is about to be."""

    command_id: str
    command: Command
    enqueued_at: int | None = field(default=None, compare=False)
    """UNIX ms when :meth:`OrderClient.enqueue` enqueued it; None for a command of which that is not known."""


@dataclass(slots=True)
class _Found:
    """What was found of the commands that are waited for, by id."""

    reports: dict[str, Report] = field(default_factory=dict)
    unverified: dict[str, str] = field(default_factory=dict)
    """Why what was stored in place of a report is not believed. A worker's report may still replace it."""


class ReportReader:
    """The reading half of :class:`producers.client.OrderClient`; safe to share among threads."""

    def __init__(
        self, settings: QueueSettings, results: redis.Redis, ledger: DirectClient | None, timeout_seconds: float
    ) -> None:
        """``ledger`` is None for a client that records no intents; ``timeout_seconds`` limits one step with its server.

        Raises:
            SigningError: ``ORDERS_REPORT_KEYS`` has an entry that is no key.
        """
        self._settings = settings
        self._results = results
        self._ledger = ledger
        self._timeout_seconds = timeout_seconds
        self._keys = ReportKeys(settings.report_keys) if settings.report_keys else None

    def report(self, command: EnqueuedCommand | str) -> Report | None:
        """See :meth:`producers.client.OrderClient.report`."""
        found = _Found()
        try:
            self._collect([command], found)
        except (redis.RedisError, OSError) as error:
            raise ReportPending(_id(command), 0, f"{UNREACHABLE}: {client_error_text(error)}") from error
        _raise_if_unverified([command], found)
        return found.reports.get(_id(command))

    def wait_many(self, commands: Sequence[EnqueuedCommand | str], timeout: float) -> list[Report]:
        """See :meth:`producers.client.OrderClient.wait_many`."""
        deadline = time.monotonic() + timeout
        found = _Found()
        cause = ""
        while True:
            missing = [command for command in commands if _id(command) not in found.reports]
            try:
                with self._pubsub() as announced:
                    # Subscribe before the first look, so that no report is missed in between.
                    announced.subscribe(*[RESULT_KEY.format(_id(command)) for command in missing])
                    self._collect(missing, found)
                    while len(found.reports) < len({_id(c) for c in commands}) and time.monotonic() < deadline:
                        remaining = max(0.0, deadline - time.monotonic())
                        announced.get_message(timeout=min(POLL_SECONDS, remaining))
                        self._collect([c for c in missing if _id(c) not in found.reports], found)
                cause = ""
            except (redis.RedisError, OSError) as error:
                cause = f"{UNREACHABLE}: {client_error_text(error)}"
                time.sleep(min(0.2, max(0.0, deadline - time.monotonic())))
            pending = [command for command in commands if _id(command) not in found.reports]
            if not pending:
                return [found.reports[_id(command)] for command in commands]
            if time.monotonic() >= deadline:
                _raise_if_unverified(pending, found)
                raise ReportPending(_id(pending[0]), timeout, cause)

    def _pubsub(self) -> Any:
        return self._results.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call] # redis-py's gap

    def _collect(self, missing: Sequence[EnqueuedCommand | str], found: _Found) -> None:
        """Fetch the reports that are there, in one round trip."""
        if not missing:
            return
        stored = stored_results(self._results, [_id(command) for command in missing])
        for command, raw in zip(missing, stored, strict=True):
            result = read_result(raw, _id(command), self._keys)
            if isinstance(result, Unverified):
                found.unverified[_id(command)] = result.why
                continue
            report = self._checked(command, result)
            if report is not None:
                found.reports[_id(command)] = report

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
        ledger = self._ledger.client if self._ledger is not None else self._connect_to_ledger()
        try:
            return was_sent(ledger, _id(command))
        except (redis.RedisError, OSError):
            # Without intents, producers need not be able to reach the ledger.
            return self._settings.intents
        finally:
            if self._ledger is None:
                ledger.close()

    def _connect_to_ledger(self) -> redis.Redis:
        return connect(self._settings.ledger_url, timeout=self._timeout_seconds)


def _raise_if_unverified(pending: Sequence[EnqueuedCommand | str], found: _Found) -> None:
    for command in pending:
        if _id(command) in found.unverified:
            raise ReportUnverified(_id(command), found.unverified[_id(command)])


def _id(command: EnqueuedCommand | str) -> str:
    return command.command_id if isinstance(command, EnqueuedCommand) else command
