"""Cool-downs, for those who look at them and end them: the times until which no request is sent to an account, or to
any account at a host.

``pacing.lua`` writes them and heeds them, in the steps in which attempts end and begin.
"""

import json
from dataclasses import dataclass

import redis

from producers.exact_json import check_bounds
from worker.ledger.connection import guarded
from worker.ledger.journal_writer import JournalWriter, entry_fields
from worker.ledger.keys import COOL_DOWNS_KEY

MAX_STORED_CHARACTERS = 16 * 1024


@dataclass(frozen=True, slots=True)
class StoredCoolDown:
    """A cool-down that is running, or over and not known to have helped: one attempt is made first then."""

    key: str
    """The :attr:`~worker.ledger.pacing.Pace.bucket` or :attr:`~worker.ledger.pacing.Pace.host` that it holds for."""
    until_ms: int
    """UNIX ms on the ledger's clock."""
    left_ms: int
    """How long it lasts yet; 0 when it is over."""
    since_ms: int
    """When it began, or was begun anew by a failed probe, UNIX ms on the ledger's clock."""
    by_address: bool
    why: str
    """Both are as in :class:`~worker.ledger.pacing.CoolDown`."""
    probe: bool
    """Whether an attempt is under way that shows if the venue answers again."""


class CoolDowns:
    """The cool-downs at the ledger's server. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._journal = JournalWriter(client)

    def all(self) -> list[StoredCoolDown]:
        """Every cool-down, those that end last at first, without those that can't be read: no begin heeds them."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hgetall(COOL_DOWNS_KEY)
            pipe.time()
            stored, (seconds, microseconds) = guarded(pipe.execute)
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        found = [_stored(key, text, now_ms) for key, text in stored.items()]
        return sorted((each for each in found if each), key=lambda each: (-each.until_ms, each.key))

    def lift(self, key: str, *, who: str, why: str) -> bool:
        """End the cool-down of this bucket or host, so that attempts begin at once; False when there is none."""
        entry = entry_fields("cool_down_lifted", key=key, who=who, why=why)
        return self._journal.write_all([entry], COOL_DOWNS_KEY, "HDEL", key) == 1


def _stored(key: str, text: str, now_ms: int) -> StoredCoolDown | None:
    try:
        check_bounds(text, MAX_STORED_CHARACTERS)
        stored = json.loads(text)
        until, since, why = int(stored["until"]), int(stored["since"]), str(stored["why"])
        by_address = stored["by_address"] is True
        probe = bool(stored["probe"]) and int(stored["probe_until"]) > now_ms
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return StoredCoolDown(key, until, max(0, until - now_ms), since, by_address, why, probe)
