"""The data of reconciles in the ledger's database, beside the records: open unknowns, and first absences.

The ledger writes ``orders:unknown``. ``orders:looks`` is a hash of command id to when nothing was found at the venue
for the first time (UNIX ms), so that two runs count as two looks, in one process or two.
"""

from typing import cast

import redis

from worker.ledger.connection import guarded
from worker.ledger.keys import ABSENCES_KEY, UNKNOWN_KEY


class ReconcileStore:
    """Reads and writes them with the ledger's client. Every method may raise
    :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def unknowns(self) -> list[tuple[str, int]]:
        """Open unknowns, oldest first: command id, and since when (UNIX ms on the ledger's clock)."""
        rows = cast("list[tuple[str, float]]", guarded(self._client.zrange, UNKNOWN_KEY, 0, -1, withscores=True))
        return [(command_id, int(since)) for command_id, since in rows]

    def first_absence_at(self, command_id: str) -> int | None:
        """Since when every look at the venue has found nothing, UNIX ms; None when there was no such look."""
        at = cast("str | None", guarded(self._client.hget, ABSENCES_KEY, command_id))
        return int(at) if at else None

    def record_absence(self, command_id: str, at_ms: int) -> None:
        """Store when nothing was found, unless an earlier look found nothing as well."""
        guarded(self._client.hsetnx, ABSENCES_KEY, command_id, at_ms)

    def forget_absence(self, command_id: str) -> None:
        """Delete that time, because something was found or the command is settled."""
        guarded(self._client.hdel, ABSENCES_KEY, command_id)
