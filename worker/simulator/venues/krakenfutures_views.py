"""The records of the simulated Kraken Futures as its replies show them. Numbers are not quoted, times are ISO 8601.

Shapes: docs.kraken.com, api-reference/order-management (send-order, cancel-order, get-specific-orders-status,
get-open-orders), account-information/get-open-positions, historical-data/get-fills. A market order is shown as the
immediate-or-cancel order that it is there (send-order, `mkt`).
"""

from datetime import UTC, datetime
from decimal import Decimal

from worker.simulator.derivatives import DerivativeFill, DerivativeOrder, NetPosition

_OPEN_TYPES = {"stop": "stop", "take_profit": "take_profit"}
_EVENT_TYPES = {"limit": "lmt", "post": "post", "market": "ioc", "ioc": "ioc", "fok": "fok"}
_STATUSES = {"open": "ENTERED_BOOK", "filled": "FULLY_EXECUTED", "cancelled": "CANCELLED"}
_REASONS = {"filled": "full_fill", "cancelled": "cancelled_by_user"}


def iso(time_ms: int) -> str:
    """A time as the exchange writes it."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03}Z"


def _optional(order: DerivativeOrder | DerivativeFill) -> dict[str, object]:
    return {"cliOrdId": order.client_id} if order.client_id is not None else {}


def order_json(order: DerivativeOrder, filled: Decimal) -> dict[str, object]:
    """An order inside an event of a reply to a request that changes something."""
    return {
        "orderId": order.id,
        "cliOrdId": order.client_id,
        "type": _EVENT_TYPES[order.type],
        "symbol": order.symbol,
        "side": order.side,
        "quantity": order.size,
        "filled": filled,
        "limitPrice": order.price,
        "reduceOnly": order.reduce_only,
        "timestamp": iso(order.time),
        "lastUpdateTimestamp": iso(order.updated),
    }


def trigger_json(order: DerivativeOrder, mark: Decimal) -> dict[str, object]:
    """A trigger inside an event."""
    stop_price = order.stop_price or Decimal(0)
    return {
        "uid": order.id,
        "clientId": order.client_id,
        "type": "ioc" if order.price is None else "lmt",
        "symbol": order.symbol,
        "side": order.side,
        "quantity": order.size,
        "limitPrice": order.price,
        "triggerPrice": stop_price,
        "triggerSide": "trigger_below" if stop_price < mark else "trigger_above",
        "triggerSignal": f"{order.trigger_signal}_price",
        "reduceOnly": order.reduce_only,
        "timestamp": iso(order.time),
        "lastUpdateTimestamp": iso(order.updated),
    }


def place_event(order: DerivativeOrder, mark: Decimal) -> dict[str, object]:
    """An order or a trigger that rests now."""
    if order.is_trigger:
        return {"type": "PLACE", "orderTrigger": trigger_json(order, mark)}
    return {"type": "PLACE", "order": order_json(order, order.filled), "reducedQuantity": order.cut or None}


def execution_event(order: DerivativeOrder, fill: DerivativeFill) -> dict[str, object]:
    """A fill of an order at once."""
    return {
        "type": "EXECUTION",
        "executionId": fill.id,
        "price": fill.price,
        "amount": fill.size,
        "orderPriorEdit": None,
        "orderPriorExecution": order_json(order, order.filled - fill.size),
        "takerReducedQuantity": order.cut or None,
    }


def cancel_event(order: DerivativeOrder, mark: Decimal) -> dict[str, object]:
    """An order or a trigger that was cancelled."""
    if order.is_trigger:
        return {"type": "CANCEL", "uid": order.id, "orderTrigger": trigger_json(order, mark)}
    return {"type": "CANCEL", "uid": order.id, "order": order_json(order, order.filled)}


def status_view(order: DerivativeOrder) -> dict[str, object]:
    """An element of `orders` of orders/status."""
    options = {"triggerPrice": order.stop_price, "triggerSide": None, "triggerSignal": order.trigger_signal}
    return {
        "order": {
            "type": "TRIGGER_ORDER" if order.is_trigger else "ORDER",
            "orderId": order.id,
            "cliOrdId": order.client_id,
            "symbol": order.symbol,
            "side": order.side,
            "quantity": order.size,
            "filled": order.filled,
            "limitPrice": order.price,
            "reduceOnly": order.reduce_only,
            "timestamp": iso(order.time),
            "lastUpdateTimestamp": iso(order.updated),
            "priceTriggerOptions": options if order.is_trigger else None,
            "triggerTime": None,
        },
        "status": "TRIGGER_PLACED" if order.is_trigger and order.is_open else _STATUSES[order.state],
        "updateReason": _REASONS.get(order.state, "partial_fill" if order.filled else None),
        "error": None,
    }


def open_order_view(order: DerivativeOrder) -> dict[str, object]:
    """An element of `openOrders`."""
    trigger = {"stopPrice": order.stop_price, "triggerSignal": order.trigger_signal} if order.is_trigger else {}
    return {
        "order_id": order.id,
        **_optional(order),
        "symbol": order.symbol,
        "side": order.side,
        "orderType": _OPEN_TYPES.get(order.type, "lmt"),
        **({"limitPrice": order.price} if order.price is not None else {}),
        **trigger,
        "unfilledSize": order.left,
        "receivedTime": iso(order.time),
        "status": "partiallyFilled" if order.filled else "untouched",
        "filledSize": order.filled,
        "reduceOnly": order.reduce_only,
        "lastUpdateTime": iso(order.updated),
    }


def fill_view(fill: DerivativeFill, order: DerivativeOrder | None) -> dict[str, object]:
    """An element of `fills`."""
    resting = order is not None and order.type in ("limit", "post")
    return {
        "fill_id": fill.id,
        "symbol": fill.symbol,
        "side": fill.side,
        "order_id": fill.order_id,
        "size": fill.size,
        "price": fill.price,
        "fillTime": iso(fill.time),
        "fillType": "maker" if resting else "taker",
        **_optional(fill),
    }


def position_view(position: NetPosition) -> dict[str, object]:
    """An element of `openPositions`."""
    multi = {"pnlCurrency": "USD"} if position.symbol.startswith("PF_") else {}
    return {
        "side": "long" if position.size > 0 else "short",
        "symbol": position.symbol,
        "price": position.entry_price,
        "fillTime": iso(position.time),
        "size": abs(position.size),
        "unrealizedFunding": Decimal("-0.00000008155240068885155"),
        **multi,
    }
