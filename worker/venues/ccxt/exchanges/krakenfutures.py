"""Kraken Futures: perpetual and dated contracts. Its pages (:data:`SOURCES`) were read; it was not run against.

Refusals arrive with status 200 and ``"result": "success"``, as words in ``sendStatus.status``. A signature covers no
time; only ``processBefore`` makes a request late. Orders that have ended leave "Get Specific Orders' Status" after 5 s,
so that the fills and the history are read as well.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from worker.rate_limits import RateLimit
from worker.venues.base import Overload, Proof
from worker.venues.ccxt.traits import Envelope, InTime, Listed, Params, Place, Stop, Traits, Wanted, requests_of

SOURCES = (
    "docs.kraken.com/api/docs/futures-api/trading: Send order, Cancel order, Get Specific Orders' Status (2026-05)",
    "docs.kraken.com/api/docs/futures-api/trading: Get open orders, Get your fills, Get Open Positions (2026-05)",
    "docs.kraken.com/api/docs/futures-api/history: Account History, Get order events, Get trigger events (2026-05)",
    "docs.kraken.com/api/docs/guides: Futures Introduction, Futures REST, Futures Rate Limits (2026-05)",
)
"""With the month of the stored copies."""
SEND, CANCEL = "Kraken Futures, Send order", "Kraken Futures, Cancel order"
ORDERS = ("close", "submit")

WINDOW_MS = 10_000
"""Kraken names no bound of ``processBefore``. It leaves room for the request and for clocks that differ by seconds."""
HISTORY_MS = 90 * 86_400_000
"""Account History: "access to all private order history specified by ranges of timestamp". Nobody has tried how much
that is."""
FILLS_PAGE = 100
""""Get your fills": the last 100, or the 100 before ``lastFillTime``."""

NOT_PLACED = (
    *("invalidOrderType", "invalidSide", "invalidSize", "invalidPrice", "insufficientAvailableFunds", "selfFill"),
    *("tooManySmallOrders", "maxPositionViolation", "marketSuspended", "marketInactive", "clientOrderIdTooLong"),
    *("outsidePriceCollar", "postWouldExecute", "iocWouldNotExecute", "wouldCauseLiquidation"),
    "wouldNotReducePosition",
)
"""The words of ``sendStatus.status`` that are described as orders that were not placed. Others of its enumeration
(``tooManyOrders``, ``marketIsPostOnly``, ``wouldIncreasePriceDislocation``, …) are described nowhere."""

NOT_TAKEN = ("accountInactive", "authenticationError", "invalidArgument", "requiredArgumentMissing", "Json Parse Error")
"""Errors that are described as a request that can't be understood, authenticated or permitted."""

NOT_KNOWN = (
    *("Server Error", "unknownError", "Unavailable", "marketUnavailable", "nonceBelowThreshold", "nonceDuplicate"),
    *("insufficientFunds", "invalidAccount", "invalidAmount", "invalidUnit"),
)
"""Errors whose descriptions do not say what became of an order: failures, those of a nonce, which is never sent, and
those that are described for transfers alone. ccxt takes some of them for refusals."""

LISTED = (
    Listed("success", Proof.EXECUTED, "Kraken Futures, every page: result", commands=("positions",)),
    Listed("placed", Proof.EXECUTED, f"{SEND}, sendStatus.status", commands=ORDERS),
    Listed("cancelled", Proof.EXECUTED, f"{CANCEL}, cancelStatus.status", commands=("cancel",)),
    *(Listed(word, Proof.REFUSED, f"{SEND}, sendStatus.status", commands=ORDERS) for word in NOT_PLACED),
    Listed("clientOrderIdAlreadyExist", Proof.SEEN, f"{SEND}: cliOrdId is globally unique", commands=ORDERS),
    Listed("wouldProcessAfterSpecifiedTime", Proof.NOT_EXECUTED, f"{SEND}, processBefore", commands=ORDERS),
    Listed("filled", Proof.REFUSED, f"{CANCEL}, cancelStatus.status", commands=("cancel",)),
    Listed("notFound", Proof.REFUSED, f"{CANCEL}, cancelStatus.status", commands=("cancel",)),
    *(Listed(word, Proof.REFUSED, f"{SEND}, ErrorResponse") for word in NOT_TAKEN),
    Listed("apiLimitExceeded", Proof.NOT_EXECUTED, "Kraken Futures, Futures Rate Limits, Example", overload=True),
    *(Listed(word, Proof.UNKNOWN, f"{SEND}, ErrorResponse") for word in NOT_KNOWN),
)


