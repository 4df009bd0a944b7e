"""Reading a venue's list whole, however long it is, once for everybody who needs something of it.

How many records a venue shows at most, and in which order, no page of it tells. So a list is whole only when a read
shows that there is no more: its end (or its start, where the oldest come first) is moved to the last record seen, and
asked again until nothing new comes. Times overlap by a millisecond, for whether a venue takes its times as inclusive is
not told either. A list that is in no order of time is read in halves.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

SURE = 10
"""No venue that is asked for a hundred records shows fewer than this when it has more."""
CROWD = 50
"""So many records of one moment may be more than a venue shows; an order that is filled in a dozen parts is none."""
READS = 1000
"""Of one list in one run; a venue without a limit for reads must not be asked without end."""

UNHEEDED = "shows records of other times than it is asked for, and may have more"

Span = tuple[int, int]
"""Two times, UNIX ms, both included."""


class Timed(Protocol):
    """A record of a list."""

    @property
    def key(self) -> Hashable:
        """What tells it from every other of its list."""

    @property
    def time(self) -> int:
        """When it was made, UNIX ms on the venue's clock."""


T = TypeVar("T", bound=Timed)


@dataclass(frozen=True, slots=True)
class Gap:
    """A time of which a list may lack records."""

    span: Span
    why: str
    """After the list's name, as a sentence."""


def merged(spans: Sequence[Span]) -> list[Span]:
    """The same times, in order and none of them twice."""
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def whole(
    spans: Sequence[Span], read: Callable[[int, int], Sequence[T]], reads: int = READS
) -> tuple[list[T], list[Gap]]:
    """Every record of the spans (and maybe some of other times), and where there may be more.

    ``read`` asks the venue for the list between two times. Each read covers what it can: of a list that is short as a
    whole, spans of a whole night cost no more than one.
    """
    return _Walk(merged(spans), read, reads).made()


class _Walk(Generic[T]):
    """One list, read by read."""

    def __init__(self, spans: list[Span], read: Callable[[int, int], Sequence[T]], reads: int) -> None:
        self._spans = spans
        self._read = read
        self._left = reads
        self._found: dict[Hashable, T] = {}
        self._gaps: list[Gap] = []
        self._longest = 0
        self._newest_first: bool | None = None

    def made(self) -> tuple[list[T], list[Gap]]:
        """Read it."""
        todo = [(self._spans[0][0], self._spans[-1][1])] if self._spans else []
        while todo:
            span = self._needed(todo.pop())
            if span is not None:
                todo += self._rest(span)
        return [*self._found.values()], self._gaps

    def _needed(self, span: Span) -> Span | None:
        """What of it is asked for, from the first to the last."""
        inside = [each for each in self._spans if each[0] <= span[1] and each[1] >= span[0]]
        if not inside or span[0] > span[1]:
            return None
        return max(span[0], inside[0][0]), min(span[1], inside[-1][1])

    def _rest(self, span: Span) -> list[Span]:
        """Read this; what may hold more afterwards."""
        low, high = span
        if self._left <= 0:
            return self._gap(span, "has more records of that time than it is asked for in one run")
        self._left -= 1
        page = self._read(low, high)
        times = [row.time for row in page]
        is_new = any(row.key not in self._found for row in page)
        self._found.update((row.key, row) for row in page)
        self._longest = max(self._longest, len(page))
        if len(page) < 2:
            return []
        last, newest_first = times[-1], times == sorted(times, reverse=True)
        heeded = all(low - 1 <= time <= high + 1 for time in times)
        if not newest_first and times != sorted(times):
            return self._halves(span, len(page), heeded=heeded)
        if times[0] != last:
            self._newest_first = newest_first
        if is_new:
            return self._beyond(span, last + 1, last - 1) or [(low, last), (last, high)]
        if len(page) < max(SURE, self._longest):
            return []
        if not heeded:
            return self._gap(span, UNHEEDED)
        if len(page) >= CROWD:
            self._gap((last - 1, last + 1), f"has {len(page)} or more records of one moment, and shows no more")
        # A millisecond less, until it shows what is before or after that moment.
        before, after = (low, min(high - 1, last - 1)), (max(low + 1, last + 1), high)
        return self._beyond(span, min(high - 1, last + 1), max(low + 1, last - 1)) or [before, after]

    def _beyond(self, span: Span, end: int, start: int) -> list[Span]:
        """What a page leaves of a span: up to an end, or from a start on, as the list is ordered; nothing while that is
        not known, for all that it has shown is of one moment."""
        if self._newest_first is None:
            return []
        return [(span[0], min(span[1], end)) if self._newest_first else (max(span[0], start), span[1])]

    def _halves(self, span: Span, shown: int, *, heeded: bool) -> list[Span]:
        low, high = span
        if shown < SURE:
            return []
        if not heeded:
            return self._gap(span, UNHEEDED)
        if high - low < 4:
            return self._gap(span, "has more records of one moment than it shows") if shown >= CROWD else []
        middle = (low + high) // 2
        return [(low, middle + 1), (middle, high)]

    def _gap(self, span: Span, why: str) -> list[Span]:
        self._gaps.append(Gap(span, why))
        return []
