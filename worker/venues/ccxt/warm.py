"""Reads that ccxt would make in the middle of a command, made before it, and kept for each account for a time."""

import threading
from typing import Any

from worker.clock import Clock
from worker.venues.accounts import Account
from worker.venues.ccxt.reading import Reader, ReadFailed
from worker.venues.ccxt.traits import Warm
from worker.venues.json_values import UNREADABLE

MAX_KEPT = 1000
"""How many results are kept."""


class WarmReads:
    """The results of warm reads; safe to share among threads."""

    def __init__(self, warm: tuple[Warm, ...], clock: Clock) -> None:
        self._warm, self._clock = warm, clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], tuple[float, Any]] = {}

    def options(self, command: str, account: Account, reader: Reader) -> dict[str, Any]:
        """ccxt's options for one command of an account.

        Raises:
            ReadFailed: a read failed, or its answer can't be understood.
        """
        wanted = [each for each in self._warm if not each.commands or command in each.commands]
        return {each.option: self._value(each, account, reader) for each in wanted}

    def _value(self, warm: Warm, account: Account, reader: Reader) -> Any:
        key = (account.digest, warm.option)
        with self._lock:
            read_at, value = self._kept.get(key, (0.0, None))
        if value is not None and self._clock.monotonic() - read_at < warm.lasts_seconds:
            return value
        decoded = reader.call(warm.method, warm.args).decoded
        try:
            value = warm.value(decoded) if decoded is not UNREADABLE else None
        except (LookupError, TypeError, ValueError, AttributeError):
            value = None
        if value is None:
            raise ReadFailed(f"{warm.method}: an answer that can't be understood")
        with self._lock:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[key] = (self._clock.monotonic(), value)
        return value
