"""Looking at Everstrike: the reads that show what became of commands of unknown fate.

Lists take ``pair``, ``start``, ``end`` and ``limit`` (``docs/venues.md``). Each is read once for
all commands of an account, and whole (:mod:`worker.venues.pages`). A place that can't be read whole, that answers for
another pair, or from a cache (:mod:`worker.venues.freshness`), proves nothing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from producers.commands import Cancel, Close, Command, Withdraw
from worker.venues.base import Account
from worker.venues.everstrike_gets import EverstrikeGets, Exchange, Unreadable, readable
from worker.venues.everstrike_records import (
    UNREADABLE_RECORD,
    read_fill,
    read_order,
    read_size,
    read_state,
    read_time,
    read_trigger,
    read_withdrawal,
    unnested,
)
from worker.venues.pages import Gap, Span, Timed, whole
from worker.venues.seen import Look, SeenFill, SeenOrder, Window

if TYPE_CHECKING:
    from decimal import Decimal

LIMIT = 100
"""Records asked for in one read."""
FOLLOWED = 5
"""Orders looked up one by one for one command, for fills whose order no list shows."""
SINGLY = 3
"""So many orders are looked up one by one; of more the list is read first."""
EARLIER_MS = 7 * 86_400_000
"""How far back triggers are listed: one that was set days ago may fire beside a close."""
EVER: Span = (0, 10**15)

NOT_FOUND = "the order was not found"

ORDERS = ("/active_orders", "/completed_orders", "/orders")
"""The last wins: an order that is filled between two reads is told as it stands at the end."""

Listed = TypeVar("Listed", bound=Timed)
Wanted = Sequence[tuple[Command, Window]]


@dataclass(frozen=True, slots=True)
class EverstrikeReads:
    """Visits accounts at the venue."""

    exchange: Exchange

    def visit(self, account: Account) -> "EverstrikeVisit":
        """Everything that is read from now on is of one run."""
        return EverstrikeVisit(EverstrikeGets(self.exchange, account))


class EverstrikeVisit:
    """One account's side of the venue, read once for many commands, one request after the other.

    First :meth:`time`, then :meth:`read`; then :meth:`look`, which asks for nothing more. None of them raises for what
    the venue answers. Not for sharing among threads.
    """

    def __init__(self, gets: EverstrikeGets) -> None:
        self._gets = gets
        self._lists: dict[tuple[str, str], tuple[list[Any], list[Gap]]] = {}
        self._sizes: dict[str, tuple[Decimal, str] | Unreadable] = {}
        self._states: dict[str, SeenOrder | Unreadable | None] = {}
        self._followed: dict[str, SeenOrder | Unreadable | None] = {}

    def time(self) -> int | None:
        """The venue's clock, UNIX ms; None when it can't be read."""
        return self._gets.time()

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, wanted: Wanted) -> None:
        """Read every place where one of these commands could stand: each list once."""
        spans: dict[str, list[Span]] = {}
        withdrawn: list[Span] = []
        cancelled: dict[str, int] = {}
        for command, window in wanted:
            if isinstance(command, Close):
                spans.setdefault(command.pair, []).append((window.start, window.late))
            elif isinstance(command, Withdraw):
                withdrawn.append((window.start, window.late))
            elif isinstance(command, Cancel):
                cancelled[command.order_id] = window.late
        for pair, times in spans.items():
            self._read_pair(pair, times)
        for command, window in wanted:
            if isinstance(command, Close):
                self._follow(command.pair, window)
        if withdrawn:
            self._list("/withdrawals", "", withdrawn, read_withdrawal)
        self._read_states(cancelled)

    def _read_pair(self, pair: str, spans: list[Span]) -> None:
        for path in ORDERS:
            self._list(path, pair, spans, read_order)
        self._list("/fills", pair, spans, read_fill)
        self._list("/triggers", pair, [(max(0, low - EARLIER_MS), high) for low, high in spans], read_trigger)
        try:
            result = self._gets.result("/position", {"pair": pair})
            if isinstance(result, Mapping) and result.get("pair", pair) != pair:
                raise Unreadable("/position answers for another pair")
            self._sizes[pair] = readable("/position", read_size, result)
        except Unreadable as problem:
            self._sizes[pair] = problem

    def _follow(self, pair: str, window: Window) -> None:
        """A fill in the window may be of an order from long before, which the lists of the window don't show."""
        for order_id in self._unlisted(pair, window)[:FOLLOWED]:
            if order_id not in self._followed:
                self._followed[order_id] = self._order(order_id, read_order)

    def _unlisted(self, pair: str, window: Window) -> list[str]:
        fills: list[SeenFill] = _inside(self._lists["/fills", pair][0], window)
        known = self._orders(pair, window)
        return [*dict.fromkeys(fill.order_id for fill in fills if fill.order_id not in known)]

    def _read_states(self, ids: Mapping[str, int]) -> None:
        """Orders as they stand now, by their ids, that were made before some time. Of many the newest are taken from a
        list, with fewer reads than one for each."""
        if len(ids) > SINGLY:
            self._read_newest(ids)
        for order_id in ids:
            if order_id not in self._states:
                self._states[order_id] = self._order(order_id, read_state)

    def _read_newest(self, ids: Mapping[str, int]) -> None:
        def between(start: int, end: int) -> list[_When]:
            page = self._rows("/orders", {"start": str(start), "end": str(end), "limit": str(LIMIT)})
            found = [readable("/orders", read_state, row) for row in page]
            self._states.update((order.id, order) for order in found if order.id in ids)
            # There is no more to be found: no page is as good as an empty one.
            more = any(order_id not in self._states for order_id in ids)
            return [_When(order.id, _time_if_told(row)) for order, row in zip(found, page, strict=True)] if more else []

        with suppress(Unreadable):  # each is asked for by itself then
            whole([(0, max(ids.values()))], between, len(ids) // 4)

    def _order(self, order_id: str, read: Callable[[Any], SeenOrder]) -> SeenOrder | Unreadable | None:
        """One order; None when the venue says that it has none."""
        try:
            result = self._gets.result("/order", {"id": order_id}, none_when=NOT_FOUND)
            order = readable("/order", read, unnested(result)) if result is not None else None
            if order is not None and order.id != order_id:
                raise Unreadable("/order answers with another order")
        except Unreadable as problem:
            return problem
        return order

    def _list(self, path: str, pair: str, spans: list[Span], read: Callable[[Any], Listed]) -> None:
        def between(start: int, end: int) -> list[Listed]:
            asked = {"start": str(start), "end": str(end), "limit": str(LIMIT)}
            rows = self._rows(path, {"pair": pair, **asked} if pair else asked)
            found = [readable(path, read, row) for row in rows]
            if pair and any(getattr(each, "pair", pair) != pair for each in found):
                raise Unreadable(f"{path} shows records of another pair than it was asked for")
            return found

        try:
            rows, gaps = whole(spans, between)
            self._lists[path, pair] = sorted(rows, key=_time_of), gaps
        except Unreadable as problem:
            self._lists[path, pair] = [], [Gap(EVER, str(problem))]

    def _rows(self, path: str, query: Mapping[str, str]) -> list[Any]:
        result = self._gets.result(path, query)
        if not isinstance(result, list):
            raise Unreadable(f"{path} answers with no list")
        return [unnested(row) for row in result]

    # -- looking -----------------------------------------------------------------------------------------------------

    def look(self, command: Command, window: Window) -> Look:
        """What was read that could be this command's: one of those that :meth:`read` was given, with its window. What
        could not be read is a problem of the look."""
        if isinstance(command, Cancel):
            state = self._states[command.order_id]
            if isinstance(state, Unreadable):
                return Look(problems=(str(state),))
            return Look(orders=(state,) if state else ())
        if isinstance(command, Withdraw):
            rows, problems = self._seen("/withdrawals", "", window)
            return Look(withdrawals=tuple(rows), problems=tuple(problems))
        return self._look_for_close(command.pair, window) if isinstance(command, Close) else Look()

    def _look_for_close(self, pair: str, window: Window) -> Look:
        orders = self._orders(pair, window)
        fills, problems = self._seen("/fills", pair, window)
        earlier = replace(window, start=max(0, window.start - EARLIER_MS))
        triggers, more = self._seen("/triggers", pair, earlier)
        problems = [each for path in ORDERS for each in self._seen(path, pair, window)[1]] + problems + more
        for order_id in self._unlisted(pair, window):
            order = self._followed.get(order_id)
            if isinstance(order, Unreadable):
                problems.append(str(order))
            elif order is not None:
                orders[order.id] = order
        size = self._sizes[pair]
        if isinstance(size, Unreadable):
            return Look(problems=(*problems, str(size)))
        return Look(tuple(orders.values()), tuple(triggers), tuple(fills), (), size, tuple(dict.fromkeys(problems)))

    def _orders(self, pair: str, window: Window) -> dict[str, SeenOrder]:
        return {order.id: order for path in ORDERS for order in self._seen(path, pair, window)[0]}

    def _seen(self, path: str, pair: str, window: Window) -> tuple[list[Any], list[str]]:
        rows, gaps = self._lists[path, pair]
        missing = [gap for gap in gaps if gap.span[0] <= window.late and gap.span[1] >= window.start]
        return _inside(rows, window), [_told(path, gap) for gap in missing]


@dataclass(frozen=True, slots=True)
class _When:
    """A record of which its place in a list alone matters."""

    key: str
    time: int


def _time_if_told(row: Any) -> int:
    try:
        return read_time(row["time"])
    except UNREADABLE_RECORD:
        return 0


def _time_of(row: Timed) -> int:
    return row.time


def _told(path: str, gap: Gap) -> str:
    return gap.why if gap.why.startswith(path) else f"{path} {gap.why}"


def _inside(rows: list[Any], window: Window) -> list[Any]:
    return rows[bisect_left(rows, window.start, key=_time_of) : bisect_right(rows, window.late, key=_time_of)]
