"""Reading a venue's list whole, however long it is: by narrower and narrower times.

A list of as many records as were asked for may lack some. Its time is then cut into cells of a fixed grid, each of
which is read alone, and cut in half again while it is still full. The grid is the same for every look, so that the
looks of one run share what they have read: hundreds of unknowns of the same minutes ask for each record once.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, Protocol, TypeVar

CELL_MS = 1 << 12
"""The times of a long list are widened to multiples of this."""
READS = 400
"""In one look at one list; a venue without a limit for reads must not be asked without end."""
KEPT = 600
"""Pages that a run remembers, of a hundred records at most each."""


class TooLong(Exception):
    """The list can't be read whole; the text says why."""


class Timed(Protocol):
    """A record that says when it was made."""

    @property
    def time(self) -> int:
        """UNIX ms on the venue's clock."""


T = TypeVar("T", bound=Timed)


class Pages:
    """What one run has read. Not for sharing among threads."""

    def __init__(self) -> None:
        self._cells: OrderedDict[tuple[Hashable, int, int], list[Timed]] = OrderedDict()
        self._long: set[Hashable] = set()

    def whole(self, place: Hashable, span: tuple[int, int], limit: int, read: Callable[[int, int], list[T]]) -> list[T]:
        """Every record of a list between two times, and maybe some from shortly before and after.

        ``read`` asks the venue for the list between two times (UNIX ms, whether the venue takes them as inclusive is
        not told in its pages, so cells overlap) and returns at most ``limit`` records. ``place`` names the list.

        Raises:
            TooLong: the venue shows as many records of a single moment, or does not heed the times it is asked for.
        """
        if place not in self._long:
            rows = read(*span)
            if len(rows) < limit:
                return rows
            self._long.add(place)
        walk = _Walk(self._cells, place, limit, read)
        return walk.rows(span[0] // CELL_MS * CELL_MS, (span[1] // CELL_MS + 1) * CELL_MS)


class _Walk(Generic[T]):
    """One list, cell by cell."""

    def __init__(
        self,
        cells: OrderedDict[tuple[Hashable, int, int], list[Timed]],
        place: Hashable,
        limit: int,
        read: Callable[[int, int], list[T]],
    ) -> None:
        self._cells = cells
        self._place = place
        self._limit = limit
        self._read = read
        self._reads = 0

    def rows(self, start: int, end: int) -> list[T]:
        """Records of [start, end), both on the grid."""
        size = 1 << (start ^ (end - 1)).bit_length()
        found: list[T] = []
        for low, high in self._inside(start // size * size, size, start, end):
            found += self._narrowed(low, high)
        return found

    def _inside(self, low: int, size: int, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The largest cells of the grid that lie between two times, in order."""
        if low >= end or low + size <= start:
            return
        if start <= low and low + size <= end:
            yield low, low + size
            return
        for half in (low, low + size // 2):
            yield from self._inside(half, size // 2, start, end)

    def _narrowed(self, low: int, high: int) -> list[T]:
        rows = self._cell(low, high)
        if len(rows) < self._limit:
            return rows
        # Asked for with a millisecond more on either side.
        strange = next((row.time for row in rows if not low - 1 <= row.time <= high), None)
        if strange is not None:
            raise TooLong(f"has {self._limit} or more records, and shows some of other times than it is asked for")
        if high - low == 1:
            raise TooLong(f"has {self._limit} or more records of one millisecond, and shows no more")
        middle = (low + high) // 2
        return self._narrowed(low, middle) + self._narrowed(middle, high)

    def _cell(self, low: int, high: int) -> list[T]:
        key = (self._place, low, high)
        known = self._cells.get(key)
        if known is not None:
            self._cells.move_to_end(key)
            return known  # type: ignore[return-value] # what `place` names has one kind of records
        self._reads += 1
        if self._reads > READS:
            raise TooLong(f"has more records of that time than {READS} reads show")
        rows = self._read(low - 1, high)
        self._cells[key] = list(rows)
        if len(self._cells) > KEPT:
            self._cells.popitem(last=False)
        return rows
