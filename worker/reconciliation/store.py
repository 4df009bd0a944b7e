"""What a reconcile keeps and finds in the ledger's database beside the records: open unknowns, and first absences.

Keys: ``orders:unknown`` is the ledger's; ``orders:looks`` is a hash of command id to when nothing was found at the
venue for the first time (UNIX ms), so that two runs, in whichever process, count as two looks.
"""

from typing import cast

import redis

from worker.ledger.connection import guarded
from worker.ledger.keys import ABSENCES_KEY, UNKNOWN_KEY


class ReconcileStore:
    """Over the ledger's client. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

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
        """Remember that nothing was found, unless an earlier look has found nothing already."""
        guarded(self._client.hsetnx, ABSENCES_KEY, command_id, at_ms)

    def forget_absence(self, command_id: str) -> None:
        """Forget it, because something was found or the command is settled."""
        guarded(self._client.hdel, ABSENCES_KEY, command_id)
