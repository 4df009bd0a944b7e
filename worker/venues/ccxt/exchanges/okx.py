"""OKX: perpetual and dated contracts; spot, margin and options are left out. Its pages (:data:`SOURCES`) were read;
it was not run against.

A client order id may be used again once its order has ended, so that only a look tells whether an order was taken.
``expTime`` makes orders late, but no stops, cancels or withdrawals.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from worker.rate_limits import RateLimit
from worker.venues.base import Overload, Proof
from worker.venues.ccxt.traits import Envelope, InTime, Listed, Params, Place, Stop, Traits, Wanted, requests_of

SOURCES = (
    "www.okx.com/docs-v5/en, Overview: Transaction Timeouts, Making Requests, Demo Trading Services (2026-07)",
    "www.okx.com/docs-v5/en, Overview: Rate Limits (2026-07, 2026-09)",
    "www.okx.com/docs-v5/en, Trading Account: Get positions (2026-07)",
    "www.okx.com/docs-v5/en, Trade: Place order, Cancel order, Order details, Order history, last 7 days (2026-07)",
    "www.okx.com/docs-v5/en, Algo Trading: Place algo order, Cancel algo order, Algo order details (2026-07)",
    "www.okx.com/docs-v5/en, Funding Account: Withdrawal, Get withdrawal history (2026-07)",
    "www.okx.com/docs-v5/en, Error Code: Public (50000 to 54999), Funding (58000 to 58999) (2026-07)",
)
"""With the month of the stored copies."""
CODES, FUNDING = "OKX, Error Code, Public", "OKX, Error Code, Funding"
ORDERS, CANCEL, WITHDRAW = ("close", "submit"), ("cancel",), ("withdraw",)

WINDOW_MS = 10_000
"""OKX names no bound of ``expTime``. It leaves room for the request and for clocks that differ by seconds."""
CANCELED_FOR_MS = 2 * 3_600_000
""""The incomplete orders that have been canceled are only reserved for 2 hours" (Order history, last 7 days)."""

REQUESTS_REFUSED = (50000, 50002, 50006, 50014, 50015, 50016, 50024, 50025, 50115)
"""Requests that can't be understood."""
ACCOUNTS_REFUSED = (
    *(50007, 50008, 50012, 50027, 50029, 50030, 50032, 50033, 50035, 50038, 50041, 50051, 50052, 50059, 50060),
    *(50100, 50101, *range(50103, 50108), *range(50110, 50115), 50119, 50120, 50121),
)
"""Keys, signatures and accounts that may not do this. 50009 and 50017 to 50023, which report an account or a position
as frozen, do not say what became of the request."""
ORDERS_REFUSED = (
    *(50028, 51000, 51001, 51004, 51005, 51006, 51007, 51008, 51009, 51010, 51012, 51015, 51020, 51021, 51022, 51023),
    *(51024, 51025, 51027, 51028, 51031, 51033, *range(51046, 51054), 51087, 51088, *range(51101, 51110), 51112),
    *(51116, 51117, *range(51120, 51123), 51124, 51127, 51129, 51131, 51137, 51138, 51148, 51150, 51155, 51169, 51170),
    *(51174, 51185, 51186, 51187, *range(51201, 51206), 51250, 51252, *range(51277, 51281), 51300),
    *(*range(51302, 51309), 54030, 54031),
)
"""Orders that break a rule of the account, the instrument or the position, or for which funds are missing."""
WITHDRAWALS_REFUSED = (
    *(58004, 58008, 58010, 58013, 58200, 58201, *range(58203, 58211), 58212, 58214, 58217, 58219, 58221, 58222, 58224),
    *(58226, 58229, 58230, 58233, 58235, *range(58237, 58242), 58248, 58249, 58252, 58254, *range(58256, 58259), 58350),
    58405,
)
"""58007, 58216 and 58400 ("unavailable", "not allowed", "failed") do not say what became of the request."""
NOT_KNOWN = (
    *(50001, 50004, 50005, 50009, 50013, 50026, 50040, 50042, 51054, 51149, 51410, 51412),
    *(51002, 51014, 51026, 51113, 51119, 51130, 51502, 51736, 51763, 51764, 51772, 51773, 58002, 58101),
)
"""Above, timeouts and failures ("does not mean that the request was successful or failed"), and codes that name two
things. Below, codes of other requests, which ccxt takes for refusals."""

