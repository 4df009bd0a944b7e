"""Binance USDⓈ-M futures: perpetual and dated contracts settled in stablecoins.

Sources, as stored copies of developers.binance.com: "USDⓈ-M Futures, General Info" (HTTP return codes, the variants of
status 503, limits, timing security), "Error Codes", "New Order", "Query Order", "Cancel Order", "New Algo Order",
"Query Algo Order", "Cancel Algo Order", "Event: Algo Order Update", "Position Information V3", "Exchange Information",
"Wallet, Withdraw" and "Withdraw History". The notes of the last version of each endpoint are those of the official
connector, github.com/binance/binance-connector-python at 29da329. Nothing here was run against the exchange.
"""

from collections.abc import Sequence
from typing import Any

from worker.rate_limits import RateLimit
from worker.venues.base import Overload, Proof
from worker.venues.ccxt.traits import Call, Envelope, InTime, Listed, Params, Place, Stop, Traits, Wanted, requests_of

GENERAL, CODES = "Binance USDⓈ-M Futures, General Info", "Binance USDⓈ-M Futures, Error Codes"
ORDERS = ("close", "submit")

UNAVAILABLE, UNABLE = "service unavailable", "unable to process"
"""What :func:`read` calls the two failures that status 503 is documented for by their text and not by a code."""
FAILURE_TEXTS = {
    "Service Unavailable.": UNAVAILABLE,
    "Internal error; unable to process your request. Please try again.": UNABLE,
}
THROTTLED = (
    "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. Please try again."
)

DAY_MS = 86_400_000
MAX_WINDOW_MS = 60_000
"""The largest ``recvWindow`` that Binance documents (wallet: "The value cannot be greater than 60000")."""
WINDOW_MS = 5000
"""The ``recvWindow`` that General Info recommends at most, and uses if none is sent."""

KEYS_REFUSED = (-1002, -1011, -1022, -2014, -2015, -2017)
REQUESTS_REFUSED = (
    *(-1014, -1020, *range(-1106, -1099), -1108, -1109, -1110, -1111, *range(-1117, -1113), -1121, -1122, -1126),
    *(-1128, -1130, -1136),
)
"""Codes of a request that can't be understood or permitted, whatever it asks for ("10xx" and "11xx - Request issues").
-1013, -1016, -1099 and -1112 are left out: their texts do not say what became of the request."""
ORDERS_REFUSED = (
    *(-2010, -2018, -2019, -2021, -2022, *range(-2028, -2023), -4001, -4002, -4003, -4004, -4005, -4006, -4007),
    *(-4013, -4014, -4015, -4016, -4023, -4024, -4031, -4045, -4060, -4061, -4062, -4087, -4088, -4118, -4131),
    *(-4140, -4141, -4142, -4164, -4183, -4184, -4210, -4211, -4400, -4401, -4402, -5021, -5022, -5025),
)
"""Codes of a new order that the exchange does not take for the reason that their texts name: balance, margin, position,
filters of the symbol, position mode, conditions of the order. -2020 "Unable to fill" and -2023 "User in liquidation
mode" name no refusal."""

LISTED = (
    Listed("", Proof.EXECUTED, "the pages of the endpoints: a success is the record, without a code"),
    Listed("200", Proof.EXECUTED, "Cancel Algo Order, response", commands=("cancel",)),
    Listed("-4116", Proof.SEEN, f"{CODES}: DUPLICATED_CLIENT_ORDER_ID", commands=ORDERS),
    Listed("-1021", Proof.NOT_EXECUTED, f"{GENERAL}, Timing Security: such a request is rejected"),
    Listed("-5028", Proof.NOT_EXECUTED, f"{CODES}: ME_RECVWINDOW_REJECT", commands=ORDERS),
    Listed("-1003", Proof.NOT_EXECUTED, f"{CODES}: TOO_MANY_REQUESTS; {GENERAL}, Limits", overload=True),
    Listed("-1015", Proof.NOT_EXECUTED, f"{CODES}: TOO_MANY_ORDERS", overload=True, commands=ORDERS),
    Listed(UNAVAILABLE, Proof.NOT_EXECUTED, f"{GENERAL}, HTTP 503, B: 100% failure", status=503),
    Listed(UNABLE, Proof.NOT_EXECUTED, f"{GENERAL}, HTTP return codes, 503: a failure, may be sent again", status=503),
    # No cool-down: closes and cancels are exempt, and a cool-down would hold them back.
    Listed(
        "-1008",
        Proof.NOT_EXECUTED,
        f"{GENERAL}, HTTP 503, C: 100% failure",
        status=503,
        commands=ORDERS,
        message=THROTTLED,
    ),
    Listed("-1000", Proof.UNKNOWN, f"{CODES}: UNKNOWN"),
    Listed("-1001", Proof.UNKNOWN, f"{CODES}: DISCONNECTED; documented as a failure with status 503 alone"),
    Listed("-1006", Proof.UNKNOWN, f"{CODES}: execution status unknown"),
    Listed("-1007", Proof.UNKNOWN, f"{CODES}: send status unknown; execution status unknown"),
    Listed("-2011", Proof.REFUSED, f"{CODES}: CANCEL_REJECTED", commands=("cancel",)),
    Listed("-2013", Proof.REFUSED, f"{CODES}: order does not exist", commands=("cancel",)),
    Listed("-4106", Proof.REFUSED, "Withdraw, notes: the network takes no tag", commands=("withdraw",)),
    *(Listed(str(code), Proof.REFUSED, f"{CODES}, 10xx and 11xx") for code in (*KEYS_REFUSED, *REQUESTS_REFUSED)),
    *(Listed(str(code), Proof.REFUSED, f"{CODES}, 20xx to 50xx", commands=ORDERS) for code in ORDERS_REFUSED),
)

