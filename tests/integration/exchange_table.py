"""The contract's table at exchanges with client order ids, as cases of `retry_table`.

What would be unknown is looked for first: a lost request is sent again once it is proven absent, a lost reply is found,
and only what can't be told ends as unknown.

The ends are written by hand from the contract's text. Kraken Futures takes an id once for ever, OKX once among open
orders, so that there a blind second order after a fill would be executed.
"""

from collections.abc import Iterator
from typing import Any

from tests.integration.retry_table import (
    ACCEPTED,
    ACCEPTED_AT_LAST,
    DIRECT,
    ECHO,
    GAVE_UP,
    ONCE,
    REJECTED,
    REPEATABLE,
    Case,
    Column,
    End,
    garbage,
    own,
    status,
    unknown,
)

KRAKEN, OKX = "ccxt:krakenfutures", "ccxt:okx"
RESTING = {KRAKEN: "00000000-0000-4000-8000-000000000007", OKX: "2510789768709120000"}
"""The id of the resting order that each account has."""
MARKET = {KRAKEN: "PF_XBTUSD", OKX: "BTC-USDT-SWAP"}
"""Where each account holds 150 contracts."""
WITHDRAWAL = {"asset": "USDT", "qty": "10", "address": "TXa1b2c3", "network": "USDT-TRC20"}
BUY, BUY_AT_OKX = ({"pair": pair, "side": "buy", "qty": "0.25"} for pair in MARKET.values())


def _column(name: str, kind: int, task: str, **arguments: Any) -> Column:
    return Column(name, kind, f"orders.{task}", arguments, OKX if name.startswith("okx") else KRAKEN)


COLUMNS = {
    column.name: column
    for column in (
        _column("submit", ONCE, "submit", **BUY),
        _column("submit_limit", ONCE, "submit", **BUY, price="40000", post_only=True),
        _column("submit_stop", ONCE, "submit", **{**BUY, "side": "sell"}, trigger_price="40000", reduce_only=True),
        _column("submit_ioc", ONCE, "submit", **BUY, price="40000", time_in_force="IOC"),
        # The shorter the window, the sooner an order that is absent is known to have been lost.
        _column("close_part", ONCE, "close", pair=MARKET[KRAKEN], qty="0.5", recv_window=3000, direction="long"),
        _column("close_limit", ONCE, "close", pair=MARKET[KRAKEN], price="50000", recv_window=3000),
        _column("close_whole", REPEATABLE, "close", pair=MARKET[KRAKEN]),
        _column("close_short", REPEATABLE, "close", pair=MARKET[KRAKEN], direction="short"),
        _column("close_finer", ONCE, "close", pair=MARKET[KRAKEN], qty="0.00005"),
        _column("cancel", REPEATABLE, "cancel", order_id=RESTING[KRAKEN]),
        _column("cancel_other", REPEATABLE, "cancel", order_id="no-such-order"),
        _column("withdraw", ONCE, "withdraw", **WITHDRAWAL),
        _column("okx_submit", ONCE, "submit", **BUY_AT_OKX),
        _column("okx_close", ONCE, "close", pair=MARKET[OKX], qty="0.5", recv_window=3000),
        _column("okx_close_whole", REPEATABLE, "close", pair=MARKET[OKX]),
        _column("okx_cancel", REPEATABLE, "cancel", order_id=RESTING[OKX], pair=MARKET[OKX]),
        _column("okx_withdraw", ONCE, "withdraw", **WITHDRAWAL),
        _column("okx_withdraw_more", ONCE, "withdraw", **{**WITHDRAWAL, "qty": "99999"}),
    )
}


SUCCESS = {"result": "success", "serverTime": "2026-11-26T12:00:00.000Z"}


def placed(word: str) -> dict[str, Any]:
    """A fault: Kraken's success, whose order has this status; nothing is executed."""
    return {"kind": "respond", "data": {**SUCCESS, "sendStatus": {"status": word}}}


def at_lookups(fault: dict[str, Any], times: int | None) -> dict[str, Any]:
    """The fault, for reads that look for an order."""
    return {**fault, "path": "lookup", "times": times}


LOST, LOST_REPLY, BAD_GATEWAY = {"kind": "cut_before"}, {"kind": "cut_after"}, status(502)
NO_LIST = {"kind": "respond", "data": SUCCESS}
EMPTY_LISTS = {"kind": "respond", "data": {**SUCCESS, "orders": [], "openOrders": [], "fills": [], "elements": []}}
HELD = {"kind": "hold"}
"""The request waits in front of the venue until all commands have ended."""
NOT_SENT = End("not_sent", "invalid", 0, 0)
TAKEN = ("submit", "submit_limit", "submit_stop", "close_part", "close_whole", "cancel")
TAKEN_AT_OKX = ("okx_submit", "okx_close", "okx_close_whole", "okx_cancel", "okx_withdraw")
ORDERS = TAKEN[:-1]

