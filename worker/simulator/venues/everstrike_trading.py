"""What Everstrike's requests do to an account, and what reads show. `everstrike` has checked the requests.

A close at market is filled at once at the position's mark price. A close with a price becomes an ACTIVE order, and one
with a trigger price an UNTRIGGERED trigger. Closing more than the position's size is refused (I: no public source
states it; reducing the amount would hide a client's mistake).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Protocol, TypeVar
from uuid import uuid4

from worker.simulator.accounts import Account, Accounts, Balance, Holdings, put_bounded
from worker.simulator.records import Fill, Order, Position, Settings, Trigger, Withdrawal
from worker.simulator.venues.everstrike import Refused
from worker.simulator.venues.everstrike_views import (
    balances_view,
    fill_view,
    order_view,
    position_view,
    trigger_view,
    withdrawal_view,
)

NO_ORDER = "The order was not found"
NO_POSITION = "The position was not found"
NO_FUNDS = "Your request was rejected due to insufficient balance."
DEFAULT_LIMIT = 500


class _Dated(Protocol):
    @property
    def time(self) -> int: ...


_D = TypeVar("_D", bound=_Dated)


class Trading:
    """Executes commands and reads. `clock` returns UNIX ms, and `new_id` an id of the venue (32 hex digits)."""

    def __init__(
        self,
        accounts: Accounts,
        clock: Callable[[], int],
        settings: Callable[[], Settings],
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._settings = settings
        self._new_id = new_id
        self._commands = {"/auth/close": self._close, "/auth/cancel": self._cancel, "/auth/withdraw": self._withdraw}

    def command(self, account: Account, path: str, fields: dict[str, str]) -> object:
        """Execute and record a POST; returns the `result`. If it raises Refused, nothing has changed."""
        result = self._commands[path](account, fields)
        self._accounts.add_execution(account, path, fields)
        return result

    def read(self, account: Account, path: str, fields: dict[str, str]) -> object:
        """The `result` of a GET, from what is visible at its path. May raise Refused."""
        holdings = self._accounts.visible(account, path)
        match path:
            case "/position":
                pair = fields["pair"]
                # A pair without a position gets an empty position. I.
                return position_view(holdings.positions.get(pair) or Position(pair=pair, size=Decimal(0)))
            case "/active_positions":
                return {pair: position_view(position) for pair, position in holdings.positions.items()}
            case "/order":
                return order_view(_order(holdings, fields["id"]))
            case "/balances":
                return balances_view(holdings.balances)
        return _listing(holdings, path, fields)

    def _close(self, account: Account, fields: Mapping[str, str]) -> object:
        position = account.holdings.positions.get(fields["pair"])
        if position is None:
            raise Refused(NO_POSITION)
        qty = Decimal(fields["qty"]) if "qty" in fields else position.size
        if qty > position.size:
            raise Refused
        if "trigger_price" in fields:
            return self._stop(account, position, fields)
        if "price" in fields:
            return self._close_result(self._limit(account, position, qty, Decimal(fields["price"])))
        return self._close_result(self._market(account, position, qty))

    def _market(self, account: Account, position: Position, qty: Decimal) -> Order:
        now, holdings = self._clock(), self._accounts.holdings_to_change(account)
        order = Order(
            id=self._new_id(),
            pair=position.pair,
            side=position.closing_side,
            type="MARKET",
            price=position.mark_price,
            qty_orig=qty,
            qty_remaining=Decimal(0),
            status="COMPLETED",
            time=now,
            reduce_only=True,
        )
        fill = Fill(
            id=self._new_id(),
            order_id=order.id,
            pair=order.pair,
            side=order.side,
            price=order.price,
            qty=qty,
            time=now,
        )
        holdings.put_position(position.model_copy(update={"size": position.size - qty}))
        holdings.put_order(order)
        put_bounded(holdings.fills, fill.id, fill)
        return order

    def _limit(self, account: Account, position: Position, qty: Decimal, price: Decimal) -> Order:
        order = Order(
            id=self._new_id(),
            pair=position.pair,
            side=position.closing_side,
            price=price,
            qty_orig=qty,
            qty_remaining=qty,
            time=self._clock(),
            reduce_only=True,
        )
        self._accounts.holdings_to_change(account).put_order(order)
        return order

    def _stop(self, account: Account, position: Position, fields: Mapping[str, str]) -> object:
        trigger = Trigger.model_validate(
            {
                "id": self._new_id(),
                "pair": position.pair,
                "side": position.closing_side,
                "qty": fields.get("qty"),
                "price": fields.get("price"),
                "trigger_price": fields["trigger_price"],
                "trigger_event": fields.get("trigger_event", "MARK_PRICE"),
                "close_on_trigger": fields.get("close_on_trigger") == "true",
                "time": self._clock(),
            }
        )
        put_bounded(self._accounts.holdings_to_change(account).triggers, trigger.id, trigger)
        return trigger_view(trigger)

    def _cancel(self, account: Account, fields: Mapping[str, str]) -> object:
        order = account.holdings.open_orders.get(fields["id"])
        if order is None:  # also if it is filled or cancelled already, because there is nothing to cancel. I.
            raise Refused(NO_ORDER)
        cancelled = order.model_copy(update={"status": "CANCELLED"})
        self._accounts.holdings_to_change(account).put_order(cancelled)
        return order_view(cancelled)

    def _withdraw(self, account: Account, fields: Mapping[str, str]) -> object:
        asset, qty = fields["asset"], Decimal(fields["qty"])
        balance = account.holdings.balances.get(asset, Balance())
        if qty > balance.free:
            raise Refused(NO_FUNDS)
        withdrawal = Withdrawal(
            id=self._new_id(), asset=asset, address=fields["address"], qty=qty, net=qty, time=self._clock()
        )
        holdings = self._accounts.holdings_to_change(account)
        holdings.balances[asset] = replace(balance, free=balance.free - qty, withdrawn=balance.withdrawn + qty)
        put_bounded(holdings.withdrawals, withdrawal.id, withdrawal)
        return withdrawal_view(withdrawal)

    def _close_result(self, order: Order) -> object:
        return {"order": order_view(order)} if self._settings().nested_orders else order_view(order)


def _order(holdings: Holdings, order_id: str) -> Order:
    order = holdings.open_orders.get(order_id) or holdings.done_orders.get(order_id)
    if order is None:
        raise Refused(NO_ORDER)
    return order


def _listing(holdings: Holdings, path: str, fields: Mapping[str, str]) -> object:
    match path:
        case "/active_orders":
            return [order_view(order) for order in _page(holdings.open_orders.values(), fields)]
        case "/completed_orders":
            done = (order for order in holdings.done_orders.values() if order.status == "COMPLETED")
            return [order_view(order) for order in _page(done, fields)]
        case "/orders":
            everything = (*holdings.open_orders.values(), *holdings.done_orders.values())
            return [order_view(order) for order in _page(everything, fields)]
        case "/fills":
            return [fill_view(fill) for fill in _page(holdings.fills.values(), fields)]
        case "/triggers":
            return [trigger_view(trigger) for trigger in _page(holdings.triggers.values(), fields)]
        case "/withdrawals":
            return [withdrawal_view(withdrawal) for withdrawal in _page(holdings.withdrawals.values(), fields)]
    raise AssertionError(path)


def _page(records: Iterable[_D], fields: Mapping[str, str]) -> list[_D]:
    """The records of a pair between `start` and `end` (ms, both included), newest first (I), at most `limit`."""
    start, end = int(fields.get("start", 0)), int(fields.get("end", 10**15))
    pair = fields.get("pair")
    found = [
        record
        for record in records
        if start <= record.time <= end and (pair is None or getattr(record, "pair", None) == pair)
    ]
    found.sort(key=lambda record: record.time, reverse=True)
    return found[: int(fields.get("limit", DEFAULT_LIMIT))]
