"""Reads a venue's list completely, however long it is, once for everybody who needs part of it.

No page of a venue states how many records it shows at most, and in which order. A list is therefore complete only when
a read shows that there is no more: its end (or its start, if the oldest records come first) is moved to the last record
seen, and the list is read again until nothing new appears. Spans overlap by a millisecond, because it is not documented
either whether the venue includes the times it is given. A list that is not ordered by time is read in halves.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

MIN_PAGE_SIZE = 10
"""When a hundred records are requested and more exist, no venue shows fewer than this."""
FULL_MOMENT_SIZE = 50
"""So many records of one millisecond may be more than a venue shows; an order filled in a dozen parts has far fewer."""
MAX_READS = 1000
"""The limit for the reads of one list in one run, because a venue without a rate limit must not be read for ever."""

TIMES_IGNORED = "shows records of other times than it is asked for, and may have more"

Span = tuple[int, int]
"""Two times, UNIX ms, both included."""


class Timed(Protocol):
    """A record of a list."""

    @property
    def key(self) -> Hashable:
        """What identifies it in its list."""

    @property
    def time(self) -> int:
        """When it was made, UNIX ms on the venue's clock."""


T = TypeVar("T", bound=Timed)


@dataclass(frozen=True, slots=True)
class Gap:
    """A span in which records of a list may be missing."""

    span: Span
    reason: str
    """A sentence whose subject is the name of the list."""


def merge_spans(spans: Sequence[Span]) -> list[Span]:
    """The same times in order, without overlaps."""
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def read_completely(
    spans: Sequence[Span], read: Callable[[int, int], Sequence[T]], max_reads: int = MAX_READS
) -> tuple[list[T], list[Gap]]:
    """Every record of the spans, perhaps with some of other times, and the gaps in which records may be missing.

    ``read`` reads the list between two times. Each read covers as much as possible: a list that is short altogether
    takes one read, even if the spans are those of a whole night.
    """
    return _Reading(merge_spans(spans), read, max_reads).run()


class _Reading(Generic[T]):
    """The reads of one list, and what they have found."""

    def __init__(self, spans: list[Span], read: Callable[[int, int], Sequence[T]], max_reads: int) -> None:
        self._spans = spans
        self._read = read
        self._reads_left = max_reads
        self._found: dict[Hashable, T] = {}
        self._gaps: list[Gap] = []
        self._longest_page = 0
        self._newest_first: bool | None = None

    def run(self) -> tuple[list[T], list[Gap]]:
        """Read until nothing is pending."""
        pending = [(self._spans[0][0], self._spans[-1][1])] if self._spans else []
        while pending:
            span = self._narrowed(pending.pop())
            if span is not None:
                pending += self._read_span(span)
        return [*self._found.values()], self._gaps

    def _narrowed(self, span: Span) -> Span | None:
        """The part of a span from the first to the last requested time; None when none of it was requested."""
        inside = [each for each in self._spans if each[0] <= span[1] and each[1] >= span[0]]
        if not inside or span[0] > span[1]:
            return None
        return max(span[0], inside[0][0]), min(span[1], inside[-1][1])

    def _read_span(self, span: Span) -> list[Span]:
        """Read once; returns the spans that may contain further records."""
        low, high = span
        if self._reads_left <= 0:
            return self._add_gap(span, "has more records of that time than are read in one run")
        self._reads_left -= 1
        page = self._read(low, high)
        times = [record.time for record in page]
        has_news = any(record.key not in self._found for record in page)
        self._found.update((record.key, record) for record in page)
        self._longest_page = max(self._longest_page, len(page))
        if len(page) < 2:
            return []
        last, newest_first = times[-1], times == sorted(times, reverse=True)
        times_respected = all(low - 1 <= time <= high + 1 for time in times)
        if not newest_first and times != sorted(times):
            return self._halves(span, len(page), times_respected=times_respected)
        if times[0] != last:
            self._newest_first = newest_first
        if has_news:
            return self._remaining(span, last + 1, last - 1) or [(low, last), (last, high)]
        if len(page) < max(MIN_PAGE_SIZE, self._longest_page):
            return []
        if not times_respected:
            return self._add_gap(span, TIMES_IGNORED)
        if len(page) >= FULL_MOMENT_SIZE:
            self._add_gap((last - 1, last + 1), f"has {len(page)} or more records of one moment, and shows no more")
        # One millisecond less at a time, until the list shows what is before or after that moment.
        before, after = (low, min(high - 1, last - 1)), (max(low + 1, last + 1), high)
        return self._remaining(span, min(high - 1, last + 1), max(low + 1, last - 1)) or [before, after]

    def _remaining(self, span: Span, end: int, start: int) -> list[Span]:
        """The rest of a span after a page: its part until ``end`` if the newest records come first, else from
        ``start``.

        Empty while the order is unknown, because all records seen so far are of one moment.
        """
        if self._newest_first is None:
            return []
        return [(span[0], min(span[1], end)) if self._newest_first else (max(span[0], start), span[1])]

    def _halves(self, span: Span, page_size: int, *, times_respected: bool) -> list[Span]:
        low, high = span
        if page_size < MIN_PAGE_SIZE:
            return []
        if not times_respected:
            return self._add_gap(span, TIMES_IGNORED)
        if high - low >= 4:
            middle = (low + high) // 2
            return [(low, middle + 1), (middle, high)]
        if page_size >= FULL_MOMENT_SIZE:
            self._add_gap(span, "has more records of one moment than it shows")
        return []

    def _add_gap(self, span: Span, reason: str) -> list[Span]:
        self._gaps.append(Gap(span, reason))
        return []
