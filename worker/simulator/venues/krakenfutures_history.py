"""The history of orders and triggers at the simulated Kraken Futures: `GET /api/history/v3/orders` and `/triggers`.

Shapes: docs.kraken.com, api-reference/account-history/get-order-events and get-trigger-events, where numbers are quoted
and times are milliseconds; v2, which ccxt 4.5 asks for, is taken to be the same (I). An order that is filled at once
has one event, OrderPlaced with what was filled; a resting one has an OrderUpdated for its last fill (I).
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from worker.simulator.derivatives import DerivativeHoldings, DerivativeOrder

MAX_COUNT = 1000
"""How many events a page has at most. I."""

ACCOUNT_UID = "f7d5571c-6d10-4cf1-944a-048d25682ed0"

_TYPES = {"limit": "Limit", "post": "Post", "market": "Market", "ioc": "IoC", "fok": "FoK"}
_AT_ONCE = frozenset({"market", "ioc", "fok"})


def page(holdings: DerivativeHoldings, kind: str, query: Mapping[str, str], server_time: str) -> dict[str, object]:
    """A page of the events of `orders` or `triggers`; the continuation token is how many events came before."""
    orders = holdings.orders.values()
    events = [*(_order_events(orders) if kind == "orders" else _trigger_events(orders))]
    since, before = int(query.get("since", 0)), int(query.get("before", 10**15))
    tradeable = query.get("tradeable", "").upper()
    chosen = [
        event
        for symbol, event in events
        if since <= int(str(event["timestamp"])) <= before and tradeable in ("", symbol)
    ]
    chosen.sort(key=lambda event: int(str(event["timestamp"])), reverse=query.get("sort", "desc") != "asc")
    first = int(query.get("continuation_token", 0))
    last = first + min(int(query.get("count", MAX_COUNT)), MAX_COUNT)
    elements = chosen[first:last]
    more = {"continuationToken": str(last)} if last < len(chosen) else {}
    return {
        "accountUid": ACCOUNT_UID,
        "len": len(elements),
        "serverTime": server_time,
        "elements": elements,
        **more,
    }


def _order_events(orders: Iterable[DerivativeOrder]) -> Iterator[tuple[str, dict[str, object]]]:
    for order in orders:
        if order.is_trigger:
            continue
        at_once = order.filled if order.type in _AT_ONCE else Decimal(0)
        placed = {"order": _order(order, at_once, order.time), "reason": "new_user_order", "reducedQuantity": ""}
        yield order.symbol, _event(order, "OrderPlaced", placed, order.time)
        if order.filled > at_once:
            full = order.filled == order.size
            updated = {
                "oldOrder": _order(order, Decimal(0), order.time),
                "newOrder": _order(order, order.filled, order.updated),
                "reason": "full_fill" if full else "partial_fill",
                "reducedQuantity": "",
            }
            yield order.symbol, _event(order, "OrderUpdated", updated, order.updated)
        if order.state == "cancelled":
            ended = {"order": _order(order, order.filled, order.updated), "reason": "cancelled_by_user"}
            yield order.symbol, _event(order, "OrderCancelled", ended, order.updated)


def _trigger_events(orders: Iterable[DerivativeOrder]) -> Iterator[tuple[str, dict[str, object]]]:
    for order in orders:
        if order.stop_price is None:
            continue
        placed = {"order": _trigger(order, order.time), "reason": "new_user_order"}
        yield order.symbol, _event(order, "OrderTriggerPlaced", placed, order.time)
        if order.filled:
            yield (
                order.symbol,
                _event(order, "OrderTriggerActivated", {"order": _trigger(order, order.updated)}, order.updated),
            )
        elif order.state == "cancelled":
            ended = {"order": _trigger(order, order.updated), "reason": "cancelled_by_user"}
            yield order.symbol, _event(order, "OrderTriggerCancelled", ended, order.updated)


def _event(order: DerivativeOrder, name: str, content: object, time_ms: int) -> dict[str, object]:
    return {"uid": f"{order.id}-{name}", "timestamp": time_ms, "event": {name: content}}


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
