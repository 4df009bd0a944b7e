"""What a reconcile keeps and finds in the ledger's database beside the records: open unknowns, first looks, rivals.

Keys: ``orders:unknown`` and ``orders:journal`` are the ledger's; ``orders:looks`` is a hash of command id to when
nothing was found at the venue for the first time (UNIX ms), so that two runs, in whichever process, count as two looks.
"""

import sys
from bisect import bisect_left
from collections.abc import Collection
from typing import Any, cast

import redis

from worker.ledger.connection import guarded
from worker.ledger.keys import ABSENCES_KEY, JOURNAL_KEY, UNKNOWN_KEY

PAGE = 1000
KEPT_MS = 3_600_000
"""How far back before what was asked for last the journal is remembered in a run."""


class ReconcileStore:
    """Over the ledger's client. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def unknowns(self) -> list[tuple[str, int]]:
        """Open unknowns, oldest first: command id, and since when (UNIX ms on the ledger's clock)."""
        rows = cast("list[tuple[str, float]]", guarded(self._client.zrange, UNKNOWN_KEY, 0, -1, withscores=True))
        return [(command_id, int(since)) for command_id, since in rows]

    def first_absence_at(self, command_id: str) -> int | None:
        """When nothing was found for the first time, and in every look since; UNIX ms."""
        at = cast("str | None", guarded(self._client.hget, ABSENCES_KEY, command_id))
        return int(at) if at else None

    def record_absence(self, command_id: str, at_ms: int) -> None:
        """Nothing was found; the first look stands."""
        guarded(self._client.hsetnx, ABSENCES_KEY, command_id, at_ms)

    def forget_absence(self, command_id: str) -> None:
        """Something was found, or the command is settled."""
        guarded(self._client.hdel, ABSENCES_KEY, command_id)

    def begun(self) -> "Begun":
        """The sends that the journal knows of, for one run."""
        return Begun(self._client)

    def begun_between(self, start_ms: int, end_ms: int, command: str, accounts: Collection[str]) -> list[str] | None:
        """As :meth:`Begun.between`, read anew."""
        return self.begun().between(start_ms, end_ms, command, accounts)


class Begun:
    """Sends that have begun, by the journal. It is only ever added to, so what was read once is not read again."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._start = 0
        self._read_to = ""
        self._begun: list[tuple[int, str, tuple[str, str] | None]] = []

    def between(self, start_ms: int, end_ms: int, command: str, accounts: Collection[str]) -> list[str] | None:
        """Ids of commands of these accounts that may have begun a send in this time, by the journal; None when it
        reaches back no more.

        Every attempt writes its begin. An entry that names neither command nor account (a record that was lost and put
        back) counts too: whoever asks reads the records anyway.

        Raises:
            LedgerUnavailable: the journal can't be asked.
        """
        if not self._reaches(start_ms):
            return None
        self._read(start_ms, end_ms)
        first, behind = bisect_left(self._begun, (start_ms,)), bisect_left(self._begun, (end_ms + 1,))
        wanted = {(command, account) for account in accounts}
        ids: dict[str, None] = {}
        unnamed: dict[str, None] = {}
        others: set[str] = set()
        for _, command_id, named in self._begun[first:behind]:
            if named in wanted:
                ids[command_id] = None
            elif named is None:
                unnamed[command_id] = None
            else:
                others.add(command_id)
        return [*ids, *(each for each in unnamed if each not in ids and each not in others)]

    def _read(self, start_ms: int, end_ms: int) -> None:
        """Read what of this time has not been read. What is long before is forgotten: a run begins with the oldest."""
        read_to = int(self._read_to.partition("-")[0] or 0)
        if not self._start <= start_ms <= read_to:
            self._start, self._read_to, self._begun, read_to = start_ms, "", [], 0
        begin = f"({self._read_to}" if self._read_to else str(max(0, start_ms))
        kept = bisect_left(self._begun, (start_ms - KEPT_MS,))
        self._start, self._begun = max(self._start, start_ms - KEPT_MS), self._begun[kept:]
        while read_to <= end_ms:
            page = cast(
                "list[tuple[str, dict[str, str]]]",
                guarded(self._client.xrange, JOURNAL_KEY, begin, str(end_ms), count=PAGE),
            )
            for position, fields in page:
                if fields["id"]:  # else it is a halt or its end, which is of no command
                    named = (sys.intern(fields["command"]), fields["account"]) if "command" in fields else None
                    self._begun.append((int(position.partition("-")[0]), fields["id"], named))
            if page:
                self._read_to = page[-1][0]
            if len(page) < PAGE:
                return
            begin = f"({self._read_to}"

    def _reaches(self, start_ms: int) -> bool:
        """Whether nothing of that time has been trimmed from the journal."""
        if not guarded(self._client.exists, JOURNAL_KEY):
            return True
        told = cast("dict[str, Any]", guarded(self._client.xinfo_stream, JOURNAL_KEY))
        if told.get("entries-added") == told["length"]:  # Redis 7 and later: nothing was ever trimmed
            return True
        first = told.get("first-entry")
        return first is not None and int(str(first[0]).partition("-")[0]) <= start_ms
