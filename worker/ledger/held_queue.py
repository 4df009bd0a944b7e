"""The commands that are held for approval, by when their messages are published again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import redis

from worker.ledger.connection import guarded
from worker.ledger.keys import HELD_KEY, RECORD_KEY

LOCK_KEY = "orders:releasing"
PAGE = 100
"""How many commands one call reads."""


@dataclass(frozen=True, slots=True)
class DueCommand:
    """A command whose message is to be published again."""

    command_id: str
    message: str
    """As :class:`~worker.ledger.holds.Hold` has it; empty when the record has none."""


class HeldQueue:
    """Reads and moves the queue. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def lock(self, milliseconds: int) -> bool:
        """Whether no other worker has looked for that long."""
        return bool(guarded(self._client.set, LOCK_KEY, "1", nx=True, px=milliseconds))

    def now_ms(self) -> int:
        """UNIX ms on the ledger's clock, by which holds end."""
        seconds, microseconds = guarded(self._client.time)
        return int(seconds) * 1000 + int(microseconds) // 1000

    def due(self, now_ms: int) -> list[DueCommand]:
        """The first page of the commands that are due. Those that are not held any more are taken out."""
        ids = cast("list[str]", guarded(self._client.zrangebyscore, HELD_KEY, "-inf", now_ms, 0, PAGE))
        found = []
        for command_id, state, message in self._records(ids):
            if state == "HELD":
                found.append(DueCommand(command_id, message or ""))
            else:
                guarded(self._client.zrem, HELD_KEY, command_id)
        return found

    def _records(self, ids: list[str]) -> Iterator[tuple[str, str | None, str | None]]:
        with self._client.pipeline(transaction=False) as pipe:
            for command_id in ids:
                pipe.hmget(RECORD_KEY.format(command_id), "state", "message")
            rows = guarded(pipe.execute, False) if ids else []
        for command_id, row in zip(ids, rows, strict=True):
            yield (command_id, *((None, None) if isinstance(row, Exception) else row))

    def postpone(self, command_id: str, to_ms: int) -> None:
        """Publish this command's message again at a later time, unless it is begun or ended by then."""
        guarded(self._client.zadd, HELD_KEY, {command_id: to_ms}, xx=True)

    def ids(self, limit: int = 10_000) -> list[str]:
        """The ids of held commands, those that are published first at first."""
        return cast("list[str]", guarded(self._client.zrange, HELD_KEY, 0, limit - 1))