def read(value: Any) -> Envelope | None:
    """``{"result": "success", "sendStatus": {"status": …}, "serverTime": …}``, or with ``cancelStatus``, a list, or
    ``{"result": "error", "error": …, "serverTime": …}``.

    A status that its own events contradict is named with the event, so that it is not listed.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("serverTime"), str):
        return None
    if value.get("result") == "error":
        error = value.get("error")
        return Envelope(error) if isinstance(error, str) and error else None
    if value.get("result") != "success" or "error" in value or value.get("errors"):
        return None
    for name in ("sendStatus", "cancelStatus"):
        if name in value:
            record = value[name]
            status = record.get("status") if isinstance(record, Mapping) else None
            return Envelope(_with_event(status, record), record=record) if isinstance(status, str) else None
    return Envelope("success")


def _with_event(status: str, record: Mapping[str, Any]) -> str:
    events = record.get("orderEvents")
    types = [each.get("type") for each in events if isinstance(each, Mapping)] if isinstance(events, list) else []
    contradicting = {"placed": ("REJECT",), "cancelled": ("REJECT",)}.get(status, ("EXECUTION", "PLACE"))
    wrong = next((each for each in contradicting if each in types), "")
    return f"{status} ({wrong})" if wrong else status


Rows = Callable[[Any], Sequence[Any] | None]
NextArgs = Callable[[Any], tuple[Any, ...] | None]


def rows_of(name: str) -> Rows:
    """Reads a list of an answer that says ``success``."""

    def rows(value: Any) -> Sequence[Any] | None:
        found = value.get(name) if isinstance(value, Mapping) and value.get("result") == "success" else None
        return found if isinstance(found, list) else None

    return rows


def history_rows(value: Any) -> Sequence[Any] | None:
    """The orders in the events of the history, each with the name of its ``event``; what is no such event stays as it
    is. ``len`` says how many there are."""
    found = value.get("elements") if isinstance(value, Mapping) else None
    if not isinstance(found, list) or value.get("len", len(found)) != len(found):
        return None
    return [_order_of(each) for each in found]


def _order_of(element: Any) -> Any:
    event = element.get("event") if isinstance(element, Mapping) else None
    for name, content in event.items() if isinstance(event, Mapping) else ():
        for key in ("order", "newOrder", "newOrderTrigger", "oldOrder", "oldOrderTrigger"):
            if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
                details = {each: content[each] for each in ("reason", "orderError") if each in content}
                return {**content[key], **details, "event": name}
    return element


STATUSES = {
    **dict.fromkeys(("ENTERED_BOOK", "TRIGGER_PLACED", "untouched", "partiallyFilled", "placed"), "open"),
    **dict.fromkeys(("OrderPlaced", "OrderUpdated", "OrderEditRejected"), "open"),
    **dict.fromkeys(("OrderTriggerPlaced", "OrderTriggerUpdated", "OrderTriggerEditRejected"), "open"),
    **dict.fromkeys(("FULLY_EXECUTED", "OrderTriggerActivated"), "closed"),
    **dict.fromkeys(("CANCELLED", "cancelled", "OrderCancelled", "OrderTriggerCancelled"), "canceled"),
    # The stop was taken, and the order that it sent later was not.
    "TRIGGER_ACTIVATION_FAILURE": "canceled",
    **dict.fromkeys(("REJECTED", "OrderRejected"), "rejected"),
}
"""By the words of the lists and the names of the events of the history."""


def status(row: Any) -> str:
    """An order that was rejected *after* an execution (``REJECTED_AFTER_EXECUTION``) has no status: neither "rejected"
    nor "taken" is true of it."""
    if not isinstance(row, Mapping):
        return ""
    word = row.get("event", row.get("status"))
    said = STATUSES.get(word, "") if isinstance(word, str) else ""
    if word == "OrderUpdated" and row.get("reason") == "full_fill":  # as ccxt's fetch_closed_orders reads it
        return "closed"
    order = row["order"] if isinstance(row.get("order"), Mapping) else row
    errors = (row.get("error"), row.get("orderError"))
    after_execution = "REJECTED_AFTER_EXECUTION" in errors or not _is_zero(order.get("filled"))
    return "" if said == "rejected" and after_execution else said


def _is_zero(value: Any) -> bool:
    try:
        return Decimal(str(value)) == 0
    except InvalidOperation:
        return False


def find(wanted: Wanted) -> Sequence[Place]:
    """By the client order id, or by the order's id."""
    ids = {"cliOrdIds": wanted.handle} if wanted.handle else {"orderIds": [wanted.order_id]}
    history = {"version": "v3", "sort": "desc", **({"since": wanted.since_ms} if wanted.since_ms else {})}
    orders = (
        # Documented as a POST; ccxt's own method reads it by GET.
        Place("request", ("orders/status", ("private",), "POST", ids), rows_of("orders")),
        Place("fetch_open_orders", (), rows_of("openOrders")),
        Place("privateGetFills", ({},), rows_of("fills"), "parse_trade", next_args=_next_fills(wanted.since_ms)),
        Place("historyGetOrders", (history,), history_rows, next_args=_next_events(history)),
    )
    triggers = Place("historyGetTriggers", (history,), history_rows, next_args=_next_events(history), is_stop=True)
    # A cancel names any order; what is looked for by its handle is known to be a stop or not.
    return (*orders, triggers) if wanted.is_stop or wanted.order_id else orders