LISTED = (
    Listed("0", Proof.EXECUTED, "OKX, every page: code, sCode"),
    Listed("51016", Proof.SEEN, f"{CODES}: client order ID already exists", commands=ORDERS),
    Listed("51065", Proof.SEEN, f"{CODES}: algoClOrdId already exists", commands=ORDERS),
    Listed("51068", Proof.SEEN, f"{CODES}: already exists within algoClOrdId", commands=ORDERS),
    Listed("50071", Proof.SEEN, f"{CODES}: e.g. clOrdId already exists", commands=ORDERS),
    Listed("58404", Proof.SEEN, f"{FUNDING}: ClientId already exists", commands=WITHDRAW),
    Listed("50036", Proof.NOT_EXECUTED, f"{CODES}; Transaction Timeouts: not processed after expTime", commands=ORDERS),
    Listed("50102", Proof.NOT_EXECUTED, f"{CODES}; Making Requests: rejected when 30 s off"),
    Listed("50011", Proof.NOT_EXECUTED, f"{CODES}: rate limit reached", overload=True),
    Listed("50061", Proof.NOT_EXECUTED, f"{CODES}: order rate limit of the account", overload=True, commands=ORDERS),
    Listed("58102", Proof.NOT_EXECUTED, f"{FUNDING}: rate limit reached", overload=True, commands=WITHDRAW),
    Listed("51400", Proof.REFUSED, f"{CODES}: filled, canceled or does not exist", commands=CANCEL),
    Listed("51403", Proof.REFUSED, f"{CODES}: the order type can't be canceled", commands=CANCEL),
    Listed("51416", Proof.REFUSED, f"{CODES}: triggered, can't be canceled", commands=CANCEL),
    Listed("51603", Proof.REFUSED, f"{CODES}: order does not exist", commands=CANCEL),
    Listed("51001", Proof.REFUSED, f"{CODES}: instrument doesn't exist", commands=CANCEL),
    *(Listed(str(code), Proof.REFUSED, f"{CODES}, General and API Class") for code in REQUESTS_REFUSED),
    *(Listed(str(code), Proof.REFUSED, f"{CODES}, General and API Class") for code in ACCOUNTS_REFUSED),
    *(Listed(str(code), Proof.REFUSED, f"{CODES}, Trade Class", commands=ORDERS) for code in ORDERS_REFUSED),
    *(Listed(str(code), Proof.REFUSED, FUNDING, commands=WITHDRAW) for code in WITHDRAWALS_REFUSED),
    *(Listed(str(code), Proof.UNKNOWN, CODES) for code in NOT_KNOWN),
)


def read(value: Any) -> Envelope | None:
    """``{"code": "0", "msg": "", "data": […]}``; of one order the ``sCode`` and ``sMsg`` of its record. Refusals of the
    gateway have no ``data``."""
    if not isinstance(value, Mapping):
        return None
    code, message, data = value.get("code"), value.get("msg"), value.get("data", [])
    if not isinstance(code, str) or not isinstance(message, str) or not isinstance(data, list) or not code:
        return None
    if len(data) > 1 and any(isinstance(each, Mapping) and "sCode" in each for each in data):
        return None  # One order was sent.
    record = data[0] if len(data) == 1 and isinstance(data[0], Mapping) else None
    own_code = record.get("sCode") if record else None
    if own_code is None:
        # A success says what it is about; 1 and 2 say only that something failed.
        return Envelope(code, message, record) if code != "0" or "data" in value else None
    if not isinstance(own_code, str) or (own_code == "0") != (code == "0"):
        return None
    own_message = record.get("sMsg") if record else None
    message = own_message if isinstance(own_message, str) else ""
    return Envelope(_without_own_id(own_code.partition("_")[0], message), message, record)


def _without_own_id(code: str, message: str) -> str:
    """51000 is "Parameter … error". About a client order id it is not believed: those sent are well-formed, and
    nautilus_trader (crates/adapters/okx, common/consts.rs) names 51000 as the refusal of a duplicate."""
    return f"{code} about a client order id" if code == "51000" and "clordid" in message.lower() else code


def data_of(value: Any) -> Sequence[Any] | None:
    """The list ``data`` of an answer with code 0."""
    found = value.get("data") if isinstance(value, Mapping) and value.get("code") == "0" else None
    return found if isinstance(found, list) else None


ABSENT = frozenset({"51603"})
""""Order does not exist"."""

STATUSES = {
    **dict.fromkeys(("live", "partially_filled", "pause", "partially_effective"), "open"),
    **dict.fromkeys(("filled", "effective", "partially_failed"), "closed"),
    # A stop that failed when it was triggered had been taken.
    **dict.fromkeys(("canceled", "mmp_canceled", "order_failed"), "canceled"),
}
WITHDRAWAL_STATUSES = {"2": "ok", "-1": "failed", "-2": "canceled"}
"""Every other state is one of a withdrawal that is pending or in progress."""


