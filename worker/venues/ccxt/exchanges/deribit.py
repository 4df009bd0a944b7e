"""Deribit: positions and cancels. Its pages (:data:`SOURCES`) were read; it was not run against.

Orders are left out: ccxt sends them by GET, which any proxy on the way may send again, and Deribit takes a second order
with the same label. A cancel by GET may arrive twice. Sizes are in USD, or in the base of a linear contract.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.venues.base import Overload, Proof
from worker.venues.ccxt.traits import Envelope, InTime, Listed, Params, Place, Traits, Wanted, requests_of

SOURCES = (
    "docs.deribit.com/api-reference: private/buy, private/cancel_by_label, private/get_positions (2026)",
    "docs.deribit.com/articles: errors, rate-limits (2026)",
    "docs.deribit.com, Authentication: Deribit Signature Credentials (2025)",
    "docs.deribit.com, RPC Error Codes, as a public repository quotes the table (2025)",
)
CODES = "Deribit, RPC Error Codes"
CANCEL = ("cancel",)

CANCELS_REFUSED = {
    "10004": "can't be found by the id",
    "10010": "already closed",
    "10025": "no order id",
    "10029": "not own order",
    "10045": "a liquidation order can't be cancelled",
    "11008": "already filled",
    "11044": "not open",
}
REFUSED = {
    "10000": "authorization required",
    "13004": "invalid credentials",
    "13021": "not enough permissions",
    "-32601": "Method not found",
    "-32602": "Invalid params",
    "-32700": "Parse error",
}
NOT_KNOWN = (
    *("10013", "10014", "10015", "10016", "10017", "10018", "10019", "10047", "11035", "11042", "11051", "11090"),
    *("11091", "11092", "11093", "11094", "12001", "13002", "13008", "13012", "13028", "13888", "9999"),
)
"""Failures and timeouts, and codes that ccxt would take for refusals."""

LISTED = (
    Listed("cancelled", Proof.EXECUTED, "Deribit, private/cancel: order_state", commands=CANCEL),
    Listed("10028", Proof.NOT_EXECUTED, f"{CODES}: allowed request rate exceeded", overload=True),
    Listed("10040", Proof.NOT_EXECUTED, f"{CODES}: can't be processed right now and should be retried"),
    # A nonce is for "single usage"; two requests of a key may have the same millisecond.
    Listed("13009", Proof.NOT_EXECUTED, f"{CODES}: wrong or expired token or bad signature"),
    *(Listed(code, Proof.REFUSED, f"{CODES}: {words}", commands=CANCEL) for code, words in CANCELS_REFUSED.items()),
    *(Listed(code, Proof.REFUSED, f"{CODES}: {words}") for code, words in REFUSED.items()),
    *(Listed(code, Proof.UNKNOWN, CODES) for code in NOT_KNOWN),
)


def read(value: Any) -> Envelope | None:
    """``{"jsonrpc": "2.0", "result": …}``, or with ``"error": {"code": …, "message": …}``. The state of an order is its
    code."""
    if not isinstance(value, Mapping) or value.get("jsonrpc") != "2.0" or ("result" in value) == ("error" in value):
        return None
    if "error" in value:
        error = value["error"]
        code, message = (error.get("code"), error.get("message")) if isinstance(error, Mapping) else (None, None)
        if not isinstance(code, int) or isinstance(code, bool) or not isinstance(message, str):
            return None
        return Envelope(str(code), message)
    result = value["result"]
    state = result.get("order_state") if isinstance(result, Mapping) else None
    if state is None:
        return Envelope("result", "", result)
    return Envelope(state, "", result) if isinstance(state, str) else None


def order_rows(value: Any) -> Sequence[Any] | None:
    """The order of private/get_order_state."""
    result = value.get("result") if isinstance(value, Mapping) else None
    return [result] if isinstance(result, Mapping) else None


def position_rows(value: Any) -> Sequence[Any] | None:
    """The list of private/get_positions. ccxt's size of a contract is not what ``size`` counts."""
    result = value.get("result") if isinstance(value, Mapping) else None
    if not isinstance(result, list) or not all(isinstance(row, Mapping) for row in result):
        return None
    return [{**row, "contractSize": 1} for row in result]


def find(wanted: Wanted) -> Sequence[Place]:
    """An order by the exchange's id."""
    if not wanted.order_id:
        return ()
    return (Place("fetch_order", (wanted.order_id, None), order_rows, absent=frozenset({"10004"})),)


def order_handle(handle: str, is_stop: bool) -> Params:  # noqa: ARG001
    """Of the orders that are left out."""
    return {"label": handle}


def in_time(window: str, now_ms: int, until_ms: int) -> InTime:  # noqa: ARG001
    """A cancel has no ``valid_until``."""
    return InTime()


NO_ORDERS = "ccxt sends Deribit's orders by GET, which a proxy may send twice, and Deribit takes a label twice"

TRAITS = Traits(
    base_url="https://www.deribit.com",
    testnet_url="https://test.deribit.com",
    mutating=requests_of(cancel="GET /api/v2/private/cancel"),
    listed=LISTED,
    read=read,
    find=find,
    # "any" is every currency; without it the page does not say which.
    positions=lambda symbol: (  # noqa: ARG005
        Place("privateGetGetPositions", ({"currency": "any"},), position_rows, "parse_position"),
    ),
    order_handle=order_handle,
    in_time=in_time,
    windows={},
    overload_scope=Overload.ACCOUNT,  # "credit pool for your sub-account"
    refused={
        "close": NO_ORDERS,
        "submit": NO_ORDERS,
        "withdraw": "Deribit's page on withdrawals was not read",
    },
    sources=SOURCES,
    unread=("whether positions on isolated margin are listed with the others",),
)
