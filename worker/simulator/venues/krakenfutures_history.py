"""The history of orders and triggers at the simulated Kraken Futures: `GET /api/history/v3/orders` and `/triggers`.

Shapes: docs.kraken.com, api-reference/account-history/get-order-events and get-trigger-events, where numbers are quoted
and times are milliseconds; v2, which ccxt 4.5 asks for, is taken to be the same (I). An order that is filled at once
has one event, OrderPlaced with what was filled; a resting one has an OrderUpdated for its last fill (I).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from worker.simulator.derivatives import DerivativeHoldings, DerivativeOrder

MAX_COUNT = 1000
"""How many events a page has at most. I."""

ACCOUNT_UID = "f7d5571c-6d10-4cf1-944a-048d25682ed0"

_TYPES = {"limit": "Limit", "post": "Post", "market": "Market", "ioc": "IoC", "fok": "FoK"}
_REASONS = {
    "OrderPlaced": "new_user_order",
    "OrderCancelled": "cancelled_by_user",
    "OrderTriggerPlaced": "new_user_order",
    "OrderTriggerCancelled": "cancelled_by_user",
}
_AT_ONCE = frozenset({"market", "ioc", "fok"})


def page(holdings: DerivativeHoldings, kind: str, query: Mapping[str, str], server_time: str) -> dict[str, object]:
    """A page of the events of `orders` or `triggers`; the continuation token is how many events came before."""
    since, before = int(query.get("since", 0)), int(query.get("before", 10**15))
    tradeable = query.get("tradeable", "").upper()
    orders = [order for order in holdings.orders.values() if tradeable in ("", order.symbol)]
    events = _order_events(orders) if kind == "orders" else _trigger_events(orders)
    chosen = [event for event in events if since <= event.time <= before]
    chosen.sort(key=lambda event: event.time, reverse=query.get("sort", "desc") != "asc")
    first = int(query.get("continuation_token", 0))
    last = first + min(int(query.get("count", MAX_COUNT)), MAX_COUNT)
    more = {"continuationToken": str(last)} if last < len(chosen) else {}
    elements = [_element(event) for event in chosen[first:last]]
    return {"accountUid": ACCOUNT_UID, "len": len(elements), "serverTime": server_time, "elements": elements, **more}


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that happened to an order at `time` (ms); `filled` is how much of it was filled after that."""

    order: DerivativeOrder
    name: str
    time: int
    filled: Decimal = Decimal(0)


def _order_events(orders: Iterable[DerivativeOrder]) -> Iterator[_Event]:
    for order in orders:
        if order.is_trigger:
            continue
        at_once = order.filled if order.type in _AT_ONCE else Decimal(0)
        yield _Event(order, "OrderPlaced", order.time, at_once)
        if order.filled > at_once:
            yield _Event(order, "OrderUpdated", order.updated, order.filled)
        if order.state == "cancelled":
            yield _Event(order, "OrderCancelled", order.updated, order.filled)


def _trigger_events(orders: Iterable[DerivativeOrder]) -> Iterator[_Event]:
    for order in orders:
        if order.stop_price is None:
            continue
        yield _Event(order, "OrderTriggerPlaced", order.time)
        if order.filled:
            yield _Event(order, "OrderTriggerActivated", order.updated)
        elif order.state == "cancelled":
            yield _Event(order, "OrderTriggerCancelled", order.updated)


def _element(event: _Event) -> dict[str, object]:
    order = event.order
    content: dict[str, object]
    if event.name.startswith("OrderTrigger"):
        content = {"order": _trigger(order, event.time)}
    elif event.name == "OrderUpdated":
        old, new = _order(order, Decimal(0), order.time), _order(order, event.filled, event.time)
        content = {"oldOrder": old, "newOrder": new, "reducedQuantity": ""}
    else:
        content = {"order": _order(order, event.filled, event.time), "reducedQuantity": ""}
    if event.name == "OrderUpdated":
        content["reason"] = "full_fill" if event.filled == order.size else "partial_fill"
    elif event.name in _REASONS:
        content["reason"] = _REASONS[event.name]
    return {"uid": f"{order.id}-{event.name}", "timestamp": event.time, "event": {event.name: content}}


def _order(order: DerivativeOrder, filled: Decimal, updated_ms: int) -> dict[str, object]:
    return {
        **_common(order, updated_ms),
        "filled": format(filled, "f"),
        "orderType": _TYPES.get(order.type, "Limit"),
    }


def _trigger(order: DerivativeOrder, updated_ms: int) -> dict[str, object]:
    options = {
        "triggerPrice": format(order.stop_price or Decimal(0), "f"),
        "triggerSide": "Below" if order.side == "sell" else "Above",
        "triggerSignal": f"{(order.trigger_signal or 'last').capitalize()}Price",
        "trailingStopOptions": None,
        "limitPriceOffset": None,
    }
    return {**_common(order, updated_ms), "orderType": "Limit", "triggerOptions": options}


def _common(order: DerivativeOrder, updated_ms: int) -> dict[str, object]:
    return {
        "uid": order.id,
        "accountUid": ACCOUNT_UID,
        "tradeable": order.symbol,
        "direction": order.side.capitalize(),
        "quantity": format(order.size, "f"),
        "timestamp": order.time,
        "limitPrice": None if order.price is None else format(order.price, "f"),
        "clientId": order.client_id or "",
        "reduceOnly": order.reduce_only,
        "lastUpdateTimestamp": updated_ms,
    }
