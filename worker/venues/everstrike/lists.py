"""Everstrike's lists, each read completely, and once for all commands."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from worker.venues.everstrike.client import EverstrikeClient, ReadFailed, parse_record
from worker.venues.everstrike.records import unnested
from worker.venues.paging import Gap, Span, Timed, read_completely
from worker.venues.records import Window

LIMIT = 100
"""The number of records requested in one read."""
MAX_PAIRS_ONE_BY_ONE = 3
"""Up to so many pairs are read one by one. For more, a list is read for all pairs, as the venue's own client does."""
ALL_TIMES: Span = (0, 10**15)
"""The span of a list of which nothing could be read."""

Listed = TypeVar("Listed", bound=Timed)
Spans = Mapping[str, list[Span]]
"""The times of which records are needed, by pair."""


class EverstrikeLists:
    """The records that have been read of one account's lists."""

    def __init__(self, client: EverstrikeClient) -> None:
        self._client = client
        self._lists: dict[tuple[str, str], tuple[list[Any], list[Gap]]] = {}

    def read(self, path: str, spans: Spans, parse: Callable[[Any], Listed]) -> None:
        """Read a list; the pair is "" for records without one. What can't be read is reported by :meth:`records`."""
        if len(spans) > MAX_PAIRS_ONE_BY_ONE:
            all_spans = [span for each in spans.values() for span in each]
            if self._read(path, "", all_spans, spans, parse):
                return
        for pair, each in spans.items():
            self._read(path, pair, each, [pair], parse)

    def _read(
        self, path: str, requested: str, spans: list[Span], pairs: Iterable[str], parse: Callable[[Any], Listed]
    ) -> bool:
        """Read a list of one pair, or of all; returns whether it could be read."""
        spelling = {_normalised(pair): pair for pair in pairs}

        def read_page(start: int, end: int) -> list[Listed]:
            found = [parse_record(path, parse, row) for row in self.page(path, start, end, requested)]
            for each in found:
                pair = getattr(each, "pair", "")
                # `records` selects by the pair's name, and would miss a record of another pair, or of this pair spelt
                # differently.
                if pair != spelling.get(_normalised(pair), requested or pair):
                    raise ReadFailed(f"{path} shows records of another pair than it was asked for")
            return found

        try:
            rows, gaps = read_completely(spans, read_page)
        except ReadFailed as problem:
            self._lists[path, requested] = [], [Gap(ALL_TIMES, str(problem))]
            return False
        self._lists[path, requested] = sorted(rows, key=_time_of), gaps
        return True

    def page(self, path: str, start: int, end: int, pair: str = "") -> list[Any]:
        """One page of a list, as the venue sends it.

        Raises:
            ReadFailed: the page can't be read.
        """
        query = {"start": str(start), "end": str(end), "limit": str(LIMIT)}
        result = self._client.result(path, {"pair": pair, **query} if pair else query)
        if not isinstance(result, list):
            raise ReadFailed(f"{path} answers with no list")
        return [unnested(row) for row in result]

    def records(self, path: str, pair: str, window: Window) -> tuple[list[Any], list[str]]:
        """The records of a pair within a window, and a sentence for each part that could not be read."""
        rows, gaps = self._lists[(path, pair) if (path, pair) in self._lists else (path, "")]
        inside = rows[
            bisect_left(rows, window.start, key=_time_of) : bisect_right(rows, window.suspect_until, key=_time_of)
        ]
        missing = [gap for gap in gaps if gap.span[0] <= window.suspect_until and gap.span[1] >= window.start]
        found = [row for row in inside if getattr(row, "pair", pair) == pair]
        return found, [gap.reason if gap.reason.startswith(path) else f"{path} {gap.reason}" for gap in missing]


def _normalised(pair: str) -> str:
    return "".join(filter(str.isalnum, pair)).casefold()


def _time_of(row: Timed) -> int:
    return row.time
