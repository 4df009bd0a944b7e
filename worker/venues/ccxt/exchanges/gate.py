"""Gate, API version 4: perpetual contracts settled in USDT and in BTC.

Source: the exchange's own client, github.com/gateio/gateapi-python at 744afea (31 July 2025), whose docs are made from
the exchange's description of its API ("FuturesApi", "FuturesOrder", "Position"), and the exchange's page "Gate API v4"
(www.gate.com/docs/developers/apiv4/en), of which copies in public repositories were read ("Error Handling", "Frequency
limit rule", "Return Format", "APIv4 signed request requirements"). Nothing here was run against the exchange.
"""

import base64
from collections.abc import Sequence
from typing import Any

from worker.rate_limits import RateLimit
from worker.venues.base import Proof
from worker.venues.ccxt.traits import Envelope, InTime, Listed, Place, Traits, Wanted, requests_of

LABELS = "Gate API v4, label list"
ORDERS = ("close", "submit")

PAGE = 100
"""The default of ``limit`` (FuturesApi)."""
WINDOW_MS = 5000
FINDABLE_MS = 60_000
"""An order's ``text`` finds it "when the order is in orderbook" and "within 60 seconds after the end of the order"
(FuturesApi, get_futures_order)."""

REQUESTS_REFUSED = (
    *("INVALID_PARAM_VALUE", "INVALID_PROTOCOL", "INVALID_ARGUMENT", "INVALID_REQUEST_BODY", "MISSING_REQUIRED_PARAM"),
    *("BAD_REQUEST", "INVALID_CONTENT_TYPE", "NOT_ACCEPTABLE", "METHOD_NOT_ALLOWED", "NOT_FOUND"),
)
KEYS_REFUSED = (
    *("INVALID_CREDENTIALS", "INVALID_KEY", "IP_FORBIDDEN", "READ_ONLY", "INVALID_SIGNATURE"),
    *("MISSING_REQUIRED_HEADER", "ACCOUNT_LOCKED", "FORBIDDEN"),
)
ORDERS_REFUSED = (
    *("USER_NOT_FOUND", "CONTRACT_NOT_FOUND", "RISK_LIMIT_EXCEEDED", "INSUFFICIENT_AVAILABLE", "LIQUIDATE_IMMEDIATELY"),
    *("LEVERAGE_TOO_HIGH", "LEVERAGE_TOO_LOW", "TOO_MANY_ORDERS", "POSITION_IN_LIQUIDATION", "POSITION_EMPTY"),
    *("PRICE_TOO_DEVIATED", "SIZE_TOO_LARGE", "SIZE_TOO_SMALL", "PRICE_OVER_LIQUIDATION", "PRICE_OVER_BANKRUPT"),
    *("ORDER_POC_IMMEDIATE", "INCREASE_POSITION", "CONTRACT_IN_DELISTING", "POSITION_NOT_FOUND", "POSITION_DUAL_MODE"),
    *("REDUCE_EXCEEDED", "ORDER_FOK"),
)
"""Labels of futures that name why a new order is not taken. ``CONTRACT_NO_COUNTER`` is left out: "No counter order
found" does not say that nothing was filled before."""
CANCELS_REFUSED = ("ORDER_NOT_FOUND", "ORDER_NOT_OWNED", "ORDER_FINISHED")
UNCERTAIN = {
    "INTERNAL": "Internal server error",
    "SERVER_ERROR": "Internal server error",
    "TOO_BUSY": "Server is too busy at the moment",
}

LISTED = (
    Listed("", Proof.EXECUTED, "FuturesApi, create_futures_order and cancel_futures_order: the order itself"),
    Listed("REQUEST_EXPIRED", Proof.NOT_EXECUTED, f"{LABELS}: Request `Timestamp` is far from the server time"),
    *(Listed(code, Proof.UNKNOWN, f"{LABELS}: {text}") for code, text in UNCERTAIN.items()),
    *(Listed(code, Proof.REFUSED, f"{LABELS}, authentication") for code in KEYS_REFUSED),
    *(Listed(code, Proof.REFUSED, f"{LABELS}, request parameter or format") for code in REQUESTS_REFUSED),
    *(Listed(code, Proof.REFUSED, f"{LABELS}, futures", commands=ORDERS) for code in ORDERS_REFUSED),
    *(Listed(code, Proof.REFUSED, f"{LABELS}, futures", commands=("cancel",)) for code in CANCELS_REFUSED),
)

STATUSES = {
    "filled": "closed",
    **dict.fromkeys(
        ("cancelled", "liquidated", "ioc", "reduce_only", "position_closed", "reduce_out", "stp"), "canceled"
    ),
}
"""``finish_as`` of an order whose ``status`` is ``finished`` (FuturesOrder) in ccxt's words."""


def read(value: Any) -> Envelope | None:
    """An error has ``label`` and ``message`` or ``detail`` (Error Handling); a success is the order itself."""
    if not isinstance(value, dict):
        return None
    if "label" in value:
        label, message = value["label"], value.get("message", value.get("detail"))
        return Envelope(label, message) if label and isinstance(label, str) and isinstance(message, str) else None
    identity = value.get("id")
    has_id = isinstance(identity, int | str) and not isinstance(identity, bool) and bool(identity)
    whole = has_id and _is_order(value) and value.get("succeeded", True) is True
    return Envelope("", "", value) if whole else None


