"""Searches through the journal whose entries the server picks out, because sending all of them would take ten times as
long. Each call of a script looks at one page, so that the server serves others in between."""

from collections.abc import Iterator
from dataclasses import dataclass

import redis

from producers.redis.direct import DirectClient
from worker.ledger.connection import guarded
from worker.ledger.journal import JournalEntry
from worker.ledger.keys import JOURNAL_KEY, RECORD_KEY

PAGE_SIZE = 500
"""How many entries one call looks at."""
ENDS = frozenset({"settle", "refuse", "abandon", "resolve"})
"""Events after which a command has an outcome."""

_OF_COMMAND = """
-- KEYS  journal    ARGV  start, how many, command id
-- Returns how many entries were looked at, the position of the last of them, and those of the command.
local page, found = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2]), {}
for _, entry in ipairs(page) do
  local fields = entry[2]
  for at = 1, #fields, 2 do
    if fields[at] == 'id' then
      if fields[at + 1] == ARGV[3] then found[#found + 1] = entry end
      break
    end
  end
end
return {#page, page[#page] and page[#page][1] or '', found}
"""
_BACKWARDS = """
-- KEYS  journal    ARGV  end, start, how many, command, account in lower case, beginning of the id; all may be empty;
--                        the beginning of a record's key
-- Returns how many entries were looked at, the position of the last of them, and of each that begins or ends a command
-- which these do not rule out: position, event, id, outcome, command, account, and '1' for one that may begin it.
local command, account, prefix = ARGV[4], ARGV[5], ARGV[6]
local begins = {held = true, begin = true, refuse = true}
local ends = {settle = true, refuse = true, abandon = true, resolve = true}
local page, found, begun, turns = redis.call('XREVRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3]), {}, {}, {}
for _, entry in ipairs(page) do
  local is = {event = '', id = '', outcome = '', command = '', account = ''}
  for at = 1, #entry[2], 2 do
    local name = entry[2][at]
    if name == 'seq' then break end
    if is[name] then is[name] = entry[2][at + 1] end
  end
  begun[is.id] = begun[is.id] or begins[is.event]
  if is.id ~= '' and (begins[is.event] or ends[is.event]) and is.id:sub(1, #prefix) == prefix
      and (command == '' or is.command == '' or is.command == command)
      and (account == '' or is.account == '' or is.account:lower() == account) then
    turns[#turns + 1] = {entry[1], is.event, is.id, is.outcome, is.command, is.account, begins[is.event] and '1' or ''}
  end
end
for _, turn in ipairs(turns) do
  -- A settle is the first entry of a command where the server had lost the record, with its begin: no other leaves a
  -- record without an attempt.
  if turn[2] == 'settle' and not begun[turn[3]] then
    local record = redis.pcall('HMGET', ARGV[7] .. turn[3], 'tries', 'first_begun_at')
    if not record.err and record[1] == '0' and not record[2] then turn[7] = '1' end
  end
  for _, part in ipairs(turn) do found[#found + 1] = part end
end
return {#page, page[#page] and page[#page][1] or '', found}
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """An entry by which a command begins or ends."""

    position: str
    at: int
    """UNIX ms."""
    event: str
    command_id: str
    outcome: str
    """Empty where the command does not end by it."""
    command: str
    account: str
    """Both are empty where the entry does not tell."""
    opens: bool
    """Whether the command may have entered the journal by it."""


@dataclass(frozen=True, slots=True)
class TurnPage:
    """What one call has found."""

    looked_at: int
    last: str
    """The position of the last entry that was looked at."""
    turns: tuple[Turn, ...]
    """The last one first."""


class JournalSearch:
    """Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        """``client`` decodes replies."""
        self._direct = DirectClient(client)
        self._of_command = client.register_script(_OF_COMMAND)
        self._backwards = client.register_script(_BACKWARDS)

    def of_command(self, command_id: str, start_ms: int = 0, page_size: int = PAGE_SIZE) -> Iterator[JournalEntry]:
        """The entries of a command from a time on, oldest first."""
        script, start = self._of_command, str(max(0, start_ms))
        while True:
            arguments = (start, page_size, command_id)
            looked_at, last, rows = guarded(self._direct.script, script.script, script.sha, [JOURNAL_KEY], arguments)
            for position, fields in rows:
                yield JournalEntry(position, dict(zip(fields[::2], fields[1::2], strict=True)))
            if looked_at < page_size:
                return
            start = f"({last}"

    def backwards(
        self, before: str = "", start_ms: int = 0, *, command: str = "", account: str = "", id_prefix: str = ""
    ) -> Iterator[TurnPage]:
        """Pages of the turns before a position and not before a time, the last one first, without those that the
        arguments rule out; an entry that does not name its command or account is not ruled out by them."""
        script, end = self._backwards, f"({before}" if before else "+"
        more = command, account.lower(), id_prefix, RECORD_KEY.format("")
        while True:
            arguments = (end, max(0, start_ms), PAGE_SIZE, *more)
            looked_at, last, flat = guarded(self._direct.script, script.script, script.sha, [JOURNAL_KEY], arguments)
            yield TurnPage(looked_at, last, tuple(_turn(*flat[at : at + 7]) for at in range(0, len(flat), 7)))
            if looked_at < PAGE_SIZE:
                return
            end = f"({last}"


def _turn(position: str, event: str, command_id: str, outcome: str, command: str, account: str, opens: str) -> Turn:
    at = int(position.partition("-")[0])
    return Turn(position, at, event, command_id, outcome, command, account, opens == "1")
