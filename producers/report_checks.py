"""Whether what is stored as a command's end is its report: the rules of both clients, and what a wait has found."""

import math
from collections.abc import Collection, Sequence
from typing import NoReturn

import redis

from producers.enqueued import EnqueuedCommand, id_of
from producers.errors import ChainBroken, IdReused, ReportPending, ReportUnverified
from producers.intents import was_sent
from producers.publishing import BROKER_SECONDS
from producers.redis.client import connect
from producers.redis.direct import DirectClient
from producers.report import Report
from producers.report_signature import ReportKeys
from producers.results import NeverSent, Unverified, read_result
from producers.settings import QueueSettings, SettingsError
from producers.signing import SigningError


class ReportChecker:
    """Reads what is stored as the ends of commands; safe to share among threads."""

    def __init__(self, settings: QueueSettings, ledger: DirectClient | None) -> None:
        """``ledger`` is None for a client that records no intents.

        Raises:
            SettingsError: ``ORDERS_REPORT_KEYS`` has an entry that is no key.
        """
        self._settings = settings
        self._ledger = ledger
        try:
            self._keys = ReportKeys(settings.report_keys) if settings.report_keys else None
        except SigningError as error:
            raise SettingsError(f"ORDERS_REPORT_KEYS: {error}") from None

    def read(self, command: EnqueuedCommand | str, raw: bytes | None) -> Report | NeverSent | Unverified | None:
        """What a stored result says of a command; None if it says nothing.

        Raises:
            IdReused: it is the report of another command with the same id.
        """
        found = read_result(raw, id_of(command), self._keys)
        if (
            isinstance(found, Report)
            and isinstance(command, EnqueuedCommand)
            and found.fingerprint != command.command.fingerprint
        ):
            raise IdReused(command.command_id, found.to_json())
        return found

    def check_never_sent(self, command: EnqueuedCommand | str, mark: NeverSent) -> None:
        """Check, in the ledger, whether a command that is marked as never sent was sent on its own since.

        Raises:
            ChainBroken: it was not.
        """
        if not self._was_sent(command):
            raise ChainBroken(mark.report, id_of(command))

    def _was_sent(self, command: EnqueuedCommand | str) -> bool:
        if isinstance(command, EnqueuedCommand) and command.enqueued_at is not None:
            return True
        ledger = self._ledger.client if self._ledger is not None else self._connect_to_ledger()
        try:
            return was_sent(ledger, id_of(command))
        except (redis.RedisError, OSError):
            # Without intents, producers need not be able to reach the ledger.
            return self._settings.intents
        finally:
            if self._ledger is None:
                ledger.close()

    def _connect_to_ledger(self) -> redis.Redis:
        return connect(self._settings.ledger_url, timeout=BROKER_SECONDS)


def checked_seconds(seconds: float) -> float:
    """A timeout that ends.

    Raises:
        ValueError: it is no number, of which no time is later.
    """
    if math.isnan(seconds):
        raise ValueError("a timeout is a number of seconds, not NaN")
    return seconds


class AwaitedReports:
    """Which of the commands that are waited for have their reports."""

    def __init__(self, commands: Sequence[EnqueuedCommand | str] = ()) -> None:
        self._open: dict[str, list[EnqueuedCommand | str]] = {}
        self._unverified: dict[str, str] = {}
        self.add(commands)

    def add(self, commands: Sequence[EnqueuedCommand | str]) -> None:
        """Wait for these, too."""
        for command in commands:
            self._open.setdefault(id_of(command), []).append(command)

    @property
    def open(self) -> list[str]:
        """Ids of the commands without a report, in the order in which they were added."""
        return list(self._open)

    def count_with(self, command_ids: Collection[str]) -> int:
        """How many ids were waited for if these were added."""
        return len(self._open) + sum(each not in self._open for each in command_ids)

    def of(self, command_id: str) -> Sequence[EnqueuedCommand | str]:
        """The open commands of this id, usually one; none after :meth:`close`."""
        return self._open.get(command_id, ())

    def close(self, command_id: str) -> None:
        """Wait no longer for this id."""
        self._open.pop(command_id, None)
        self._unverified.pop(command_id, None)

    def found(self, command_id: str, result: Report | Unverified | None) -> Report | None:
        """Note what was found of an open command; returns its report if it is one.

        What is not believed may still be replaced by a worker's report.
        """
        if isinstance(result, Unverified):
            self._unverified[command_id] = result.why
            return None
        if result is not None:
            self.close(command_id)
        return result

    def raise_if_unverified(self) -> None:
        """Raise :class:`ReportUnverified` if something is stored for an open command, and is not believed."""
        for command_id in self._open:
            if command_id in self._unverified:
                raise ReportUnverified(command_id, self._unverified[command_id])

    def give_up(self, waited_seconds: float, cause: str) -> NoReturn:
        """Raise :class:`ReportUnverified` or :class:`ReportPending` for the first open command."""
        self.raise_if_unverified()
        raise ReportPending(next(iter(self._open)), waited_seconds, cause)
