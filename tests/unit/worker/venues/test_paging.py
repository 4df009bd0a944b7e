"""Lists that are longer than one page, of venues whose page size and order are not documented."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.venues.paging import FULL_MOMENT_SIZE, MAX_READS, MIN_PAGE_SIZE, Span, merge_spans, read_completely

T0 = 1_800_000_000_000
DAY = (T0, T0 + 80_000)
ORDERS_OF_TIME: dict[str, Callable[["Row"], int]] = {
    "newest first": lambda row: -row.time,
    "oldest first": lambda row: row.time,
    "by something else": lambda row: row.key * 7919 % 101,
}


@dataclass(frozen=True)
class Row:
    """A record."""

    key: int
    time: int


@dataclass
class Listing:
    """A list with a page size and an order; it records the requested times."""

    rows: Sequence[Row]
    cap: int = 100
    order: str = "newest first"
    end_excluded: bool = False
    respects_times: bool = True

    def __post_init__(self) -> None:
        self.asked: list[Span] = []

    def __call__(self, start: int, end: int) -> list[Row]:
        """Read it."""
        self.asked.append((start, end))
        inside = [
            row for row in self.rows if not self.respects_times or start <= row.time < end + (not self.end_excluded)
        ]
        return sorted(inside, key=ORDERS_OF_TIME[self.order])[: self.cap]


def rows(number: int, every: int = 370, start: int = T0) -> list[Row]:
    """Records at regular intervals, in ms."""
    return [Row(each, start + every * each) for each in range(number)]


@given(
    times=st.lists(st.integers(0, 30_000) | st.integers(7_000, 7_003), max_size=200),
    spans=st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 9_000)), min_size=1, max_size=4),
    cap=st.integers(FULL_MOMENT_SIZE, FULL_MOMENT_SIZE + 10),
    order=st.sampled_from([*ORDERS_OF_TIME]),
    end_excluded=st.booleans(),
)
def test_a_list_of_any_length_is_read_completely(
    times: list[int], spans: list[tuple[int, int]], cap: int, order: str, end_excluded: bool
) -> None:
    """Or its gaps are reported. A missing record would look like a command that was not executed."""
    made = [Row(number, T0 + time) for number, time in enumerate(times)]
    wanted = [(T0 + start, T0 + start + length) for start, length in spans]
    found, gaps = read_completely(wanted, Listing(made, cap, order, end_excluded))
    for low, high in merge_spans(wanted):
        for row in made:
            inside = low <= row.time < high + (not end_excluded)
            assert not inside or row in found or any(gap.span[0] <= row.time <= gap.span[1] for gap in gaps)
    # There are gaps only where one moment has as many records as a page.
    assert all(
        sum(gap.span[0] - 4 <= T0 + time <= gap.span[1] + 4 for time in times) >= FULL_MOMENT_SIZE for gap in gaps
    )


@pytest.mark.parametrize("number", [0, 1])
def test_an_empty_list_costs_one_read(number: int) -> None:
    """This is the usual case at night."""
    listing = Listing(rows(number))
    assert read_completely([DAY], listing) == (rows(number), [])
    assert listing.asked == [DAY]


@pytest.mark.parametrize("cap", [2, 10, 25, 50])
@pytest.mark.parametrize("order", ["newest first", "oldest first"])
def test_a_venue_that_shows_less_than_it_is_asked_for(cap: int, order: str) -> None:
    """The page size is not documented, so that a page shorter than requested proves nothing."""
    found, gaps = read_completely([DAY], Listing(rows(60, 1000), cap, order))
    assert (len(found), gaps) == (60, [])


def test_a_list_is_read_once_for_the_spans_of_a_whole_night() -> None:
    """If the whole list is short, two reads suffice for any number of commands and times."""
    minutes = [(T0 + 60_000 * each, T0 + 60_000 * each + 20_000) for each in range(500)]
    listing = Listing(rows(70, 400_000))
    found, gaps = read_completely(minutes, listing)
    assert (len(found), gaps, len(listing.asked)) == (70, [], 2)


@pytest.mark.parametrize("order", ["newest first", "oldest first"])
def test_times_that_are_not_requested_are_left_out(order: str) -> None:
    """In a long list the times between two spans are not read."""
    listing = Listing(rows(20_000, 10), order=order)
    spans = [(T0, T0 + 500), (T0 + 190_000, T0 + 190_500)]
    found, gaps = read_completely(spans, listing)
    assert {row for row in listing.rows if any(low <= row.time <= high for low, high in spans)} <= set(found)
    assert (gaps, len(listing.asked) <= 4) == ([], True)


def test_a_full_moment_is_a_gap_and_the_rest_is_read() -> None:
    """No shorter span can be requested; other times are not affected."""
    crowd = [Row(1000 + each, T0 + 5_000) for each in range(150)]
    found, gaps = read_completely([DAY], Listing([*rows(50, 100), *crowd, *rows(1, 1, T0 + 70_000)]))
    assert {gap.span for gap in gaps} == {(T0 + 4_999, T0 + 5_001)}
    assert "one moment" in gaps[0].reason
    assert set(rows(50, 100)) <= set(found)


@pytest.mark.parametrize("end_excluded", [False, True])
@pytest.mark.parametrize("order", ["newest first", "oldest first"])
@pytest.mark.parametrize("number", [2, MIN_PAGE_SIZE, 25, FULL_MOMENT_SIZE - 1])
def test_an_order_that_is_filled_in_parts_is_no_gap(number: int, order: str, end_excluded: bool) -> None:
    """All its fills are of one moment. Records directly before and after it are read as well."""
    moment = T0 + 5_000
    around = [Row(1000 + away, moment + away) for away in (-4_000, -2, -1, 1, 2, 4_000)]
    made = [*around, *(Row(each, moment) for each in range(number))]
    for cap in (100, max(number, MIN_PAGE_SIZE)):
        found, gaps = read_completely([DAY], Listing(made, cap, order, end_excluded))
        assert (set(found), gaps) == (set(made), [])


def test_a_list_that_ignores_the_requested_times_is_reported() -> None:
    """It always shows its newest records, and would be read for ever."""
    listing = Listing(rows(200, 50, T0 + 500_000), respects_times=False)
    _, gaps = read_completely([DAY], listing)
    assert ([gap.span for gap in gaps], len(listing.asked)) == ([DAY], 2)
    assert "other times" in gaps[0].reason


@pytest.mark.parametrize("order", ORDERS_OF_TIME)
@pytest.mark.parametrize("apart", [0, 1, 500])
@pytest.mark.parametrize("number", [MIN_PAGE_SIZE, FULL_MOMENT_SIZE, 200])
def test_a_list_that_ignores_the_requested_times_takes_few_reads(number: int, apart: int, order: str) -> None:
    """In any order."""
    listing = Listing(rows(number, apart, T0 + 100), order=order, respects_times=False)
    _, gaps = read_completely([DAY], listing)
    assert len(listing.asked) < 40
    assert gaps or number < FULL_MOMENT_SIZE


def test_a_list_that_ignores_the_requested_times_but_reaches_back_is_complete() -> None:
    """Its oldest record is older than all requested times."""
    listing = Listing(rows(300, 1_000, T0 - 220_000), respects_times=False)
    found, gaps = read_completely([DAY], listing)
    assert (gaps, {row for row in listing.rows if DAY[0] <= row.time <= DAY[1]} <= set(found)) == ([], True)


def test_the_number_of_reads_is_limited() -> None:
    """What was read until then counts."""
    numbers = count()

    def endless(start: int, end: int) -> list[Row]:
        return [Row(next(numbers), end - each // 3) for each in range(100)]

    found, gaps = read_completely([(T0, T0 + 10**9)], endless)
    assert len(found) == 100 * MAX_READS
    assert [gap.span[0] for gap in gaps] == [T0]
    assert gaps[0].span[1] < T0 + 10**9


def test_spans_are_merged() -> None:
    """They are in order and without overlaps."""
    assert merge_spans([(5, 9), (1, 3), (3, 4), (8, 12)]) == [(1, 4), (5, 12)]
    assert merge_spans([]) == []
    assert read_completely([], Listing(rows(3))) == ([], [])
