"""What an account holds at the simulated derivatives exchanges, Kraken Futures and OKX: positions, orders, fills.

Amounts are contracts as the exchange counts them. Each exchange shows these records in its own words and forgets them
by its own rules; here they are kept, so that a test can ask how often a client order id was really executed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

MAX_KEPT = 50_000
"""How many orders, fills and withdrawals each account keeps; the oldest are dropped first."""

Amount = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Side = Literal["buy", "sell"]

_R = TypeVar("_R")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetPosition(_Frozen):
    """A position in one contract; `size` is negative for a short one, and 0 removes it."""

    symbol: str
    size: Annotated[Decimal, Field(allow_inf_nan=False)]
    entry_price: Amount = Decimal(40000)
    time: int = 0

    def is_reduced_by(self, side: Side) -> bool:
        """Whether an order of this side closes the position or a part of it."""
        return self.size < 0 if side == "buy" else self.size > 0


class DerivativeOrder(_Frozen):
    """An order. A trigger (`stop_price` is set) rests apart from the book until it is activated.

    `size` is what was accepted: of a reduce-only order beyond the position, `cut` was taken off.
    """

    id: str
    client_id: str | None = None
    symbol: str
    side: Side
    type: Literal["limit", "market", "post", "ioc", "fok", "stop", "take_profit"] = "limit"
    size: Amount
    filled: Amount = Decimal(0)
    average: Amount | None = None
    """The price of its fills, weighted by their sizes."""
    cut: Amount = Decimal(0)
    price: Amount | None = None
    stop_price: Amount | None = None
    trigger_signal: str | None = None
    reduce_only: bool = False
    state: Literal["open", "filled", "cancelled"] = "open"
    time: int = 0
    updated: int = 0
    """When it was made, filled or cancelled last; of an order that is not open, when it ended."""

    @property
    def is_open(self) -> bool:
        """Whether it can still be filled or cancelled."""
        return self.state == "open"

    @property
    def is_trigger(self) -> bool:
        """Whether it waits for a price, or was cancelled while it did; once it has a fill it is an order."""
        return self.stop_price is not None and not self.filled

    @property
    def left(self) -> Decimal:
        """What is not filled."""
        return self.size - self.filled


class DerivativeFill(_Frozen):
    """One execution of an order."""

    id: str
    order_id: str
    client_id: str | None = None
    symbol: str
    side: Side
    size: Amount
    price: Amount
    time: int = 0


class CoinWithdrawal(_Frozen):
    """A withdrawal from OKX; `address` may end in a colon and a tag, `state` is one of the exchange's numbers."""

    id: str
    client_id: str | None = None
    asset: str
    chain: str
    address: str
    amount: Amount
    fee: Amount = Decimal(0)
    state: str = "0"
    time: int = 0


@dataclass(slots=True)
class DerivativeHoldings:
    """The records of one account. They are immutable, so that a copy of the containers is a snapshot."""

    positions: dict[str, NetPosition] = field(default_factory=dict)
    orders: dict[str, DerivativeOrder] = field(default_factory=dict)
    fills: dict[str, DerivativeFill] = field(default_factory=dict)
    open_orders: dict[str, DerivativeOrder] = field(default_factory=dict)
    """Those of the orders that are open."""
    order_ids: dict[str, str] = field(default_factory=dict)
    """The id of the latest order of each client order id."""
    withdrawals: dict[str, CoinWithdrawal] = field(default_factory=dict)

    def copy(self) -> Self:
        """A snapshot."""
        return type(self)(
            {**self.positions},
            {**self.orders},
            {**self.fills},
            {**self.open_orders},
            {**self.order_ids},
            {**self.withdrawals},
        )

    def put_position(self, position: NetPosition) -> None:
        """Add or replace a position; size 0 removes it."""
        self.positions.pop(position.symbol, None)
        if position.size:
            self.positions[position.symbol] = position

    def put_order(self, order: DerivativeOrder) -> None:
        """Add or replace an order."""
        put_bounded(self.orders, order.id, order)
        self.open_orders.pop(order.id, None)
        if order.is_open:
            self.open_orders[order.id] = order
        if order.client_id is not None:
            put_bounded(self.order_ids, order.client_id, order.id)

    def by_client_id(self, client_id: str) -> DerivativeOrder | None:
        """The latest order of a client order id."""
        return self.orders.get(self.order_ids.get(client_id, ""))


def put_bounded(records: dict[str, _R], record_id: str, record: _R) -> None:
    """Add or replace a record, and drop the oldest beyond `MAX_KEPT`."""
    records[record_id] = record
    if len(records) > MAX_KEPT:
        del records[next(iter(records))]


def tally(holdings: DerivativeHoldings) -> dict[str, object]:
    """The truth about an account, whatever the exchange still shows of it.

    `by_client_id`: for each client order id the ids of the orders made under it, in order, when each was made (ms), and
    how much was filled in all. More than one order is a double execution. `without_client_id`: the ids of other orders.
    `by_symbol`: for each contract how much was bought and sold. `withdrawals`: for each client id of a withdrawal the
    ids of the withdrawals made under it.
    """
    withdrawals: dict[str, list[str]] = {}
    for withdrawal in holdings.withdrawals.values():
        withdrawals.setdefault(withdrawal.client_id or "", []).append(withdrawal.id)
    by_client_id: dict[str, dict[str, object]] = {}
    for client_id, orders in _grouped(holdings.orders.values()).items():
        by_client_id[client_id] = {
            "orders": [order.id for order in orders],
            "times": [order.time for order in orders],
            "filled": sum((order.filled for order in orders), Decimal(0)),
        }
    return {
        "by_client_id": by_client_id,
        "without_client_id": [order.id for order in holdings.orders.values() if order.client_id is None],
        "by_symbol": _traded(holdings.fills),
        "withdrawals": withdrawals,
    }


def _grouped(orders: Iterable[DerivativeOrder]) -> dict[str, list[DerivativeOrder]]:
    grouped: dict[str, list[DerivativeOrder]] = {}
    for order in orders:
        if order.client_id is not None:
            grouped.setdefault(order.client_id, []).append(order)
    return grouped


def _traded(fills: Mapping[str, DerivativeFill]) -> dict[str, dict[str, Decimal]]:
    traded: dict[str, dict[str, Decimal]] = {}
    for fill in fills.values():
        sums = traded.setdefault(fill.symbol, {"buy": Decimal(0), "sell": Decimal(0)})
        sums[fill.side] += fill.size
    return traded
