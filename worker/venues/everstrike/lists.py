"""Everstrike's lists, each read whole and once for all who need something of it."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from worker.venues.everstrike.gets import EverstrikeGets, Unreadable, readable
from worker.venues.everstrike.records import unnested
from worker.venues.paging import Gap, Span, Timed, whole
from worker.venues.records import Window

LIMIT = 100
"""Records asked for in one read."""
PAIRS = 3
"""So many pairs are asked for one by one; of more a list is read without naming any, as the venue's own client does."""
EVER: Span = (0, 10**15)

Listed = TypeVar("Listed", bound=Timed)
Spans = Mapping[str, list[Span]]
"""By pair: of which times records are needed."""


class EverstrikeLists:
    """What has been read of one account's lists."""

    def __init__(self, gets: EverstrikeGets) -> None:
        self._gets = gets
        self._lists: dict[tuple[str, str], tuple[list[Any], list[Gap]]] = {}

    def read(self, path: str, spans: Spans, parse: Callable[[Any], Listed]) -> None:
        """Read a list; "" is the pair of what has none. What can't be read is told by :meth:`seen`."""
        if len(spans) > PAIRS:
            every = [span for each in spans.values() for span in each]
            if self._read(path, "", every, spans, parse):
                return
        for pair, each in spans.items():
            self._read(path, pair, each, [pair], parse)

    def _read(
        self, path: str, asked: str, spans: list[Span], pairs: Iterable[str], parse: Callable[[Any], Listed]
    ) -> bool:
        """Whether it could be read."""
        alike = {_bare(pair): pair for pair in pairs}

        def between(start: int, end: int) -> list[Listed]:
            found = [readable(path, parse, row) for row in self.page(path, start, end, asked)]
            for each in found:
                pair = getattr(each, "pair", "")
                # Another pair where one was asked for, or one in another spelling: nothing would be found of it.
                if pair != alike.get(_bare(pair), asked or pair):
                    raise Unreadable(f"{path} shows records of another pair than it was asked for")
            return found

        try:
            rows, gaps = whole(spans, between)
        except Unreadable as problem:
            self._lists[path, asked] = [], [Gap(EVER, str(problem))]
            return False
        self._lists[path, asked] = sorted(rows, key=_time_of), gaps
        return True

    def page(self, path: str, start: int, end: int, pair: str = "") -> list[Any]:
        """One read, as the venue tells it.

        Raises:
            Unreadable: it can't be.
        """
        asked = {"start": str(start), "end": str(end), "limit": str(LIMIT)}
        result = self._gets.result(path, {"pair": pair, **asked} if pair else asked)
        if not isinstance(result, list):
            raise Unreadable(f"{path} answers with no list")
        return [unnested(row) for row in result]

    def seen(self, path: str, pair: str, window: Window) -> tuple[list[Any], list[str]]:
        """The records of a pair and a time, and what could not be read of it."""
        rows, gaps = self._lists[(path, pair) if (path, pair) in self._lists else (path, "")]
        inside = rows[
            bisect_left(rows, window.start, key=_time_of) : bisect_right(rows, window.suspect_until, key=_time_of)
        ]
        missing = [gap for gap in gaps if gap.span[0] <= window.suspect_until and gap.span[1] >= window.start]
        found = [row for row in inside if getattr(row, "pair", pair) == pair]
        return found, [gap.why if gap.why.startswith(path) else f"{path} {gap.why}" for gap in missing]


def _bare(pair: str) -> str:
    return "".join(filter(str.isalnum, pair)).casefold()


def _time_of(row: Timed) -> int:
    return row.time