ROWS: tuple[tuple[str, tuple[str, ...], tuple[dict[str, Any], ...], End], ...] = (
    # What happens to the attempts, one after the other; then how each of these commands must end.
    ("nothing", (*TAKEN, *TAKEN_AT_OKX), (), ACCEPTED),
    # Found at once by its client order id. A cancel has none: the second one is told that nothing is left.
    ("lost reply", (*ORDERS, "okx_submit", "okx_close", "okx_withdraw"), (LOST_REPLY,), ACCEPTED),
    ("lost reply", ("cancel", "okx_cancel"), (LOST_REPLY,), ECHO),
    ("silent executed", ("submit",), ({"kind": "silent", "execute": True},), ACCEPTED),
    ("502 executed", ("close_part",), (status(502, execute=True),), ACCEPTED),
    ("garbage", ("close_limit",), (garbage('{"result":"success"}'),), ACCEPTED),
    ("own error executed", ("submit",), (own("Server Error", 200, execute=True),), ACCEPTED),
    ("own error executed", ("okx_submit",), (own("51149 Order timed out.", 200, execute=True),), ACCEPTED),
    ("held executed", ("submit",), ({**HELD, "execute": True},), ACCEPTED),
    # Absent, twice, after the venue would have refused it: proven not executed, and sent again under the same id.
    ("lost request", ("submit", "close_part", "close_whole", "cancel", "okx_close"), (LOST,), ACCEPTED_AT_LAST),
    ("lost request for ever", ("close_whole",), ({**LOST, "times": None},), GAVE_UP),
    ("502", ("close_part",), (BAD_GATEWAY,), ACCEPTED_AT_LAST),
    ("own 500", ("close_part",), (own("Server Error", 500),), ACCEPTED_AT_LAST),
    ("unlisted", ("close_part",), (own("somethingElse", 200),), ACCEPTED_AT_LAST),
    # It arrives after its window, and is refused then: it was sent again, and is executed once.
    ("late arrival", ("submit", "close_part"), (HELD,), ACCEPTED_AT_LAST),
    # A look that fails shows nothing, and neither does an answer without its list.
    ("lookups fail", ("submit",), (LOST_REPLY, at_lookups(BAD_GATEWAY, 2)), ACCEPTED),
    ("lookups without lists", ("submit",), (LOST_REPLY, at_lookups(NO_LIST, 2)), ACCEPTED),
    # Lists that leave out what is there, for longer than anybody waits: the venue's own rule is the last line.
    ("lookups lie", ("close_part",), (LOST_REPLY, at_lookups(EMPTY_LISTS, None)), unknown("seen", 2, 1)),
    # The venue says that it knows the id, and does not list it: never sent again.
    ("duplicate", ("close_part",), (placed("clientOrderIdAlreadyExist"),), unknown("seen", 1)),
    # Proven not executed by the venue's own words.
    ("too late", ("submit",), (placed("wouldProcessAfterSpecifiedTime"),), ACCEPTED_AT_LAST),
    ("refused", ("submit",), (placed("insufficientAvailableFunds"),), REJECTED),
    ("refused", ("submit_ioc", "cancel_other", "okx_withdraw_more"), (), REJECTED),
    ("refused error", ("cancel",), (own("authenticationError", 200),), REJECTED),
    ("limited, lost reply", ("close_limit",), (status(429), LOST_REPLY), End("accepted", "ok", 2, 1)),
    ("lost, refused", ("close_part",), (LOST, placed("marketSuspended")), End("rejected", "refused", 2, 0)),
    # What the exchange would not take as it is asked for never leaves.
    ("no such position", ("close_short",), (), End("not_sent", "refused", 0, 0)),
    ("not taken as asked", ("close_finer", "withdraw"), (), NOT_SENT),
)


def cases() -> Iterator[Case]:
    """Each row at each of its commands; what cools a whole address down has one of its own."""
    for name, columns, faults, end in ROWS:
        door = "open for ever" if any(fault.get("status") == 429 for fault in faults) else DIRECT
        for column in columns:
            path = COLUMNS[column].task.removeprefix("orders.")
            yield Case(
                f"{name}-{column}-at_an_exchange".replace(" ", "_"),
                COLUMNS[column],
                end,
                tuple({"path": path, **fault} for fault in faults),
                door,
            )


CASES = (*cases(),)