STATUSES = {
    **dict.fromkeys(("NEW", "PARTIALLY_FILLED", "TRIGGERING"), "open"),
    **dict.fromkeys(("FILLED", "TRIGGERED", "FINISHED"), "closed"),
    **dict.fromkeys(("EXPIRED", "EXPIRED_IN_MATCH"), "expired"),
    "CANCELED": "canceled",
    "REJECTED": "rejected",
}
"""In ccxt's words the ``status`` of an order ("Event: Order Update") and ``algoStatus`` of a stop ("Event: Algo Order
Update"); once triggered, it goes on as an order with another id."""


WITHDRAWALS = {0: "pending", 2: "pending", 4: "pending", 6: "ok", 3: "failed"}
"""``status`` of a withdrawal: e-mail sent, awaiting approval, processing, completed, rejected (Withdraw History)."""


def status(record: Any) -> str:
    """The status of an order, a stop or a withdrawal; empty for one that no page lists."""
    if "withdrawOrderId" in record:
        number = record.get("status")
        return WITHDRAWALS.get(number, "") if isinstance(number, int) else ""
    return STATUSES.get(str(record.get("status", record.get("algoStatus"))), "")


def read(value: Any) -> Envelope | None:
    """A refusal is an object of a negative ``code`` and ``msg`` alone; a success is the record without a code, but that
    of a cancelled stop, which has the code "200"."""
    if not isinstance(value, dict):
        return None
    code, message = value.get("code"), value.get("msg")
    if isinstance(code, int) and code < 0 and isinstance(message, str) and value.keys() == {"code", "msg"}:
        return Envelope(FAILURE_TEXTS.get(message.strip(), str(code)), message)
    if code == "200" and message == "success" and "algoId" in value:
        return Envelope("200", message, value)
    has_id = any(_is_id(value.get(name)) for name in ("orderId", "algoId", "id"))
    return Envelope("", "", value) if has_id and code is None and message is None else None


def _is_id(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and value != "")


def _record(value: Any) -> Sequence[Any] | None:
    return [value] if isinstance(value, dict) and ("orderId" in value or "algoId" in value) else None


def _records(value: Any) -> Sequence[Any] | None:
    return value if isinstance(value, list) and all(isinstance(each, dict) for each in value) else None


def _positions(value: Any) -> Sequence[Any] | None:
    rows = _records(value)
    whole = rows is not None and all({"symbol", "positionSide", "positionAmt"} <= each.keys() for each in rows)
    return rows if whole else None


ABSENT = frozenset({"-2013"})
"""NO_SUCH_ORDER: "Order does not exist." It is no longer listed 3 days after it was created, if it was cancelled or has
expired without fills, and 90 days after in any case (Query Order, Query Algo Order)."""


def find(wanted: Wanted) -> Sequence[Place]:
    """Orders and stops are at endpoints of their own; a stop's is asked without a symbol."""
    if wanted.command == "withdraw":
        query = {"withdrawOrderId": wanted.handle}
        return (
            (Place("sapiGetCapitalWithdrawHistory", (query,), _records, "parse_transaction"),) if wanted.handle else ()
        )
    algo = {"clientAlgoId": wanted.handle} if wanted.handle else {"algoId": wanted.order_id}
    stop = Place("fapiPrivateGetAlgoOrder", (algo,), _record, absent=ABSENT, is_stop=True)
    if wanted.is_stop:
        return (stop,)
    if not wanted.symbol:
        return ()
    by = (None, wanted.symbol, {"origClientOrderId": wanted.handle})
    order = Place("fetch_order", by if wanted.handle else (wanted.order_id, wanted.symbol), _record, absent=ABSENT)
    return (order,) if wanted.handle else (order, stop)


