"""Bybit, API version 5: perpetual and dated contracts of a unified account, linear (USDT, USDC) and inverse.

Source: the exchange's own pages, github.com/bybit-exchange/docs at 072c197 (24 July 2026), published at
bybit-exchange.github.io/docs/v5: "Integration Guidance", "Error Codes", "Rate Limit Rules", "Place Order", "Cancel
Order", "Get Open & Closed Orders", "Get Order History", "Get Position Info", "Switch Position Mode", "Withdraw",
"Get Withdrawal Records", "Enums", "Demo Trading Service". Nothing here was run against the exchange.
"""

from collections.abc import Callable, Sequence
from typing import Any

from worker.rate_limits import RateLimit
from worker.venues.base import Proof
from worker.venues.ccxt.traits import Envelope, InTime, Listed, Params, Place, Stop, Traits, Wanted, requests_of

CODES = "Bybit V5, Error Codes"
ORDERS = ("close", "submit")

DAY_MS = 86_400_000
MAX_WINDOW_MS = 60_000
WINDOW_MS = 5000
"""The default of ``X-BAPI-RECV-WINDOW`` (Integration Guidance)."""

PAGE = 50
"""The most orders on a page ("Limit for data size per page. [1, 50]"); for positions 200."""
POSITIONS_PAGE = 200

KEYS_REFUSED = (10003, 10004, 10005, 10007, 10010, -2015, 33004)
REQUESTS_REFUSED = (10001, 10009, 10017, 10024, 10027, 10028, 10029)
"""Codes of a request or a key that is not permitted, whatever it asks for. 10008 "Common banned", 10014 "Invalid
duplicate request" and -1 "request expired" are left out: an earlier request may be the one that was executed."""
ORDERS_REFUSED = (
    *(30208, 30209, 30228, 110003, 110004, 110006, 110007, 110009, 110012, 110017, 110018, 110019, 110020, 110021),
    *(110023, 110029, 110032, 110040, 110042, 110044, 110045, 110050, 110051, 110052, 110053, 110057, 110067, 110069),
    *(110074, 110085, 110086, 110087, 110088, 110089, 110090, 110092, 110093, 110094, 110103, 110120, 110121, 110123),
    *(110124, 110125, 110131, 110132, 3200403),
)
"""Codes of a new order that is not taken for the reason that their texts name: balance, position, limits and state of
the contract, price, trigger, region. Codes that name none are left out, such as 110005 "position status error"."""
CANCELS_REFUSED = (110001, 110008, 110010, 110019)
"""There is nothing to cancel: the order does not exist, or it was completed or cancelled."""
WITHDRAWALS_REFUSED = (131002, 131004, 131065, 131066, 131081, 131083, *range(131085, 131091), *range(131093, 131099))
"""Codes that name why the withdrawal is not taken: identity, address, balance, limits, a closed asset."""

UNCERTAIN = {
    "10000": "Server Timeout",
    "10014": "Invalid duplicate request",
    "10016": "Server error",
    "110079": "the order is processing",
    "170001": "Internal error",
    "170005": "too many new orders; of Spot, which is not supported here",
    "170007": "timeout waiting for the backend server",
    "170032": "network error",
    "170035": "submitted to the system for processing",
    "170146": "order creation timeout",
    "170147": "order cancellation timeout",
    "131001": "openapi svc error",
    "131003": "internal error",
    "131082": "Do not repeat the request: an earlier one may have been executed",
    "131200": "service error",
    "131201": "internal error",
    "131230": "the system is busy",
}