def status(row: Any) -> str:
    """Of an order, a stop or a withdrawal."""
    state = row.get("state") if isinstance(row, Mapping) else None
    if not isinstance(state, str):
        return ""
    return WITHDRAWAL_STATUSES.get(state, "pending") if "wdId" in row else STATUSES.get(state, "")


def find(wanted: Wanted) -> Sequence[Place]:
    """By the client's id or the exchange's own; stops are apart from orders."""
    if wanted.command == "withdraw":
        args = (wanted.symbol or None, None, None, {"clientId": wanted.handle})
        return (Place("fetch_withdrawals", args, data_of, "parse_transaction"),)
    if not wanted.symbol:
        return ()
    by = {"clientOrderId": wanted.handle} if wanted.handle else {}
    number = wanted.order_id or None
    order = Place("fetch_order", (number, wanted.symbol, by), data_of, absent=ABSENT)
    algo = Place("fetch_order", (number, wanted.symbol, {**by, "trigger": True}), data_of, absent=ABSENT, is_stop=True)
    if wanted.order_id:
        return (order, algo)
    return (algo,) if wanted.is_stop else (order,)


def order_handle(handle: str, is_stop: bool) -> Params:
    """Up to 32 letters and digits. ccxt gives a stop a random ``clOrdId`` and a tag, unless there is one."""
    return {"clOrdId": handle, "algoClOrdId": handle} if is_stop else {"clOrdId": handle}


def in_time(window: str, now_ms: int, until_ms: int) -> InTime:  # noqa: ARG001
    """The header ``expTime``: "the request will not be processed if the current system time of the server is after the
    expTime"."""
    return InTime(headers={"expTime": str(until_ms)})


def stop(trigger: Stop) -> Params:
    """A conditional order, which may reduce a position or not."""
    name, kind = ("stopLossPrice", "sl") if trigger.loses else ("takeProfitPrice", "tp")
    return {name: trigger.price, f"{kind}TriggerPxType": trigger.event}


def withdrawal(handle: str, network: str, tag: str | None) -> Params:
    """``network`` is OKX' own name of the chain, such as ``USDT-TRC20``; an address with a tag is "address:tag"."""
    return {"clientId": handle, "chain": network, **({"tag": tag} if tag else {})}


TRAITS = Traits(
    base_url="https://www.okx.com",
    testnet_url="https://www.okx.com",
    testnet_headers={"x-simulated-trading": "1"},
    credentials=("api_key", "secret_key", "passphrase"),
    mutating=requests_of(
        close="POST /api/v5/trade/order, POST /api/v5/trade/order-algo",
        submit="POST /api/v5/trade/order, POST /api/v5/trade/order-algo",
        cancel="POST /api/v5/trade/cancel-order, POST /api/v5/trade/cancel-algos",
        withdraw="POST /api/v5/asset/withdrawal",
    ),
    listed=LISTED,
    read=read,
    find=find,
    positions=lambda symbol: (Place("fetch_positions", ([symbol] if symbol else None,), data_of, "parse_position"),),
    order_handle=order_handle,
    in_time=in_time,
    windows={"close": WINDOW_MS, "submit": WINDOW_MS},
    complete_for_ms=CANCELED_FOR_MS,
    # ccxt's defaults are its own broker and the endpoint for several orders.
    options={"brokerId": "", "createOrder": "privatePostTradeOrder"},
    # Place order, reduceOnly: "only applicable to Futures mode and Multi-currency margin".
    account_modes={"futures": {}, "multi_currency": {}},
    market_reads=(("fetch_markets_by_type", ("swap",)), ("fetch_markets_by_type", ("future",))),
    stop=stop,
    post_only={"postOnly": True},
    time_in_force={"GTC": {}, "IOC": {"timeInForce": "IOC"}, "FOK": {"timeInForce": "FOK"}},
    # Place order, posSide: required in long/short mode, where every closing order only reduces.
    hedge=lambda direction: {"posSide": direction},
    hedge_reduce_only=False,
    close_params=lambda position: {"marginMode": position.get("marginMode") or "cross"},
    cancel_needs_pair=True,
    stops_apart=True,
    withdrawal=withdrawal,
    status=status,
    overload_scope=Overload.ACCOUNT,  # "Rate limit rule: User ID + Instrument ID"
    # 60 orders of one instrument in 2 s; here for all that the account sends.
    rate_limits=(RateLimit(60, 2_000),),
    # "Rate limits for placing orders, amending orders, and cancelling orders are independent from each other."
    passes_cool_down=frozenset({"cancel"}),
    sources=SOURCES,
    unread=(
        "what makes a stop, a cancel or a withdrawal late",
        "orders in portfolio margin mode, which may not only reduce",
        "what becomes of a withdrawal whose client id is used again",
    ),
)
