"""What orders do to an account at a derivatives exchange.

There is no order book: an order at market, and an immediate-or-cancel order at or beyond the mark price, are filled at
once and whole at the mark price. A limit order rests, whatever its price, until a test fills it or a part of it; a
trigger waits apart from the orders until a test fills it. A test moves the mark price.

Reduce-only is Kraken's description of it (support.kraken.com, "Other order options"): without a position that the order
would reduce it is refused; of an order beyond the position the rest is cut off; a trigger is checked when it is
activated. A resting reduce-only order is cancelled once there is nothing left for it to reduce.
"""

from collections.abc import Callable
from decimal import Decimal, localcontext
from uuid import uuid4

from worker.simulator.accounts import Account, Accounts
from worker.simulator.derivatives import DerivativeFill, DerivativeHoldings, DerivativeOrder, NetPosition, put_bounded


class WouldNotReduce(Exception):
    """A reduce-only order has no position to reduce."""


class WouldNotExecute(Exception):
    """An immediate-or-cancel order has a price that nobody meets."""


class Matching:
    """The trading of one exchange. `clock` returns UNIX ms, `mark` the mark price of a contract."""

    def __init__(self, accounts: Accounts, clock: Callable[[], int], mark: Callable[[str], Decimal]) -> None:
        self._accounts = accounts
        self._clock = clock
        self._mark = mark

    def place(self, account: Account, order: DerivativeOrder) -> tuple[DerivativeOrder, list[DerivativeFill]]:
        """Accept an order, and fill it if it is at market; returns it as it is then, and its fills.

        Raises WouldNotReduce and WouldNotExecute; then nothing has changed.
        """
        if order.type in ("ioc", "fok") and not self._meets_mark(order):
            raise WouldNotExecute
        if order.reduce_only and not order.is_trigger:
            order = _cut(account.holdings.derivatives, order)
        holdings = self._accounts.holdings_to_change(account).derivatives
        holdings.put_order(order)
        if order.type not in ("market", "ioc", "fok"):
            return order, []
        filled, fill = self._fill(holdings, order, order.size, self._mark(order.symbol))
        return filled, [fill]

    def place_cancelled(self, account: Account, order: DerivativeOrder) -> DerivativeOrder:
        """Accept an order that is cancelled at once, because nobody meets its price."""
        return self._end(self._accounts.holdings_to_change(account).derivatives, order)

    def cancel(self, account: Account, order: DerivativeOrder) -> DerivativeOrder:
        """End an open order."""
        return self._end(self._accounts.holdings_to_change(account).derivatives, order)

    def fill(self, account: Account, order: DerivativeOrder, size: Decimal | None = None) -> DerivativeOrder:
        """Fill a resting order, or a part of it; a trigger is activated by it. `size` None: all that is left.

        A reduce-only order is filled as far as there is a position, and cancelled if there is none to reduce. Raises
        ValueError if the order is not open or has less left.
        """
        asked = order.left if size is None else size
        if not order.is_open or not 0 < asked <= order.left:
            raise ValueError(f"order {order.id} is {order.state} and has {order.left} left: {asked} can't be filled")
        holdings = self._accounts.holdings_to_change(account).derivatives
        if order.reduce_only:
            position = holdings.positions.get(order.symbol)
            if position is None or not position.is_reduced_by(order.side):
                return self._end(holdings, order)
            asked = min(asked, abs(position.size))
        price = order.price if order.price is not None else self._mark(order.symbol)
        return self._fill(holdings, order, asked, price)[0]

    def _meets_mark(self, order: DerivativeOrder) -> bool:
        mark = self._mark(order.symbol)
        return order.price is None or (order.price >= mark if order.side == "buy" else order.price <= mark)

    def _end(self, holdings: DerivativeHoldings, order: DerivativeOrder) -> DerivativeOrder:
        ended = order.model_copy(update={"state": "cancelled", "updated": self._clock()})
        holdings.put_order(ended)
        return ended

    def _fill(
        self, holdings: DerivativeHoldings, order: DerivativeOrder, size: Decimal, price: Decimal
    ) -> tuple[DerivativeOrder, DerivativeFill]:
        now = self._clock()
        total = order.filled + size
        state = "filled" if total == order.size else "open"
        average = ((order.average or Decimal(0)) * order.filled + price * size) / total
        filled = order.model_copy(update={"filled": total, "average": average, "state": state, "updated": now})
        holdings.put_order(filled)
        fill = DerivativeFill(
            id=str(uuid4()),
            order_id=order.id,
            client_id=order.client_id,
            symbol=order.symbol,
            side=order.side,
            size=size,
            price=price,
            time=now,
        )
        put_bounded(holdings.fills, fill.id, fill)
        _move(holdings, fill)
        for other in [each for each in holdings.open_orders.values() if _is_idle(holdings, each)]:
            self._end(holdings, other)
        return holdings.orders[order.id], fill


def is_multiple(number: Decimal, step: Decimal) -> bool:
    """Whether a number is a multiple of a step."""
    with localcontext(prec=100):
        return not number % step


def _cut(holdings: DerivativeHoldings, order: DerivativeOrder) -> DerivativeOrder:
    """A reduce-only order, not larger than the position."""
    position = holdings.positions.get(order.symbol)
    if position is None or not position.is_reduced_by(order.side):
        raise WouldNotReduce
    cut = max(order.size - abs(position.size), Decimal(0))
    return order.model_copy(update={"size": order.size - cut, "cut": cut})


def _move(holdings: DerivativeHoldings, fill: DerivativeFill) -> None:
    """Apply a fill to the position; the entry price is averaged over what increases it."""
    held = holdings.positions.get(fill.symbol, NetPosition(symbol=fill.symbol, size=Decimal(0), time=fill.time))
    size = held.size + (fill.size if fill.side == "buy" else -fill.size)
    if not held.size or held.size * size < 0:
        entry = fill.price
    elif abs(size) > abs(held.size):
        entry = (held.entry_price * abs(held.size) + fill.price * fill.size) / abs(size)
    else:
        entry = held.entry_price
    holdings.put_position(NetPosition(symbol=fill.symbol, size=size, entry_price=entry, time=fill.time))


def _is_idle(holdings: DerivativeHoldings, order: DerivativeOrder) -> bool:
    """Whether a resting reduce-only order has nothing left to reduce."""
    if order.is_trigger or not order.reduce_only:
        return False
    position = holdings.positions.get(order.symbol)
    return position is None or not position.is_reduced_by(order.side)
