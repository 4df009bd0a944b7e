"""The reads at Everstrike that show whether commands with an unknown outcome were executed.

Lists take ``pair``, ``start``, ``end`` and ``limit`` (``docs/venues.md``). Each is read completely
(:mod:`worker.venues.paging`), and once for all commands of an account. A list that can't be read completely, that shows
another pair, or that comes from a cache (:mod:`worker.venues.response_freshness`) proves nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from producers.commands import Cancel, Close, Command, Withdraw
from worker.venues.accounts import Account
from worker.venues.everstrike.client import EverstrikeClient, ReadFailed, parse_record
from worker.venues.everstrike.lists import MAX_PAIRS_ONE_BY_ONE, EverstrikeLists, Spans
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
from worker.venues.http.base import Send
from worker.venues.paging import Span, read_completely
from worker.venues.records import VenueFill, VenueOrder, VenueSnapshot, Window

MAX_LOOKUPS_OF_FILLS = 5
"""How many orders are looked up for one command because it has fills whose order is in no list."""
MAX_SINGLE_LOOKUPS = 3
"""Up to so many orders are looked up one by one; for more, the list of orders is read first."""
TRIGGER_LOOKBACK_MS = 7 * 86_400_000
"""How far back triggers are read: one that was set days ago may fire at the time of a close."""

NOT_FOUND = "the order was not found"

ORDER_PATHS = ("/active_orders", "/completed_orders", "/orders")
"""The last read counts, so that an order that is filled between two reads is shown as filled."""

CommandWindows = Sequence[tuple[Command, Window]]
"""Commands, each with the times between which its records may be."""


@dataclass(frozen=True, slots=True)
class EverstrikeReads:
    """Reads accounts at the venue."""

    send: Send
    sleep: Callable[[float], object] | None = None
    """Waits for a number of seconds; None for a real wait."""

    def visit(self, account: Account) -> "EverstrikeVisit":
        """Begin to read an account now."""
        return EverstrikeVisit(EverstrikeClient(self.send, account, self.sleep))


class EverstrikeVisit:
    """The records of one account, read once for many commands, one request after the other.

    Call :meth:`time` first, then :meth:`read`, then :meth:`snapshot`, which sends no request. None of them raises
    because of the venue's responses. Not for use by several threads.
    """

    def __init__(self, client: EverstrikeClient) -> None:
        self._client = client
        self._lists = EverstrikeLists(client)
        self._orders_by_id: dict[str, VenueOrder] = {}
        self._sizes: dict[str, tuple[Decimal, str] | ReadFailed] = {}
        self._states: dict[str, VenueOrder | ReadFailed | None] = {}
        self._looked_up: dict[str, VenueOrder | ReadFailed | None] = {}

    def time(self) -> int | None:
        """The time on the venue's clock, UNIX ms; None when it can't be read."""
        return self._client.time()

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, commands: CommandWindows) -> None:
        """Read every list in which a record of one of these commands may be, each once."""
        spans: dict[str, list[Span]] = {}
        withdrawn: list[Span] = []
        cancelled: dict[str, int] = {}
        for command, window in commands:
            if isinstance(command, Close):
                spans.setdefault(command.pair, []).append((window.start, window.suspect_until))
            elif isinstance(command, Withdraw):
                withdrawn.append((window.start, window.suspect_until))
            elif isinstance(command, Cancel):
                cancelled[command.order_id] = window.suspect_until
        if spans:
            self._read_for_closes(spans)
        for command, window in commands:
            if isinstance(command, Close):
                self._look_up_orders_of_fills(command.pair, window)
        if withdrawn:
            self._lists.read("/withdrawals", {"": withdrawn}, read_withdrawal)
        self._read_states(cancelled)

    def _read_for_closes(self, spans: Spans) -> None:
        for path in ORDER_PATHS:
            self._lists.read(path, spans, self._read_order)
        self._lists.read("/fills", spans, read_fill)
        earlier = {
            pair: [(max(0, low - TRIGGER_LOOKBACK_MS), high) for low, high in each] for pair, each in spans.items()
        }
        self._lists.read("/triggers", earlier, read_trigger)
        if len(spans) <= MAX_PAIRS_ONE_BY_ONE or not self._read_positions(spans):
            for pair in spans:
                self._sizes[pair] = self._size(pair)

    def _read_order(self, row: Any) -> VenueOrder:
        """Parse an order. The three lists show the same orders; equal ones are kept once, to save memory."""
        order = read_order(row)
        known = self._orders_by_id.setdefault(order.id, order)
        return known if known == order else order

    def _read_positions(self, pairs: Iterable[str]) -> bool:
        """Read all positions with one request; returns whether that succeeded."""
        try:
            result = self._client.result("/active_positions", {})
            if not isinstance(result, Mapping):
                raise ReadFailed("/active_positions answers without positions")
            for pair in pairs:
                found = (
                    parse_record("/active_positions", read_size, result[pair]) if pair in result else (Decimal(0), "")
                )
                self._sizes[pair] = found
        except ReadFailed:
            return False
        return True

    def _size(self, pair: str) -> tuple[Decimal, str] | ReadFailed:
        try:
            result = self._client.result("/position", {"pair": pair})
            if isinstance(result, Mapping) and result.get("pair", pair) != pair:
                raise ReadFailed("/position answers for another pair")
            return parse_record("/position", read_size, result)
        except ReadFailed as problem:
            return problem

    def _look_up_orders_of_fills(self, pair: str, window: Window) -> None:
        """Look up orders that have a fill in the window but are older, and therefore in none of the lists."""
        for order_id in self._ids_without_order(pair, window)[:MAX_LOOKUPS_OF_FILLS]:
            if order_id not in self._looked_up:
                self._looked_up[order_id] = self._order(order_id, read_order)

    def _ids_without_order(self, pair: str, window: Window) -> list[str]:
        fills: list[VenueFill] = self._lists.records("/fills", pair, window)[0]
        known = self._orders(pair, window)
        return [*dict.fromkeys(fill.order_id for fill in fills if fill.order_id not in known)]

    def _read_states(self, ids: Mapping[str, int]) -> None:
        """Read the status of orders by their ids; each was created before the given time.

        If there are many, the newest are taken from the list of orders, which takes fewer reads than one for each.
        """
        if len(ids) > MAX_SINGLE_LOOKUPS:
            self._read_newest(ids)
        for order_id in ids:
            if order_id not in self._states:
                self._states[order_id] = self._order(order_id, read_state)

    def _read_newest(self, ids: Mapping[str, int]) -> None:
        def read_page(start: int, end: int) -> list[_ListedAt]:
            page = self._lists.page("/orders", start, end)
            found = [parse_record("/orders", read_state, row) for row in page]
            self._states.update((order.id, order) for order in found if order.id in ids)
            # Once all ids are found, an empty page ends the reading.
            more = any(order_id not in self._states for order_id in ids)
            return (
                [_ListedAt(order.id, _time_or_zero(row)) for order, row in zip(found, page, strict=True)]
                if more
                else []
            )

        with suppress(ReadFailed):  # the orders not found are then read one by one
            read_completely([(0, max(ids.values()))], read_page, len(ids) // 4)

    def _order(self, order_id: str, read: Callable[[Any], VenueOrder]) -> VenueOrder | ReadFailed | None:
        """One order; None when the venue has none with this id."""
        try:
            result = self._client.result("/order", {"id": order_id}, refusal_for_none=NOT_FOUND)
            order = parse_record("/order", read, unnested(result)) if result is not None else None
            if order is not None and order.id != order_id:
                raise ReadFailed("/order answers with another order")
        except ReadFailed as problem:
            return problem
        return order

    # -- what was read -----------------------------------------------------------------------------------------------

    def snapshot(self, command: Command, window: Window) -> VenueSnapshot:
        """The records that may be those of a command, which :meth:`read` was given with the same window.

        What could not be read is in the snapshot's ``problems``.
        """
        if isinstance(command, Cancel):
            state = self._states[command.order_id]
            if isinstance(state, ReadFailed):
                return VenueSnapshot(problems=(str(state),))
            return VenueSnapshot(orders=(state,) if state else ())
        if isinstance(command, Withdraw):
            rows, problems = self._lists.records("/withdrawals", "", window)
            return VenueSnapshot(withdrawals=tuple(rows), problems=tuple(problems))
        return self._snapshot_of_close(command.pair, window) if isinstance(command, Close) else VenueSnapshot()

    def _snapshot_of_close(self, pair: str, window: Window) -> VenueSnapshot:
        orders = self._orders(pair, window)
        fills, problems = self._lists.records("/fills", pair, window)
        earlier = replace(window, start=max(0, window.start - TRIGGER_LOOKBACK_MS))
        triggers, more = self._lists.records("/triggers", pair, earlier)
        problems = (
            [each for path in ORDER_PATHS for each in self._lists.records(path, pair, window)[1]] + problems + more
        )
        for order_id in self._ids_without_order(pair, window):
            order = self._looked_up.get(order_id)
            if isinstance(order, ReadFailed):
                problems.append(str(order))
            elif order is not None:
                orders[order.id] = order
        size = self._sizes[pair]
        if isinstance(size, ReadFailed):
            return VenueSnapshot(problems=(*problems, str(size)))
        return VenueSnapshot(
            tuple(orders.values()), tuple(triggers), tuple(fills), (), size, tuple(dict.fromkeys(problems))
        )

    def _orders(self, pair: str, window: Window) -> dict[str, VenueOrder]:
        return {order.id: order for path in ORDER_PATHS for order in self._lists.records(path, pair, window)[0]}


@dataclass(frozen=True, slots=True)
class _ListedAt:
    """A record of which only the position in a list matters."""

    key: str
    time: int


def _time_or_zero(row: Any) -> int:
    try:
        return read_time(row["time"])
    except UNREADABLE_RECORD:
        return 0
