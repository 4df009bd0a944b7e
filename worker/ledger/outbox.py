"""An outbox as workers see it: which of its intents are due to be checked, and when each is due again.

Producers write intents (:mod:`producers.intents`) and have no right to :data:`~worker.ledger.keys.DUE_KEYS`, so that
none of them decides when an intent is checked. An intent is due from when a worker first saw it, by that worker's
clock; the time in it is its producer's word. Whatever a producer wrote is measured by the server before it is read.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import redis

from producers.intents import ALL_OUTBOXES, Intent, read_intent
from worker.ledger.connection import guarded
from worker.ledger.keys import DUE_KEYS

PAGE = 250
"""How many intents one script looks at: the server serves nobody else meanwhile."""
MAX_ID_BYTES = 1020
"""The longest command id: 255 characters of UTF-8."""
MAX_INTENT_BYTES = 32 * 1024
"""The longest intent that is read. Its message would be longer, and may have 64 KiB."""
DEAD_KEY = "orders:intents.dead"
"""List: JSON objects ``{"id", "bytes", "intent"}``; without ``intent`` where it was too long to be read."""

_SCHEDULE = """
-- KEYS  outbox, due times    ARGV  cursor, how many, longest id, now
local step, page = 1, redis.pcall('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2], 'NOVALUES')
if page.err then -- before Redis 7.4 and Valkey 8
  step, page = 2, redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
end
local removed = 0
for i = 1, #page[2], step do
  local id = page[2][i]
  if #id <= tonumber(ARGV[3]) then
    redis.call('ZADD', KEYS[2], 'NX', ARGV[4], id)
  else
    removed = removed + redis.call('HDEL', KEYS[1], id)
  end
end
return {page[1], removed}
"""
_DUE = """
-- KEYS  outbox, due times    ARGV  due until, how many, longest intent
local found = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])) do
  if redis.call('HEXISTS', KEYS[1], id) == 0 then
    redis.call('ZREM', KEYS[2], id)
  else
    local size = redis.call('HSTRLEN', KEYS[1], id)
    found[#found + 1] = {id, size, size <= tonumber(ARGV[3]) and redis.call('HGET', KEYS[1], id)}
  end
end
return found
"""
_BURY = """
-- KEYS  outbox, due times, dead intents    ARGV  id and what is kept of its intent, for each
local moved = {}
for i = 1, #ARGV, 2 do
  if redis.call('HDEL', KEYS[1], ARGV[i]) == 1 then
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('LPUSH', KEYS[3], ARGV[i + 1])
    moved[#moved + 1] = ARGV[i]
  end
end
return moved
"""


@dataclass(frozen=True, slots=True)
class StoredIntent:
    """An intent as it was written. Both parts may be bytes that are no text."""

    raw_id: bytes
    size: int
    """In bytes."""
    stored: bytes | None
    """None when it is longer than :data:`MAX_INTENT_BYTES`."""


class Outbox:
    """Reads and empties one outbox. Each method raises redis.RedisError or OSError when the ledger is away."""

    def __init__(self, ledger: redis.Redis, key: str) -> None:
        """``key`` is one of :data:`~producers.intents.ALL_OUTBOXES`."""
        self._ledger = ledger
        self._key, self._due_key = key, DUE_KEYS[key]

    def schedule_new(self, now_ms: int) -> int:
        """Make every intent due that no worker has seen before. Returns how many were removed because nothing so long
        is a command's id. Looks at all intents, a page at a time."""
        cursor, removed = b"0", 0
        while True:
            cursor, more = self._ask("EVAL", _SCHEDULE, 2, self._key, self._due_key, cursor, PAGE, MAX_ID_BYTES, now_ms)
            removed += int(more)
            if cursor == b"0":
                return removed

    def due(self, until_ms: int, count: int) -> list[StoredIntent]:
        """The intents that are due since ``until_ms`` or before, the longest overdue first."""
        rows = self._ask("EVAL", _DUE, 2, self._key, self._due_key, until_ms, count, MAX_INTENT_BYTES)
        return [StoredIntent(raw_id, size, stored) for raw_id, size, stored in rows]

    def postpone(self, raw_ids: Iterable[bytes], to_ms: int) -> int:
        """Make intents due at ``to_ms``. Returns for how many that changed something: not for those whose commands have
        ended."""
        pairs = [part for raw_id in raw_ids for part in (to_ms, raw_id)]
        changed: int = self._ask("ZADD", self._due_key, "XX", "CH", *pairs) if pairs else 0
        return changed

    def move_to_dead(self, intents: Iterable[StoredIntent]) -> set[bytes]:
        """Move intents to :data:`DEAD_KEY`. Returns the ids of those that were moved: not those whose commands have
        ended meanwhile."""
        pairs = [part for each in intents for part in (each.raw_id, _shown(each))]
        return set(self._ask("EVAL", _BURY, 3, self._key, self._due_key, DEAD_KEY, *pairs)) if pairs else set()

    def _ask(self, *command: Any) -> Any:
        """The server's reply as bytes."""
        return self._ledger.execute_command(*command, NEVER_DECODE=True)  # type: ignore[no-untyped-call] # redis-py's gap


def _shown(intent: StoredIntent) -> str:
    shown: dict[str, Any] = {"id": _text(intent.raw_id), "bytes": intent.size}
    return json.dumps(shown if intent.stored is None else {**shown, "intent": _text(intent.stored)})


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def intent_of(client: redis.Redis, command_id: str) -> Intent | None:
    """The intent of a command that has no end; None where there is none that can be read.

    Raises:
        LedgerUnavailable: the ledger can't be asked.
    """
    with client.pipeline(transaction=False) as pipe:
        for outbox in ALL_OUTBOXES:
            pipe.hstrlen(outbox, command_id)
        sizes = guarded(pipe.execute, False)
    for outbox, size in zip(ALL_OUTBOXES, sizes, strict=True):
        if isinstance(size, int) and 0 < size <= MAX_INTENT_BYTES:
            try:  # a sender may have stored what is no UTF-8
                return read_intent(command_id, str(guarded(client.hget, outbox, command_id)))
            except (ValueError, KeyError, TypeError, RecursionError):
                return None
    return None
