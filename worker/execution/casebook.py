"""What a reconcile keeps and finds in the ledger's database beside the records: open unknowns, first looks, rivals.

Keys: ``orders:unknown`` and ``orders:journal`` are the ledger's; ``orders:looks`` is a hash of command id to when
nothing was found at the venue for the first time (UNIX ms), so that two runs, in whichever process, count as two looks.
"""

from collections.abc import Collection, Iterable
from typing import Any, cast

import redis

from worker.execution.redis_ledger import JOURNAL_KEY, UNKNOWN_KEY, guarded

LOOKS_KEY = "orders:looks"
PAGE = 1000


class Casebook:
    """Over the ledger's client. Every method may raise :class:`~worker.execution.ledger.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def unknowns(self) -> list[tuple[str, int]]:
        """Open unknowns, oldest first: command id, and since when (UNIX ms on the ledger's clock)."""
        rows = cast("list[tuple[str, float]]", guarded(self._client.zrange, UNKNOWN_KEY, 0, -1, withscores=True))
        return [(command_id, int(since)) for command_id, since in rows]

    def first_look(self, command_id: str) -> int | None:
        """When nothing was found for the first time, and in every look since; UNIX ms."""
        at = cast("str | None", guarded(self._client.hget, LOOKS_KEY, command_id))
        return int(at) if at else None

    def note_look(self, command_id: str, at_ms: int) -> None:
        """Nothing was found; the first look stands."""
        guarded(self._client.hsetnx, LOOKS_KEY, command_id, at_ms)

    def forget_look(self, command_id: str) -> None:
        """Something was found, or the command is settled."""
        guarded(self._client.hdel, LOOKS_KEY, command_id)

    def begun_between(self, start_ms: int, end_ms: int, command: str, accounts: Collection[str]) -> list[str] | None:
        """Ids of commands of these accounts that may have begun a send in this time, by the journal; None when it
        reaches back no more.

        Every attempt writes its begin. An entry that names neither command nor account (a record that was lost and put
        back) counts too: whoever asks reads the records anyway.
        """
        if not self._reaches(start_ms):
            return None
        others: set[str] = set()
        ids: dict[str, None] = {}
        for fields in self._entries(start_ms, end_ms):
            command_id = fields["id"]
            if not command_id:
                continue  # a halt or its end, which is of no command
            if "command" in fields and (fields["command"] != command or fields["account"] not in accounts):
                others.add(command_id)
            else:
                ids[command_id] = None
        return [command_id for command_id in ids if command_id not in others]

    def _reaches(self, start_ms: int) -> bool:
        """Whether nothing of that time has been trimmed from the journal."""
        if not guarded(self._client.exists, JOURNAL_KEY):
            return True
        told = cast("dict[str, Any]", guarded(self._client.xinfo_stream, JOURNAL_KEY))
        if told.get("entries-added") == told["length"]:  # Redis 7 and later: nothing was ever trimmed
            return True
        first = told.get("first-entry")
        return first is not None and int(str(first[0]).partition("-")[0]) <= start_ms

    def _entries(self, start_ms: int, end_ms: int) -> Iterable[dict[str, str]]:
        begin = str(max(0, start_ms))
        while True:
            page = cast(
                "list[tuple[str, dict[str, str]]]",
                guarded(self._client.xrange, JOURNAL_KEY, begin, str(end_ms), count=PAGE),
            )
            for _, fields in page:
                yield fields
            if len(page) < PAGE:
                return
            begin = f"({page[-1][0]}"
