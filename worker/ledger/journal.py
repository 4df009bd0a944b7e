"""The ledger's journal: every move of every command, and what operators did, in a stream that is only ever added to."""

import sys
from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, cast

import redis

from worker.ledger.connection import guarded
from worker.ledger.keys import JOURNAL_KEY

FOLLOW_SECONDS = 1.0
"""How long one call waits for new entries."""
PAGE_SIZE = 500
"""How many entries one call reads for a person."""
BEGUN_PAGE_SIZE = 1000
"""How many entries one call reads in a search for sends."""
CACHED_MS = 3_600_000
"""For how long before the start of its last search :class:`BegunSends` keeps what it has read."""
NO_SENDS = frozenset({"cool_down", "pacing_repaired", "webhook_failed", "webhook_resent", "dead_resend", "dead_drop"})
"""Events by which no command begins: about an account, where the id is of whoever caused them, also of queries, which
have no record; about dead letters; and about a report that was sent on."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of the journal."""

    position: str
    """Its id in the stream, ``<UNIX ms on the ledger's clock>-<number>``."""
    fields: dict[str, str]
    """``event``, ``id``, ``token``, ``outcome``, and what the event adds."""

    @property
    def at(self) -> int:
        """UNIX ms."""
        return _ms(self.position)


class Journal:
    """Reads the journal. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def entries(self, command_id: str | None = None, last: int | None = None) -> list[JournalEntry]:
        """Entries, oldest first; of one command, or the ``last`` of all."""
        found: list[JournalEntry] = []
        end = "+"
        while last is None or len(found) < last:
            page = _entries(guarded(self._client.xrevrange, JOURNAL_KEY, end, "-", count=PAGE_SIZE))
            found += [entry for entry in page if command_id in (None, entry.fields.get("id"))]
            if len(page) < PAGE_SIZE:
                break
            end = f"({page[-1].position}"
        return list(reversed(found[:last]))

    def follow(self, after: str = "0-0", command_id: str | None = None) -> Iterator[JournalEntry | None]:
        """Entries behind the position ``after``, for ever; None about once a second while there are none."""
        while True:
            reply = guarded(self._client.xread, {JOURNAL_KEY: after}, count=PAGE_SIZE, block=int(FOLLOW_SECONDS * 1000))
            page = _entries(reply[0][1]) if reply else []
            if not page:
                yield None
            for entry in page:
                after = entry.position
                if command_id in (None, entry.fields.get("id")):
                    yield entry

    def reaches(self, start_ms: int) -> bool:
        """Whether nothing of that time has been trimmed from the journal."""
        return _reaches(self._client, start_ms)

    def begun_sends(self) -> "BegunSends":
        """A search for sends that have begun, which reads each entry once however often it is asked."""
        return BegunSends(self._client)


class BegunSends:
    """Searches the journal for sends that have begun, and keeps what it has read."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._start_ms = 0
        self._read_to = ""
        """The position of the last entry that was read."""
        self._begun: list[tuple[int, str, tuple[str, str] | None]] = []
        """By time: when, the command's id, and which command of which account where the entry names them."""

    def between(self, start_ms: int, end_ms: int, command: str, accounts: Collection[str]) -> list[str] | None:
        """Ids of commands of these accounts that may have begun a send in this time; None when that part of the
        journal has been trimmed.

        Every attempt writes its begin. An entry that names neither command nor account (a record that was lost and put
        back) counts too: the caller reads the records.

        Raises:
            LedgerUnavailable: the journal can't be asked.
        """
        if not _reaches(self._client, start_ms):
            return None
        self._read(start_ms, end_ms)
        first, behind = bisect_left(self._begun, (start_ms,)), bisect_left(self._begun, (end_ms + 1,))
        searched = {(command, account) for account in accounts}
        ids: dict[str, None] = {}
        unnamed: dict[str, None] = {}
        others: set[str] = set()
        for _, command_id, named in self._begun[first:behind]:
            if named in searched:
                ids[command_id] = None
            elif named is None:
                unnamed[command_id] = None
            else:
                others.add(command_id)
        return [*ids, *(each for each in unnamed if each not in ids and each not in others)]

    def _read(self, start_ms: int, end_ms: int) -> None:
        """Read the entries of this time that have not been read, and forget those that are long before it: a reconcile
        searches for its oldest command first."""
        read_to_ms = _ms(self._read_to)
        if not self._start_ms <= start_ms <= read_to_ms:
            self._start_ms, self._read_to, self._begun, read_to_ms = start_ms, "", [], 0
        begin = f"({self._read_to}" if self._read_to else str(max(0, start_ms))
        oldest_ms = start_ms - CACHED_MS
        self._begun = self._begun[bisect_left(self._begun, (oldest_ms,)) :]
        self._start_ms = max(self._start_ms, oldest_ms)
        while read_to_ms <= end_ms:
            page = cast(
                "list[tuple[str, dict[str, str]]]",
                guarded(self._client.xrange, JOURNAL_KEY, begin, str(end_ms), count=BEGUN_PAGE_SIZE),
            )
            for position, fields in page:
                if fields["id"] and fields.get("event") not in NO_SENDS:  # a halt and its end have no id
                    named = (sys.intern(fields["command"]), fields["account"]) if "command" in fields else None
                    self._begun.append((_ms(position), fields["id"], named))
            if page:
                self._read_to = page[-1][0]
            if len(page) < BEGUN_PAGE_SIZE:
                return
            begin = f"({self._read_to}"


def _reaches(client: redis.Redis, start_ms: int) -> bool:
    if not guarded(client.exists, JOURNAL_KEY):
        return True
    stream = cast("dict[str, Any]", guarded(client.xinfo_stream, JOURNAL_KEY))
    if stream.get("entries-added") == stream["length"]:  # Redis 7 and later: nothing was ever trimmed
        return True
    first = stream.get("first-entry")
    return first is not None and _ms(str(first[0])) <= start_ms


def _entries(rows: Any) -> list[JournalEntry]:
    return [JournalEntry(position, dict(fields)) for position, fields in rows]


def _ms(position: str) -> int:
    """The time in a position of the stream, UNIX ms; 0 for none."""
    return int(position.partition("-")[0] or 0)
