"""The counters of withdrawals in memory, for :mod:`tests.support.memory_ledger`."""

from dataclasses import dataclass, field

from worker.ledger.base import Claim
from worker.ledger.limits import Denied, Excess, Limit, counted, permitted

Entry = tuple[str, int]
"""A command's id and its amount in billionths of a unit."""


@dataclass(slots=True)
class Counters:
    """Counters by key: when each entry was counted, UNIX ms, oldest first."""

    by_key: dict[str, dict[Entry, int]] = field(default_factory=dict)

    def over_limit(self, claim: Claim, now: int) -> Denied | None:
        """The answer to a begin that a limit forbids."""
        entry = claim.command_id, counted(claim.amount)
        for limit in claim.limits:
            counter = self._current(limit, now)
            if entry in counter:
                continue
            if limit.count is not None and len(counter) >= limit.count:
                return Denied(limit, Excess.COUNT, _room_at(counter, limit, entry[1]))
            if _sum(counter) + entry[1] > permitted(limit.total):
                return Denied(limit, Excess.TOTAL, _room_at(counter, limit, entry[1]))
        return None

    def count(self, claim: Claim, now: int) -> tuple[str, ...]:
        """Count a withdrawal and return under which keys."""
        entry = claim.command_id, counted(claim.amount)
        for limit in claim.limits:
            counter = self._current(limit, now)
            counter[entry] = max(now, counter.pop(entry, now))
        return tuple(dict.fromkeys(limit.key for limit in claim.limits))

    def give_back(self, entry: Entry, keys: tuple[str, ...]) -> None:
        """Take a withdrawal out of these counters."""
        for key in keys:
            self.by_key.get(key, {}).pop(entry, None)

    def sums(self) -> dict[str, int]:
        """What is counted, in billionths, by key."""
        return {key: _sum(counter) for key, counter in self.by_key.items() if counter}

    def _current(self, limit: Limit, now: int) -> dict[Entry, int]:
        counter = self.by_key.setdefault(limit.key, {})
        for entry in [entry for entry, at in counter.items() if at <= now - limit.window_ms]:
            del counter[entry]
        return counter


def _sum(counter: dict[Entry, int]) -> int:
    return sum(amount for _, amount in counter)


def _room_at(counter: dict[Entry, int], limit: Limit, amount: int) -> int | None:
    left, size = _sum(counter), len(counter)
    for (_, counted_amount), at in counter.items():
        left, size = left - counted_amount, size - 1
        if left + amount <= permitted(limit.total) and (limit.count is None or size < limit.count):
            return at + limit.window_ms
    return None
