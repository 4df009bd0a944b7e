"""Lists that are longer than one read shows."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.venues.pages import CELL_MS, READS, Pages, TooLong

T0 = 1_800_000_000_000
LIMIT = 10


@dataclass(frozen=True)
class Row:
    """A record."""

    id: int
    time: int


def venue(rows: list[Row], reads: list[tuple[int, int]], *, exclusive: bool = False) -> Callable[[int, int], list[Row]]:
    """A list that shows at most LIMIT records, the newest first."""

    def read(start: int, end: int) -> list[Row]:
        reads.append((start, end))
        asked = [row for row in rows if start <= row.time < end + (not exclusive)]
        return sorted(asked, key=lambda row: -row.time)[:LIMIT]

    return read


moments = st.lists(st.integers(0, 5 * CELL_MS), max_size=80)


@given(moments, st.integers(0, 3 * CELL_MS), st.integers(1, 2 * CELL_MS), st.booleans())
def test_a_list_of_any_length_is_read_whole(times: list[int], start: int, length: int, exclusive: bool) -> None:
    """A record that is left out would be taken for a command that was not executed."""
    rows = [Row(number, T0 + time) for number, time in enumerate(sorted(set(times)))]
    reads: list[tuple[int, int]] = []
    span = (T0 + start, T0 + start + length)
    try:
        found = Pages().whole("orders", span, LIMIT, venue(rows, reads, exclusive=exclusive))
    except TooLong:
        # Only where a millisecond and its neighbours, which are always read along, are full.
        assert any(sum(abs(row.time - each.time) <= 1 for row in rows) >= LIMIT for each in rows)
        return
    wanted = {row for row in rows if span[0] <= row.time < span[1] + (not exclusive)}
    assert wanted <= set(found)


def test_a_short_list_costs_one_read() -> None:
    """The ordinary case."""
    reads: list[tuple[int, int]] = []
    rows = [Row(number, T0 + number) for number in range(LIMIT - 1)]
    assert Pages().whole("orders", (T0, T0 + 80_000), LIMIT, venue(rows, reads)) == rows[::-1]
    assert reads == [(T0, T0 + 80_000)]


def test_the_looks_of_a_run_share_what_they_read() -> None:
    """Hundreds of unknowns of the same minutes would otherwise ask for the same records hundreds of times."""
    rows = [Row(number, T0 + 370 * number) for number in range(400)]
    reads: list[tuple[int, int]] = []
    pages = Pages()
    for late in range(0, 60_000, 500):
        found = pages.whole("orders", (T0 + late, T0 + late + 80_000), LIMIT, venue(rows, reads))
        assert {row for row in rows if T0 + late <= row.time <= T0 + late + 80_000} <= set(found)
    once: list[tuple[int, int]] = []
    Pages().whole("orders", (T0, T0 + 140_000), LIMIT, venue(rows, once))
    assert len(reads) < 1.2 * len(once)
    pages.whole("fills", (T0, T0 + 1000), LIMIT, venue(rows, reads))
    assert reads[-1][1] < T0 + 2 * CELL_MS, "another list shares nothing"


def test_the_cells_leave_no_gap() -> None:
    """Whether a venue takes an end as inclusive is not told anywhere."""
    reads: list[tuple[int, int]] = []
    rows = [Row(number, T0 + 9 * number) for number in range(1000)]
    Pages().whole("orders", (T0, T0 + 9000), LIMIT, venue(rows, reads))
    leaves = sorted(set(reads[1:]))
    narrow = [each for each in leaves if not any(low > each[0] and high < each[1] for low, high in leaves)]
    assert all(low < before_high for (_, before_high), (low, _) in pairwise(narrow))


def test_a_full_moment_is_told() -> None:
    """Nothing narrower can be asked for."""
    rows = [Row(number, T0) for number in range(LIMIT)]
    with pytest.raises(TooLong, match="one millisecond"):
        Pages().whole("orders", (T0 - 1000, T0 + 1000), LIMIT, venue(rows, []))


def test_a_list_that_heeds_no_time_is_told() -> None:
    """It shows its newest records whatever it is asked for, and would be read for ever."""
    rows = [Row(number, T0 + 50 * number) for number in range(LIMIT)]
    with pytest.raises(TooLong, match="other times"):
        Pages().whole("orders", (T0, T0 + 80_000), LIMIT, lambda start, end: rows)


def test_there_is_an_end_to_it() -> None:
    """A venue is not asked thousands of questions for one command."""
    reads: list[tuple[int, int]] = []
    rows = [Row(number, T0 + number) for number in range(LIMIT * READS)]
    with pytest.raises(TooLong, match=str(READS)):
        Pages().whole("orders", (T0, T0 + 80_000), LIMIT, venue(rows, reads))
    assert len(reads) == READS + 1
