"""The commands that are held for approval, by when their messages are published again."""

from dataclasses import dataclass
from typing import cast

import redis

from worker.ledger.connection import guarded
from worker.ledger.keys import HELD_KEY, RECORD_KEY

LOCK_KEY = "orders:releasing"
PAGE = 100
"""How many commands one call reads."""

_DUE = """
-- One step: a command that is held between a look at its record and the removal would never be published again.
-- KEYS  held commands    ARGV  due until, how many, what the key of a record begins with
local found = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
  local record = redis.pcall('HMGET', ARGV[3] .. id, 'state', 'message')
  if record[1] == 'HELD' then
    found[#found + 1] = {id, record[2] or ''}
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return found
"""


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
        rows = guarded(self._client.eval, _DUE, 1, HELD_KEY, now_ms, PAGE, RECORD_KEY.format(""))
        return [DueCommand(command_id, message) for command_id, message in rows]

    def postpone(self, command_id: str, to_ms: int) -> None:
        """Publish this command's message again at a later time, unless it is begun or ended by then."""
        guarded(self._client.zadd, HELD_KEY, {command_id: to_ms}, xx=True)

    def ids(self, limit: int = 10_000) -> list[str]:
        """The ids of held commands, those that are published first at first."""
        return cast("list[str]", guarded(self._client.zrange, HELD_KEY, 0, limit - 1))