LISTED = (
    Listed("0", Proof.EXECUTED, "Integration Guidance, common response parameters"),
    Listed("110072", Proof.SEEN, f"{CODES}: OrderLinkedID is duplicate", commands=ORDERS),
    Listed("170141", Proof.SEEN, f"{CODES}: duplicate clientOrderId", commands=ORDERS),
    Listed("10002", Proof.NOT_EXECUTED, f"{CODES}: outside of the time window; Websocket Trade Guideline: is rejected"),
    # No page says what became of such a request; NautilusTrader counts both as ambiguous (adapters/bybit, error.rs).
    Listed("10006", Proof.UNKNOWN, f"{CODES}: too many visits; Rate Limit Rules", overload=True),
    Listed("429", Proof.UNKNOWN, f"{CODES}: high server load", overload=True),
    *(Listed(code, Proof.UNKNOWN, f"{CODES}: {text}") for code, text in UNCERTAIN.items()),
    *(Listed(str(code), Proof.REFUSED, f"{CODES}, UTA") for code in (*KEYS_REFUSED, *REQUESTS_REFUSED)),
    *(Listed(str(code), Proof.REFUSED, f"{CODES}, UTA", commands=ORDERS) for code in ORDERS_REFUSED),
    *(Listed(str(code), Proof.REFUSED, f"{CODES}, UTA", commands=("cancel",)) for code in CANCELS_REFUSED),
    *(Listed(str(code), Proof.REFUSED, f"{CODES}, Asset", commands=("withdraw",)) for code in WITHDRAWALS_REFUSED),
)

STATUSES = {
    **dict.fromkeys(("New", "PartiallyFilled", "Untriggered", "Triggered"), "open"),
    **dict.fromkeys(("Cancelled", "PartiallyFilledCanceled", "Deactivated"), "canceled"),
    "Filled": "closed",
    "Rejected": "rejected",
}
"""``orderStatus`` (Enums) in ccxt's words."""


def read(value: Any) -> Envelope | None:
    """Every answer has ``retCode``, ``retMsg``, ``result``, ``retExtInfo`` and ``time`` (Integration Guidance). A
    success names an order or a withdrawal."""
    if not isinstance(value, dict) or not {"retCode", "retMsg", "result", "retExtInfo", "time"} <= value.keys():
        return None
    code, message = value["retCode"], value["retMsg"]
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(message, str):
        return None
    result = value["result"]
    has_id = isinstance(result, dict) and any(isinstance(result.get(n), str) and result[n] for n in ("orderId", "id"))
    return Envelope(str(code), message, result if has_id else None) if code or has_id else None


def _rows(value: Any) -> Sequence[Any] | None:
    result = value.get("result") if isinstance(value, dict) else None
    rows = result.get("list") if isinstance(result, dict) else None
    return rows if isinstance(rows, list) and all(isinstance(each, dict) for each in rows) else None


def _positions(value: Any) -> Sequence[Any] | None:
    rows = _rows(value)
    whole = rows is not None and all({"symbol", "side", "size", "positionIdx"} <= each.keys() for each in rows)
    return rows if whole else None


def _next_page(args: tuple[Any, ...], page: int) -> Callable[[Any], tuple[Any, ...] | None]:
    """The next page's arguments. A cursor comes with the last page as well, so that only a full one is gone on from."""

    def next_args(value: Any) -> tuple[Any, ...] | None:
        rows = _rows(value)
        cursor = value["result"].get("nextPageCursor") if rows is not None and len(rows) >= page else None
        return (*args[:-1], {**args[-1], "cursor": cursor}) if cursor else None

    return next_args


def find(wanted: Wanted) -> Sequence[Place]:
    """First the list in real time, of open orders and of up to 500 that ended lately, which forgets them at each of the
    exchange's releases; then the history. It lists what was cancelled or rejected without fills for 24 hours, what has
    fills for two years. Stops are in both. A withdrawal's record has no ``requestId``, so it can't be looked for."""
    if wanted.command == "withdraw" or not wanted.symbol:
        return ()
    query = {"orderLinkId": wanted.handle} if wanted.handle else {"orderId": wanted.order_id}
    args = (wanted.symbol, None, None, {**query, "limit": PAGE})
    methods = ("fetch_open_orders", "fetch_canceled_and_closed_orders")
    return tuple(Place(method, args, _rows, next_args=_next_page(args, PAGE)) for method in methods)


