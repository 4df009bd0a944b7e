"""What waits beside a queue's own list: messages that are parked until they are due, and those that wait by account.

``waiting.lua`` has the keys and what they hold. Reading them changes nothing, and no message's body is read.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import redis

from worker.broker.scripts import PARKED_LOOK

PAGE = 1000
"""How many parked messages one call of the script looks at."""


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """A message that is parked. Times are UNIX ms on the broker's clock."""

    command_id: str
    """Empty where the message does not tell it."""
    waits_for: str
    """One of :class:`~worker.execution.parking.WaitsFor`."""
    group: str
    """Its account, or ``?`` for one that no worker has configured."""
    parked_at: int
    due: int


@dataclass(frozen=True, slots=True)
class ParkedGroup:
    """The messages of one account that are parked for the same reason."""

    waits_for: str
    group: str
    count: int
    oldest: int
    """Since when the one waits that has waited longest."""
    next_due: int


@dataclass(frozen=True, slots=True)
class WaitingGroup:
    """The messages of one account that wait for their turn."""

    group: str
    count: int
    next_enqueued_at: int | None
    """When the next one was enqueued; None where it does not tell it."""


@dataclass(frozen=True, slots=True)
class WaitingState:
    """What waits beside one queue's list."""

    now: int
    parked: int
    """How many are parked: those that were not read, too."""
    next_due: int | None
    groups: tuple[ParkedGroup, ...]
    messages: tuple[ParkedMessage, ...]
    """As many as were asked for, those that are due first."""
    waiting: tuple[WaitingGroup, ...]

    @property
    def reasons(self) -> Counter[str]:
        """How many of the parked messages that were read wait for what, over all accounts."""
        found = Counter[str]()
        for each in self.groups:
            found[each.waits_for] += each.count
        return found

    @property
    def overdue_ms(self) -> int:
        """How long the first has been due; 0 when none is."""
        return 0 if self.next_due is None else max(0, self.now - self.next_due)


def look(broker: redis.Redis, key: str, *, most: int = PAGE, lines: int = 0, group: str = "") -> WaitingState:
    """Look at what waits beside the queue with this key, at ``most`` parked messages of it, and of ``lines`` at their
    ids; ``group`` is the only one that is looked at. The client must not decode replies: an id may be no text.

    Raises:
        redis.RedisError, OSError: the broker can't be asked.
    """
    messages, groups, done = list[ParkedMessage](), dict[tuple[str, str], ParkedGroup](), 0
    while True:
        arguments = look_arguments(key, done, min(PAGE, most - done), max(0, lines - len(messages)), group)
        page, read = state_of(cast("list[Any]", broker.eval(*arguments)))
        messages += page.messages
        for each in page.groups:
            groups[each.waits_for, each.group] = _sum(groups.get((each.waits_for, each.group)), each)
        done += read
        if not read or done >= min(most, page.parked):
            return replace(page, groups=tuple(groups.values()), messages=tuple(messages))


def look_arguments(key: str, first: int = 0, most: int = PAGE, lines: int = 0, group: str = "") -> tuple[Any, ...]:
    """The arguments of ``EVAL`` that look at one page."""
    return PARKED_LOOK.source, 0, key, first, most, lines, group


def state_of(answer: list[Any]) -> tuple[WaitingState, int]:
    """What the script answered, and how many parked messages it has read."""
    now, parked, read, next_due, summary, shown, waiting = answer
    state = WaitingState(
        now=int(now),
        parked=parked,
        next_due=int(next_due) if next_due else None,
        groups=tuple(
            ParkedGroup(why, group, int(count), int(at), int(due)) for why, group, count, at, due in _rows(summary, 5)
        ),
        messages=tuple(
            ParkedMessage(name, why, group, int(at), int(due)) for name, why, group, at, due in _rows(shown, 5)
        ),
        waiting=tuple(WaitingGroup(name, int(count), _time(at)) for name, count, at in _rows(waiting, 3)),
    )
    return state, read


def _sum(so_far: ParkedGroup | None, more: ParkedGroup) -> ParkedGroup:
    if so_far is None:
        return more
    oldest, next_due = min(so_far.oldest, more.oldest), min(so_far.next_due, more.next_due)
    return replace(more, count=so_far.count + more.count, oldest=oldest, next_due=next_due)


def _rows(flat: list[Any], width: int) -> Iterator[list[str]]:
    """The rows of a flat list, as texts; the client may decode replies or not."""
    texts = [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in flat]
    return (texts[start : start + width] for start in range(0, len(texts), width))


def _time(text: str) -> int | None:
    """A sender's time, unless it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 and int(text) else None