def positions(symbol: str | None) -> Sequence[Place]:  # noqa: ARG001
    """One list of every symbol that has a position or open orders (Position Information V3)."""
    return (Place("fapiPrivateV3GetPositionRisk", ({},), _positions, "parse_position_risk"),)


def in_time(name: str, now_ms: int, until_ms: int) -> InTime:  # noqa: ARG001
    """``serverTime - timestamp <= recvWindow``, else the request is rejected (General Info, Timing Security)."""
    return InTime(params={"recvWindow": max(1, min(until_ms - now_ms, MAX_WINDOW_MS))})


def stop_params(stop: Stop) -> Params | None:
    """``STOP`` is triggered by a rise for a buy and by a fall for a sell, ``TAKE_PROFIT`` the other way round, by the
    mark price or the contract's last price (New Algo Order)."""
    working_type = {"mark": "MARK_PRICE", "last": "CONTRACT_PRICE"}.get(stop.event)
    name = "stopLossPrice" if stop.loses else "takeProfitPrice"
    return {name: stop.price, "workingType": working_type} if working_type else None


def withdrawal(handle: str, network: str, tag: str | None) -> Params:
    """``withdrawOrderId`` "can be used in withdraw/history for query"; nothing says that a used one is refused."""
    return {"withdrawOrderId": handle, "network": network, **({"addressTag": tag} if tag else {})}


def adjust(call: Call) -> Call:
    """ccxt's ``withdraw`` rounds the amount to a currency's precision and translates the network by a table of its own.
    The request is made of the words of the command instead."""
    if call.method != "withdraw":
        return call
    asset, amount, address = call.args[:3]
    request = {"coin": asset, "address": address, "amount": amount, **call.params}
    return Call("sapiPostCapitalWithdrawApply", (), request)


TRAITS = Traits(
    base_url="https://fapi.binance.com",
    mutating=requests_of(
        close="POST /fapi/v1/order, POST /fapi/v1/algoOrder",
        submit="POST /fapi/v1/order, POST /fapi/v1/algoOrder",
        cancel="DELETE /fapi/v1/order, DELETE /fapi/v1/algoOrder",
        withdraw="POST /sapi/v1/capital/withdraw/apply",
    ),
    listed=LISTED,
    read=read,
    find=find,
    positions=positions,
    # Both: 1 to 36 characters of letters, digits and .:/_-, unique among open orders (New Order, New Algo Order).
    order_handle=lambda handle, is_stop: {"clientOrderId": handle},  # noqa: ARG005 - newClientOrderId or clientAlgoId
    in_time=in_time,
    windows=dict.fromkeys(("close", "submit", "stop", "cancel", "withdraw"), WINDOW_MS),
    # Brackets would be read before each list of positions, for figures that no report has.
    options={"leverageBrackets": {}, "fetchMarkets": {"types": ["linear"]}},
    stop=stop_params,
    post_only={"postOnly": True},
    time_in_force={each: {"timeInForce": each} for each in ("GTC", "IOC", "FOK")},
    stop_options=True,
    hedge=lambda direction: {"positionSide": direction.upper()},
    hedge_reduce_only=False,  # "Cannot be sent in Hedge Mode" (New Order, New Algo Order)
    cancel_needs_pair=True,
    stops_apart=True,
    withdrawal=withdrawal,
    adjust=adjust,
    status=status,
    complete_for_ms=3 * DAY_MS,
    testnet_url="https://demo-fapi.binance.com",
    # "The limits on the API are based on the IPs, not the API keys", and 418 bans an address (General Info, IP Limits).
    overload_scope=Overload.ADDRESS,
    rate_limits=(RateLimit(1200, 60_000),),  # of orders, for each account (Exchange Information, rateLimits)
    sources=(
        "developers.binance.com, USDⓈ-M Futures: General Info, Error Codes, trade endpoints, Event: Algo Order Update",
        "developers.binance.com, Wallet: Withdraw, Withdraw History, Error Codes",
        "github.com/binance/binance-connector-python at 29da329",
    ),
    unread=("which code a used withdrawOrderId gets", "which code a used clientAlgoId gets"),
)
