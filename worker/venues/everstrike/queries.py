"""Looking at Everstrike: the reads that show what became of commands of unknown fate.

Lists take ``pair``, ``start``, ``end`` and ``limit`` (``docs/venues.md``). Each is read once for
all commands of an account, and whole (:mod:`worker.venues.paging`). A place that can't be read whole, that answers for
another pair, or from a cache (:mod:`worker.venues.freshness`), proves nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from producers.commands import Cancel, Close, Command, Withdraw
from worker.venues.accounts import Account
from worker.venues.everstrike.gets import EverstrikeGets, Exchange, Unreadable, readable
from worker.venues.everstrike.lists import PAIRS, EverstrikeLists, Spans
from worker.venues.everstrike.records import (
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
from worker.venues.paging import Span, whole
from worker.venues.records import VenueFill, VenueOrder, VenueSnapshot, Window

FOLLOWED = 5
"""Orders looked up one by one for one command, for fills whose order no list shows."""
SINGLY = 3
"""So many orders are looked up one by one; of more the list is read first."""
EARLIER_MS = 7 * 86_400_000
"""How far back triggers are listed: one that was set days ago may fire beside a close."""

NOT_FOUND = "the order was not found"

ORDERS = ("/active_orders", "/completed_orders", "/orders")
"""The last wins: an order that is filled between two reads is told as it stands at the end."""

Wanted = Sequence[tuple[Command, Window]]


@dataclass(frozen=True, slots=True)
class EverstrikeReads:
    """Visits accounts at the venue."""

    exchange: Exchange
    pause: Callable[[float], object] | None = None
    """Waits for so many seconds; really, unless given."""

    def visit(self, account: Account) -> "EverstrikeVisit":
        """Everything that is read from now on is of one run."""
        return EverstrikeVisit(EverstrikeGets(self.exchange, account, self.pause))


class EverstrikeVisit:
    """One account's side of the venue, read once for many commands, one request after the other.

    First :meth:`time`, then :meth:`read`; then :meth:`snapshot`, which sends nothing more. None of them raises for what
    the venue answers. Not for sharing among threads.
    """

    def __init__(self, gets: EverstrikeGets) -> None:
        self._gets = gets
        self._lists = EverstrikeLists(gets)
        self._known: dict[str, VenueOrder] = {}
        self._sizes: dict[str, tuple[Decimal, str] | Unreadable] = {}
        self._states: dict[str, VenueOrder | Unreadable | None] = {}
        self._followed: dict[str, VenueOrder | Unreadable | None] = {}

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
        if spans:
            self._read_for_closes(spans)
        for command, window in wanted:
            if isinstance(command, Close):
                self._follow(command.pair, window)
        if withdrawn:
            self._lists.read("/withdrawals", {"": withdrawn}, read_withdrawal)
        self._read_states(cancelled)

    def _read_for_closes(self, spans: Spans) -> None:
        for path in ORDERS:
            self._lists.read(path, spans, self._read_order)
        self._lists.read("/fills", spans, read_fill)
        earlier = {pair: [(max(0, low - EARLIER_MS), high) for low, high in each] for pair, each in spans.items()}
        self._lists.read("/triggers", earlier, read_trigger)
        if len(spans) <= PAIRS or not self._read_positions(spans):
            for pair in spans:
                self._sizes[pair] = self._size(pair)

    def _read_order(self, row: Any) -> VenueOrder:
        """Three lists show the same orders: what is the same is kept once."""
        order = read_order(row)
        known = self._known.setdefault(order.id, order)
        return known if known == order else order

    def _read_positions(self, pairs: Iterable[str]) -> bool:
        """Whether all of them could be read at once."""
        try:
            result = self._gets.result("/active_positions", {})
            if not isinstance(result, Mapping):
                raise Unreadable("/active_positions answers with no positions")
            for pair in pairs:
                found = readable("/active_positions", read_size, result[pair]) if pair in result else (Decimal(0), "")
                self._sizes[pair] = found
        except Unreadable:
            return False
        return True

    def _size(self, pair: str) -> tuple[Decimal, str] | Unreadable:
        try:
            result = self._gets.result("/position", {"pair": pair})
            if isinstance(result, Mapping) and result.get("pair", pair) != pair:
                raise Unreadable("/position answers for another pair")
            return readable("/position", read_size, result)
        except Unreadable as problem:
            return problem

    def _follow(self, pair: str, window: Window) -> None:
        """A fill in the window may be of an order from long before, which the lists of the window don't show."""
        for order_id in self._unlisted(pair, window)[:FOLLOWED]:
            if order_id not in self._followed:
                self._followed[order_id] = self._order(order_id, read_order)

    def _unlisted(self, pair: str, window: Window) -> list[str]:
        fills: list[VenueFill] = self._lists.seen("/fills", pair, window)[0]
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
            page = self._lists.page("/orders", start, end)
            found = [readable("/orders", read_state, row) for row in page]
            self._states.update((order.id, order) for order in found if order.id in ids)
            # There is no more to be found: no page is as good as an empty one.
            more = any(order_id not in self._states for order_id in ids)
            return [_When(order.id, _time_if_told(row)) for order, row in zip(found, page, strict=True)] if more else []

        with suppress(Unreadable):  # each is asked for by itself then
            whole([(0, max(ids.values()))], between, len(ids) // 4)

    def _order(self, order_id: str, read: Callable[[Any], VenueOrder]) -> VenueOrder | Unreadable | None:
        """One order; None when the venue says that it has none."""
        try:
            result = self._gets.result("/order", {"id": order_id}, none_when=NOT_FOUND)
            order = readable("/order", read, unnested(result)) if result is not None else None
            if order is not None and order.id != order_id:
                raise Unreadable("/order answers with another order")
        except Unreadable as problem:
            return problem
        return order

    # -- looking -----------------------------------------------------------------------------------------------------

    def snapshot(self, command: Command, window: Window) -> VenueSnapshot:
        """What was read that could be this command's: one of those that :meth:`read` was given, with its window. What
        could not be read is a problem of the look."""
        if isinstance(command, Cancel):
            state = self._states[command.order_id]
            if isinstance(state, Unreadable):
                return VenueSnapshot(problems=(str(state),))
            return VenueSnapshot(orders=(state,) if state else ())
        if isinstance(command, Withdraw):
            rows, problems = self._lists.seen("/withdrawals", "", window)
            return VenueSnapshot(withdrawals=tuple(rows), problems=tuple(problems))
        return self._look_for_close(command.pair, window) if isinstance(command, Close) else VenueSnapshot()

    def _look_for_close(self, pair: str, window: Window) -> VenueSnapshot:
        orders = self._orders(pair, window)
        fills, problems = self._lists.seen("/fills", pair, window)
        earlier = replace(window, start=max(0, window.start - EARLIER_MS))
        triggers, more = self._lists.seen("/triggers", pair, earlier)
        problems = [each for path in ORDERS for each in self._lists.seen(path, pair, window)[1]] + problems + more
        for order_id in self._unlisted(pair, window):
            order = self._followed.get(order_id)
            if isinstance(order, Unreadable):
                problems.append(str(order))
            elif order is not None:
                orders[order.id] = order
        size = self._sizes[pair]
        if isinstance(size, Unreadable):
            return VenueSnapshot(problems=(*problems, str(size)))
        return VenueSnapshot(
            tuple(orders.values()), tuple(triggers), tuple(fills), (), size, tuple(dict.fromkeys(problems))
        )

    def _orders(self, pair: str, window: Window) -> dict[str, VenueOrder]:
        return {order.id: order for path in ORDERS for order in self._lists.seen(path, pair, window)[0]}


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