def _next_events(params: Mapping[str, Any]) -> NextArgs:
    def next_args(value: Any) -> tuple[Any, ...] | None:
        token = value.get("continuationToken") if isinstance(value, Mapping) else None
        return ({**params, "continuation_token": token},) if token else None

    return next_args


def _next_fills(since_ms: int) -> NextArgs:
    """Pages back to ``since_ms``, or to the first fill. The next page begins with the last millisecond of this one, of
    which it may show only a part."""

    def next_args(value: Any) -> tuple[Any, ...] | None:
        fills = rows_of("fills")(value) or []
        if len(fills) < FILLS_PAGE:
            return None
        try:
            oldest = datetime.fromisoformat(fills[-1]["fillTime"])
        except (ValueError, TypeError, KeyError):
            return ({},)  # The same page again: it never ends, so that the list counts as unreadable.
        if oldest.timestamp() * 1000 < since_ms:
            return None
        return ({"lastFillTime": iso(oldest + timedelta(milliseconds=1))},)

    return next_args


def iso(time: datetime) -> str:
    """As "Futures Introduction", Dates and Times, shows it."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def in_time(window: str, now_ms: int, until_ms: int) -> InTime:  # noqa: ARG001
    """``processBefore``: "the time before which the request should be processed, otherwise it is rejected"."""
    return InTime({"processBefore": iso(datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=until_ms))})


def stop(trigger: Stop) -> Params:
    """Raw parameters, because ccxt makes its own ``stopLossPrice`` reduce a position always."""
    kind = "stp" if trigger.loses else "take_profit"
    return {"stopPrice": trigger.price, "orderType": kind, "triggerSignal": trigger.event}


TRAITS = Traits(
    base_url="https://futures.kraken.com",
    testnet_url="https://demo-futures.kraken.com",
    mutating=requests_of(
        close="POST /derivatives/api/v3/sendorder",
        submit="POST /derivatives/api/v3/sendorder",
        cancel="POST /derivatives/api/v3/cancelorder",
    ),
    post_reads=frozenset({"POST /derivatives/api/v3/orders/status"}),
    listed=LISTED,
    read=read,
    find=find,
    positions=lambda symbol: (
        Place("fetch_positions", ([symbol] if symbol else None,), rows_of("openPositions"), "parse_position"),
    ),
    # At most 100 characters, "globally unique" (Send order, cliOrdId).
    order_handle=lambda handle, is_stop: {"clientOrderId": handle},  # noqa: ARG005
    in_time=in_time,
    windows={"close": WINDOW_MS, "submit": WINDOW_MS, "cancel": WINDOW_MS, "stop": WINDOW_MS},
    complete_for_ms=HISTORY_MS,
    stop=stop,
    post_only={"postOnly": True},
    time_in_force={"GTC": {}, "IOC": {"timeInForce": "ioc"}, "FOK": {"orderType": "fok"}},
    status=status,
    overload_scope=Overload.ADDRESS,  # "The API limit for the calling IP address has been exceeded"
    # Futures Rate Limits: 500 points in 10 s; an order or a cancel costs 10, and the positions before a close 2.
    rate_limits=(RateLimit(40, 10_000),),
    refused={"withdraw": "Kraken Futures sends to the account's own spot wallet only"},
    sources=SOURCES,
    unread=("how soon the history shows an order", "how far back the history goes"),
)
