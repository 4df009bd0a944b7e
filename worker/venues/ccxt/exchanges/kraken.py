"""Kraken's spot exchange: the positions on margin, and cancels. Its pages (:data:`SOURCES`) were read; it was not run
against. Orders are left out: a client order id is unique among open orders alone, and no list names it after that.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

from worker.venues.base import Overload, Proof
from worker.venues.ccxt.traits import Envelope, InTime, Listed, Params, Place, Traits, Wanted, requests_of

SOURCES = (
    "docs.kraken.com/api/docs/rest-api: Cancel Order, Get Orders Info, Get Open Positions, Add Order (2026)",
    "docs.kraken.com/api/docs/guides: Spot Error Messages, Spot REST Rate Limits (2026)",
    "docs.kraken.com/exchange/guides/general/errors (2026)",
)
ERRORS, LIMITS = "Kraken, Spot Error Messages", "Kraken, Spot REST Rate Limits"

LISTED = (
    Listed("count 1", Proof.EXECUTED, "Kraken, Cancel Order: count of the orders cancelled"),
    Listed("EAPI:Invalid nonce", Proof.NOT_EXECUTED, ERRORS),
    Listed("EAPI:Rate limit exceeded", Proof.NOT_EXECUTED, LIMITS, overload=True),
    Listed("EService:Throttled", Proof.NOT_EXECUTED, f"{LIMITS}: try again after the time given", overload=True),
    Listed("EAPI:Invalid key", Proof.REFUSED, ERRORS),
    Listed("EAPI:Invalid signature", Proof.REFUSED, ERRORS),
    Listed("EGeneral:Permission denied", Proof.REFUSED, ERRORS),
    Listed("EGeneral:Invalid arguments", Proof.REFUSED, f"{ERRORS}: malformed, incorrect or ambiguous"),
    # "The order may have been placed despite the timeout."
    Listed("EService:Deadline elapsed", Proof.UNKNOWN, "Kraken, errors"),
    Listed("EService:Unavailable", Proof.UNKNOWN, f"{ERRORS}: the matching engine or the API is offline"),
    Listed("EGeneral:Internal error", Proof.UNKNOWN, ERRORS),
    # What ccxt would take for "not now": nothing says that they leave an order as it was.
    Listed("EGeneral:Temporary lockout", Proof.UNKNOWN, ERRORS),
    Listed("EOrder:Rate limit exceeded", Proof.UNKNOWN, "Kraken, errors: of orders"),
    Listed("EGeneral:Too many requests", Proof.UNKNOWN, "on no page that was read"),
)


def read(value: Any) -> Envelope | None:
    """``{"error": [], "result": {…}}``; with errors, the result may be missing. Several errors are none of the list."""
    errors = value.get("error") if isinstance(value, Mapping) else None
    if not isinstance(errors, list) or not all(isinstance(each, str) and each for each in errors):
        return None
    if errors:
        text = "; ".join(errors)
        # "EService: Throttled: [UNIX timestamp]"
        return Envelope("EService:Throttled" if text.startswith("EService: Throttled: ") else text, text)
    result = value.get("result")
    if not isinstance(result, Mapping):
        return None
    if "count" not in result:
        return Envelope("result", "", result)
    pending = result.get("pending")
    return Envelope("pending" if pending else f"count {result['count']}", "", result)


def _result(value: Any) -> Mapping[str, Any] | None:
    envelope = read(value)
    return envelope.record if envelope is not None and envelope.code == "result" else None


def order_rows(value: Any) -> Sequence[Any] | None:
    """The orders of QueryOrders, each with its id."""
    result = _result(value)
    if result is None or not all(isinstance(row, Mapping) for row in result.values()):
        return None
    return [{"id": key, **row} for key, row in result.items()]


def position_rows(value: Any) -> Sequence[Any] | None:
    """The positions of OpenPositions by pair and direction. The exchange lists the orders that opened them, with how
    much of each was closed; ccxt would take what was opened."""
    result = _result(value)
    if result is None:
        return None
    sums: dict[tuple[str, str], Decimal] = {}
    with localcontext(prec=100):
        for row in result.values():
            try:
                key = (row["pair"], row["type"])
                left = Decimal(str(row["vol"])) - Decimal(str(row["vol_closed"]))
            except (KeyError, TypeError, InvalidOperation):
                return None
            if not isinstance(key[0], str) or key[1] not in ("buy", "sell") or not left.is_finite() or left < 0:
                return None
            sums[key] = sums.get(key, Decimal(0)) + left
    return [{"pair": pair, "type": side, "vol": f"{size:f}"} for (pair, side), size in sums.items()]


def find(wanted: Wanted) -> Sequence[Place]:
    """An order by the exchange's id."""
    return (Place("fetch_order", (wanted.order_id, None), order_rows),) if wanted.order_id else ()


def order_handle(handle: str, is_stop: bool) -> Params:  # noqa: ARG001
    """Of the orders that are left out."""
    return {"cl_ord_id": handle}


def in_time(window: str, now_ms: int, until_ms: int) -> InTime:  # noqa: ARG001
    """A cancel has no deadline."""
    return InTime()


NO_ORDERS = "Kraken documents its client order ids as unique among open orders alone"

TRAITS = Traits(
    base_url="https://api.kraken.com",
    mutating=requests_of(cancel="POST /0/private/CancelOrder"),
    listed=LISTED,
    read=read,
    find=find,
    positions=lambda symbol: (  # noqa: ARG005
        Place("privatePostOpenPositions", ({},), position_rows, "parse_position"),
    ),
    order_handle=order_handle,
    in_time=in_time,
    windows={},
    post_reads=frozenset({"POST /0/private/OpenPositions", "POST /0/private/QueryOrders"}),
    overload_scope=Overload.ACCOUNT,  # "Rate limits … for each API key"
    refused={
        "close": NO_ORDERS,
        "submit": NO_ORDERS,
        "withdraw": "ccxt withdraws from Kraken to the name that an address has in the account alone",
    },
    sources=SOURCES,
    unread=("what it answers to the cancel of an order that is closed",),
)