def _is_order(value: Any) -> bool:
    return isinstance(value, dict) and {"id", "contract", "size", "status", "text"} <= value.keys()


def _order(value: Any) -> Sequence[Any] | None:
    return [value] if read(value) is not None and "label" not in value else None


def _orders(value: Any) -> Sequence[Any] | None:
    return value if isinstance(value, list) and all(map(_is_order, value)) else None


def _positions(value: Any) -> Sequence[Any] | None:
    """A full page is no complete list."""
    fields = {"contract", "size", "mode"}
    whole = isinstance(value, list) and all(isinstance(each, dict) and fields <= each.keys() for each in value)
    return value if whole and len(value) < PAGE else None


def find(wanted: Wanted) -> Sequence[Place]:
    """By the client order id, which finds everything that did not end more than a minute ago, or by the order's own;
    for what ended earlier the first pages of the lists, by which nothing is absent. An order that was cancelled
    without fills is in none of them after 10 minutes."""
    if wanted.command == "withdraw" or not wanted.symbol:
        return ()
    key = wanted.handle or wanted.order_id
    places = [
        Place("fetch_order", (key, wanted.symbol, {}), _order, absent=frozenset({"ORDER_NOT_FOUND"})),
        Place("fetch_open_orders", (wanted.symbol, None, PAGE, {}), _orders),
    ]
    settle = _settle_of(wanted.symbol)
    if wanted.handle and wanted.since_ms and settle:
        query = {"settle": settle, "from": wanted.since_ms // 1000, "limit": PAGE}
        places.append(Place("privateFuturesGetSettleOrdersTimerange", (query,), _orders))
    return places


def _settle_of(symbol: str) -> str:
    settle = symbol.rpartition(":")[2].lower()
    return settle if settle in ("usdt", "btc") else ""


def positions(symbol: str | None) -> Sequence[Place]:
    """Everything that is held, of the symbol's settle currency or of both. An account that never traded in one of them
    has no account of futures there (``USER_NOT_FOUND``), and so no position."""
    settles = (_settle_of(symbol),) if symbol else ("usdt", "btc")
    method, absent = "privateFuturesGetSettlePositions", frozenset({"USER_NOT_FOUND"})
    queries = [{"settle": each, "holding": "true", "limit": PAGE} for each in settles if each]
    return [Place(method, (query,), _positions, "parse_position", absent) for query in queries]


def in_time(name: str, now_ms: int, until_ms: int) -> InTime:  # noqa: ARG001
    """``x-gate-exptime``: "if the GATE receives the request time greater than the expiration time, the request will be
    rejected"; of orders and of cancels. The signature does not cover headers."""
    return InTime(headers={"x-gate-exptime": str(until_ms)})


def handle_of(random: bytes) -> str:
    """``t-`` and 26 characters: the page allows 28 after the prefix, ccxt 28 with it, of digits, letters, ``_-.``"""
    return "t-" + base64.b32encode(random).decode().rstrip("=").lower()


def status(record: Any) -> str:
    """What ended in a way that is not documented has no word."""
    word = record.get("status")
    return "open" if word == "open" else STATUSES.get(str(record.get("finish_as")), "") if word == "finished" else ""


TRAITS = Traits(
    base_url="https://api.gateio.ws",
    mutating=requests_of(
        close="POST /api/v4/futures/usdt/orders, POST /api/v4/futures/btc/orders",
        submit="POST /api/v4/futures/usdt/orders, POST /api/v4/futures/btc/orders",
        cancel="DELETE /api/v4/futures/usdt/orders/{order_id}, DELETE /api/v4/futures/btc/orders/{order_id}",
    ),
    listed=LISTED,
    read=read,
    find=find,
    positions=positions,
    order_handle=lambda handle, is_stop: {"clientOrderId": handle},  # noqa: ARG005
    in_time=in_time,
    windows=dict.fromkeys((*ORDERS, "cancel"), WINDOW_MS),
    complete_for_ms=FINDABLE_MS,
    handle_of=handle_of,
    options={
        "unifiedAccount": False,  # of spot and margin orders only; None would make ccxt ask in the middle of a command
        "fetchMarkets": {"types": ["swap"]},
        "swap": {"fetchMarkets": {"settlementCurrencies": ["usdt", "btc"]}},
    },
    post_only={"postOnly": True},
    time_in_force={each: {"timeInForce": each} for each in ("GTC", "IOC", "FOK")},
    # "In dual mode: reduce position: reduce_only=true, positive reduces short, negative long; add: positive adds long,
    # negative short" (FuturesApi, create_futures_order): side and reduce_only say it all.
    hedge=lambda direction: {},  # noqa: ARG005
    cancel_needs_pair=True,
    status=status,
    testnet_url="https://api-testnet.gateapi.io",
    rate_limits=(RateLimit(100, 1000),),  # of orders, for each user (Frequency limit rule, Perpetual Futures)
    refused={"withdraw": "no page that was read says until when a withdrawal is taken"},
    sources=(
        "github.com/gateio/gateapi-python at 744afea, docs",
        "www.gate.com/docs/developers/apiv4/en, in copies (label list, frequency limit rule)",
    ),
    unread=(
        "the label that a request after x-gate-exptime gets",
        "whether a client order id may be used twice",
        "more than 99 open positions of one settle currency",
        "a client order id of price-triggered orders, so that stops are refused",
        "whether the test network has contracts settled in BTC",
    ),
)