def positions(symbol: str | None) -> Sequence[Place]:
    """With a symbol its positions, flat ones included; without one every settle coin has to be asked for."""
    if symbol:
        return (Place("fetch_positions", ([symbol], {}), _positions, "parse_position"),)
    queries = (
        {"category": "linear", "settleCoin": "USDT"},
        {"category": "linear", "settleCoin": "USDC"},
        {"category": "inverse"},
    )
    places = [({**query, "limit": POSITIONS_PAGE},) for query in queries]
    return tuple(
        Place(
            "privateGetV5PositionList", args, _positions, "parse_position", next_args=_next_page(args, POSITIONS_PAGE)
        )
        for args in places
    )


def in_time(name: str, now_ms: int, until_ms: int) -> InTime:  # noqa: ARG001
    """``server_time - recv_window <= timestamp``, else 10002. ccxt takes the window from its options alone."""
    return InTime(options={"recvWindow": max(1, min(until_ms - now_ms, MAX_WINDOW_MS))})


def stop_params(stop: Stop) -> Params | None:
    """ccxt's ``stopLossPrice`` would make every stop reduce-only; ``triggerPrice`` wants the direction instead."""
    trigger_by = {"mark": "MarkPrice", "last": "LastPrice", "index": "IndexPrice"}.get(stop.event)
    direction = "ascending" if stop.rises else "descending"
    return {"triggerPrice": stop.price, "triggerDirection": direction, "triggerBy": trigger_by} if trigger_by else None


def withdrawal(handle: str, network: str, tag: str | None) -> Params:
    """``chain`` as the exchange names it, from the wallet ``UTA`` of a unified account. ``requestId`` is "globally
    unique" and "used for idempotent verification"; what a used one gets is not documented."""
    return {"requestId": handle, "chain": network, "accountType": "UTA", **({"tag": tag} if tag else {})}


def status(record: Any) -> str:
    """``Rejected`` with fills contradicts itself."""
    word = STATUSES.get(str(record.get("orderStatus")), "")
    filled = str(record.get("cumExecQty") or "0").strip("0.")
    return "" if word == "rejected" and filled else word


TRAITS = Traits(
    base_url="https://api.bybit.com",
    mutating=requests_of(
        close="POST /v5/order/create",
        submit="POST /v5/order/create",
        cancel="POST /v5/order/cancel",
        withdraw="POST /v5/asset/withdraw/create",
    ),
    listed=LISTED,
    read=read,
    find=find,
    positions=positions,
    # 1 to 36 letters, digits, - and _; "always unique" (Place Order). Until May 2023 the page let an id of futures be
    # used again once its order was filled or cancelled; nothing says which ids are compared now: it is not relied on.
    order_handle=lambda handle, is_stop: {"clientOrderId": handle},  # noqa: ARG005
    in_time=in_time,
    windows=dict.fromkeys(("close", "submit", "stop", "cancel", "withdraw"), WINDOW_MS),
    options={
        "enableUnifiedMargin": False,  # "classic account (now unavailable)" (Different Account Modes)
        "enableUnifiedAccount": True,
        "unifiedMarginStatus": 6,
        "fetchMarkets": {"types": ["linear", "inverse"], "usePrivateInstrumentsInfo": False},
    },
    stop=stop_params,
    close_on_trigger={"closeOnTrigger": True},
    post_only={"postOnly": True},
    time_in_force={each: {"timeInForce": each} for each in ("GTC", "IOC", "FOK")},
    stop_options=True,
    hedge=lambda direction: {"positionIdx": {"long": 1, "short": 2}[direction]},  # Enums, positionIdx
    cancel_needs_pair=True,
    withdrawal=withdrawal,
    status=status,
    complete_for_ms=DAY_MS,
    testnet_url="https://api-testnet.bybit.com",
    rate_limits=(RateLimit(10, 1000),),  # of orders and of cancels, for each user (Rate Limit Rules, Trade)
    sources=("bybit-exchange.github.io/docs/v5 (github.com/bybit-exchange/docs at 072c197)",),
    unread=(
        "which client order ids an order may not have any more",
        "whether 10006, 10016 and 429 say that nothing was executed",
        "which code a used requestId gets",
    ),
)
