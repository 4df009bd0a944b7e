"""Bulkheads: how many of a worker's threads one account, or one venue's host, may hold.

A venue that hangs would else hold every thread of a worker, and the commands of all others would wait. What an account
may not have stays at the server, where other workers may take it. Some threads are kept for cancels, and as many more
for cancels and closes: of the worker's, and of what each account and each host may have.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from producers.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ALL", "AccountThreads", "Bulkhead"]

ALL = "*"
"""In place of groups: nothing of the queue may be taken."""
DEFAULT_SHARE = 0.5
_HOST = "@"
"""Before a host's name in the name of a scope; no group has it in its name."""
_LEVELS = {"orders.cancel": 0, "orders.close": 1}
_LEVEL_OF_THE_REST = 2
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

    def block(self, queue: str, group: str, until: float) -> None:
        """Take nothing of a group from a queue before a time (monotonic clock)."""
        key = queue, group
        self.blocked_until[key] = max(until, self.blocked_until.get(key, until))

    def next_release(self) -> float:
        """When the next group is not blocked any more, of those that are for a time; infinity for none."""
        return min(list(self.blocked_until.values()), default=math.inf)

    def blocked(
        self, queues: Iterable[str], threads: int, held: Iterable[tuple[str, str]], now: float
    ) -> dict[str, list[str]]:
        """The groups by queue of which nothing may be taken now, :data:`ALL` for a whole queue.

        ``threads`` is how many the worker has, 0 for any number; ``held`` names queue and group of each message that it
        has.
        """
        groups: defaultdict[str, set[str]] = defaultdict(set)
        for (queue, group), until in list(self.blocked_until.items()):
            if until > now:
                groups[queue].add(group)
            else:
                self.blocked_until.pop((queue, group), None)
        full_from = self._full_levels(threads, held) if threads and self.accounts else {}
        for queue in queues if full_from else ():
            level = _LEVELS.get(queue, _LEVEL_OF_THE_REST)
            for scope, full_level in full_from.items():
                if full_level <= level and (scope == ALL or queue in COMMANDS):
                    groups[queue] |= self._members(scope)
        return {queue: [ALL] if ALL in groups[queue] else sorted(groups[queue]) for queue in groups}

    def _full_levels(self, threads: int, held: Iterable[tuple[str, str]]) -> dict[str, int]:
        """The scopes that are full for commands of some level, and the lowest such level."""
        counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (_LEVEL_OF_THE_REST + 1))
        for queue, group in held:
            level = _LEVELS.get(queue, _LEVEL_OF_THE_REST)
            for scope in self._scopes(queue, group):
                counts[scope][level] += 1
        full = {}
        for scope, by_level in counts.items():
            size = self._size(scope, threads)
            for level in range(len(by_level)):
                if sum(by_level[level:]) >= size - level * _kept(size):
                    full[scope] = level
                    break
        return full

    def _scopes(self, queue: str, group: str) -> Iterable[str]:
        """What a message takes a thread of: the worker, its account, its venue's host."""
        yield ALL
        if queue in COMMANDS:
            yield group
            if self._has_several_hosts and group in self.accounts:
                yield _HOST + self.accounts[group].host

    def _size(self, scope: str, threads: int) -> int:
        """How many threads there are for a scope."""
        if scope == ALL:
            return threads
        return max(max(1, int(threads * self._share(each))) for each in self._members(scope))

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


def _kept(threads: int) -> int:
    """How many threads of these are kept for cancels, and how many more for cancels and closes."""
    return max(1, threads // 8) if threads >= 4 else 0
