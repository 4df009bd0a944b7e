"""The data of reconciles in the ledger's database, beside the records: open unknowns, and first absences.

The ledger writes ``orders:unknown``. ``orders:looks`` is a hash of command id to when nothing was found at the venue
for the first time (UNIX ms), so that two runs count as two looks, in one process or two.
"""

from dataclasses import dataclass
from typing import cast

import redis

from worker.ledger.base import Record
from worker.ledger.connection import guarded
from worker.ledger.keys import ABSENCES_KEY, UNKNOWN_KEY
from worker.ledger.records_read import read_records


@dataclass(frozen=True, slots=True)
class Unknown:
    """An open unknown."""

    command_id: str
    since: int
    """UNIX ms on the ledger's clock."""
    record: Record | None
    """None if it was removed, or can't be read."""
    first_absence_at: int | None
    """UNIX ms of the first reconciliation that did not find the command at the venue; None if there was none."""


class ReconcileStore:
    """Reads and writes them with the ledger's client. Every method may raise
    :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def unknowns(self, start: int = 0, limit: int | None = None) -> list[tuple[str, int]]:
        """Open unknowns, oldest first: command id, and since when (UNIX ms on the ledger's clock). Those from the one
        numbered ``start`` (0 for the oldest) on; all of them without a ``limit``."""
        end = -1 if limit is None else start + limit - 1
        rows = cast("list[tuple[str, float]]", guarded(self._client.zrange, UNKNOWN_KEY, start, end, withscores=True))
        return [(command_id, int(since)) for command_id, since in rows]

    def count(self) -> int:
        """How many open unknowns there are."""
        return int(guarded(self._client.zcard, UNKNOWN_KEY))

    def open_unknowns(self, start: int = 0, limit: int | None = None) -> list[Unknown]:
        """As :meth:`unknowns`, with their records. Two round trips, and one more for each further page of records."""
        rows = self.unknowns(start, limit)
        ids = [command_id for command_id, _ in rows]
        absences = guarded(self._client.hmget, ABSENCES_KEY, ids) if ids else []
        records = read_records(self._client, ids)
        return [
            Unknown(command_id, since, records[command_id], _milliseconds(at))
            for (command_id, since), at in zip(rows, absences, strict=True)
        ]

    def open_unknown(self, command_id: str) -> Unknown | None:
        """One open unknown; None for a command that is none. Three round trips."""
        since = cast("float | None", guarded(self._client.zscore, UNKNOWN_KEY, command_id))
        if since is None:
            return None
        record = read_records(self._client, [command_id])[command_id]
        return Unknown(command_id, int(since), record, self.first_absence_at(command_id))

    def first_absence_at(self, command_id: str) -> int | None:
        """Since when every look at the venue has found nothing, UNIX ms; None when there was no such look."""
        return _milliseconds(guarded(self._client.hget, ABSENCES_KEY, command_id))

    def record_absence(self, command_id: str, at_ms: int) -> None:
        """Store when nothing was found, unless an earlier look found nothing as well."""
        guarded(self._client.hsetnx, ABSENCES_KEY, command_id, at_ms)

    def forget_absence(self, command_id: str) -> None:
        """Delete that time, because something was found or the command is settled."""
        guarded(self._client.hdel, ABSENCES_KEY, command_id)


def _milliseconds(stored: str | None) -> int | None:
    """A stored time; None for none, or for what is no time of this century."""
    return int(stored) if stored and stored.isascii() and stored.isdecimal() and len(stored) < 16 else None
