"""Bulkheads: how many of a worker's threads one account, or one venue's host, may hold.

A venue that hangs would else hold every thread of a worker, and the commands of all others would wait. What an account
may not have stays at the server, where other workers may take it. Some threads are kept for cancels, and as many more
for cancels and closes: of the worker's, and of what each account and each host may have.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from producers.commands import COMMANDS
from worker.broker.groups import OTHERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ALL", "REST", "AccountThreads", "Bulkhead", "Room", "full"]

Room = dict[str, dict[str, int]]
"""How many more messages may be taken, by queue and group."""

ALL = "*"
"""In place of a group: whatever the queue holds."""
REST = ""
"""In place of a group: each that is not named."""
DEFAULT_SHARE = 0.5
MAX_KNOWN_ROOMS = 256
"""How much of what was worked out is kept: the threads of a busy worker are full of the same few accounts again and
again."""
_HOST = "@"
"""Before a host's name in the name of a scope; no group has it in its name."""
_LEVELS = {"orders.cancel": 0, "orders.close": 1}
_LEVEL_OF_THE_REST, _LEVELS_IN_ALL = 2, 3
"""What reduces risk sooner has a lower level; threads that are kept for a level are kept for those below it too."""


@dataclass(frozen=True, slots=True)
class AccountThreads:
    """What a worker knows of an account here."""

    host: str
    """Where its venue is reached."""
    share: float | None = None
    """How much of a worker's threads it may have, above 0 and at most 1; None for half of them, or for all where there
    is no other account."""


@dataclass
class Bulkhead:
    """Decides what may be taken. It has no thread-safety of its own beyond that of a dictionary's single operations."""

    accounts: Mapping[str, AccountThreads]
    """By alias in lower case. Without any, nothing is limited."""
    blocked_until: dict[tuple[str, str], float] = field(default_factory=dict)
    """The groups that are blocked for a time, each with its queue."""
    _known_sizes: dict[tuple[str, int], tuple[int, ...]] = field(default_factory=dict)
    _known_rooms: dict[tuple[int, int, frozenset[Any]], list[dict[str, int]]] = field(default_factory=dict)

    def block(self, queue: str, group: str, until: float) -> None:
        """Take nothing of a group from a queue before a time (monotonic clock)."""
        key = queue, group
        self.blocked_until[key] = max(until, self.blocked_until.get(key, until))

    def next_release(self) -> float:
        """When the next group is not blocked any more, of those that are for a time; infinity for none."""
        return min(list(self.blocked_until.values()), default=math.inf)

    def room(
        self, queues: Iterable[str], threads: int, held: Iterable[tuple[str, str]], now: float, most: int = 1
    ) -> Room:
        """How many messages may be taken at once, where that is fewer than ``most``: as many as would be right if all
        were of one group.

        ``threads`` is how many the worker has, 0 for any number; ``held`` names queue and group of each message that it
        has.
        """
        found: defaultdict[str, dict[str, int]] = defaultdict(dict)
        if threads and self.accounts:
            by_level = self._room_by_level(threads, held, most)
            for queue in queues:
                room = by_level[_level(queue)]
                if queue not in COMMANDS:
                    room = {ALL: room[ALL]} if ALL in room else {}
                if room:
                    found[queue].update(room)
        for (queue, group), until in list(self.blocked_until.items()):
            if until > now:
                found[queue][group] = 0
            else:
                self.blocked_until.pop((queue, group), None)
        return dict(found)

    def _room_by_level(self, threads: int, held: Iterable[tuple[str, str]], most: int) -> list[dict[str, int]]:
        """How many commands of each level may be taken of a group, of which there are fewer than ``most``."""
        counts = Counter(held)
        known = threads, most, frozenset(counts.items())
        found = self._known_rooms.get(known)
        if found is None:
            if len(self._known_rooms) >= MAX_KNOWN_ROOMS:
                self._known_rooms.clear()
            found = self._known_rooms[known] = self._room_beside(threads, counts, most)
        return found

    def _room_beside(self, threads: int, held: Mapping[tuple[str, str], int], most: int) -> list[dict[str, int]]:
        used: defaultdict[str, list[int]] = defaultdict(lambda: [0] * _LEVELS_IN_ALL, {ALL: [0] * _LEVELS_IN_ALL})
        for (queue, group), count in held.items():
            for scope in self._scopes(queue, group):
                for level in range(_level(queue) + 1):
                    used[scope][level] += count
        found = [{REST: size} if size < most else {} for size in self._sizes(REST, threads)]
        for scope, counts in used.items():
            left = threads
            for level, (size, count) in enumerate(zip(self._sizes(scope, threads), counts, strict=True)):
                left = min(left, size - count)
                if left < most or found[level]:
                    for member in self._members(scope):
                        own = found[level].get(member, self._sizes(member, threads)[level])
                        found[level][member] = max(0, min(left, own))
        return found

    def _scopes(self, queue: str, group: str) -> Iterable[str]:
        """What a message takes a thread of: the worker, its account, its venue's host."""
        yield ALL
        if queue in COMMANDS:
            yield group
            if self._has_several_hosts and group in self.accounts:
                yield _HOST + self.accounts[group].host

    def _sizes(self, scope: str, threads: int) -> tuple[int, ...]:
        """How many threads of a scope there are for commands of each level and those above it; of ``REST`` as many as
        of the smallest group."""
        found = self._known_sizes.get((scope, threads))
        if found is None and scope == REST:
            of_groups = (self._sizes(group, threads) for group in (OTHERS, *self.accounts))
            found = self._known_sizes[scope, threads] = tuple(map(min, zip(*of_groups, strict=True)))
        elif found is None:
            size = threads
            if scope != ALL:
                size = max(max(1, int(threads * self._share(each))) for each in self._members(scope))
            found = tuple(size - level * _kept(size) for level in range(_LEVELS_IN_ALL))
            self._known_sizes[scope, threads] = found
        return found

    def _share(self, group: str) -> float:
        account = self.accounts.get(group)
        if account is not None and account.share is not None:
            return account.share
        return 1.0 if account is not None and len(self.accounts) == 1 else DEFAULT_SHARE

    def _members(self, scope: str) -> set[str]:
        """The groups that a scope is of."""
        if not scope.startswith(_HOST):
            return {scope}
        return {alias for alias, account in self.accounts.items() if _HOST + account.host == scope}

    @cached_property
    def _has_several_hosts(self) -> bool:
        return len({account.host for account in self.accounts.values()}) > 1


def _level(queue: str) -> int:
    return _LEVELS.get(queue, _LEVEL_OF_THE_REST)


def full(room: Room) -> set[tuple[str, str]]:
    """Queue and group of what nothing may be taken of."""
    return {(queue, group) for queue, groups in room.items() for group, left in groups.items() if left == 0}


def _kept(threads: int) -> int:
    """How many threads of these are kept for cancels, and how many more for cancels and closes."""
    return max(1, threads // 8) if threads >= 4 else 0
