"""What reads of the simulated OKX show; `okx_views` has the shapes.

Of www.okx.com/docs-v5/en: order details and lists under #order-book-trading-trade and #order-book-trading-algo-trading.
An order that was cancelled without any fill is shown for two hours, others for seven days.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

from worker.simulator.accounts import Holdings
from worker.simulator.derivatives import DerivativeHoldings, DerivativeOrder
from worker.simulator.venues.okx_funding import currency_views
from worker.simulator.venues.okx_markets import MARKETS, instrument_view, mark_price_view, ticker_view
from worker.simulator.venues.okx_views import (
    algo_state,
    algo_view,
    number,
    order_state,
    order_view,
    position_view,
    withdrawal_view,
)

UNFILLED_MS = 2 * 3600 * 1000
HISTORY_MS = 7 * 24 * 3600 * 1000
MAX_ROWS = 100

PUBLIC_READS = frozenset({"public/time", "public/instruments", "public/mark-price", "market/ticker", "market/tickers"})
PRIVATE_READS = frozenset(
    {
        "account/config",
        "account/balance",
        "account/positions",
        "asset/currencies",
        "asset/balances",
        "asset/withdrawal-history",
        "trade/order",
        "trade/orders-pending",
        "trade/orders-history",
        "trade/fills",
        "trade/order-algo",
        "trade/orders-algo-pending",
        "trade/orders-algo-history",
    }
)

CONFIG: Mapping[str, object] = {
    "acctLv": "2",
    "acctStpMode": "cancel_maker",
    "autoLoan": False,
    "greeksType": "PA",
    "ip": "",
    "kycLv": "3",
    "label": "demo",
    "level": "Lv1",
    "mainUid": "44705892343619584",
    "perm": "read_only,withdraw,trade",
    "posMode": "net_mode",
    "uid": "44705892343619584",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """The parameters of a read, the time at which it is made (UNIX ms), and the mark prices."""

    fields: Mapping[str, Any]
    now_ms: int
    mark: Callable[[str], Decimal]

    def fits(self, symbol: str) -> bool:
        """Whether the read asks for this instrument; it may name several."""
        kinds, symbols = self.fields.get("instType"), self.fields.get("instId")
        return kinds in (None, MARKETS[symbol].kind) and (symbols is None or symbol in symbols.split(","))

    def shows(self, order: DerivativeOrder, lasting_ms: int = HISTORY_MS) -> bool:
        """Whether an order that has ended is shown still."""
        unfilled = order.state == "cancelled" and not order.filled
        return order.is_open or self.now_ms - order.updated <= (UNFILLED_MS if unfilled else lasting_ms)


def public_rows(name: str, reading: Reading) -> list[Any]:
    """The `data` of a public read."""
    if name == "public/time":
        return [{"ts": str(reading.now_ms)}]
    markets = [market for market in MARKETS.values() if reading.fits(market.symbol)]
    if name == "public/instruments":
        return [instrument_view(market) for market in markets]
    view = mark_price_view if name == "public/mark-price" else ticker_view
    return [view(market, reading.mark(market.symbol), reading.now_ms) for market in markets]


def private_rows(name: str, reading: Reading, holdings: Holdings) -> list[Any]:
    """The `data` of a private read. Raises LookupError for an order that it does not show (any more)."""
    match name:
        case "account/config":
            return [CONFIG]
        case "account/balance":
            return [_balance(holdings, reading.now_ms)]
        case "account/positions":
            positions = [each for each in holdings.derivatives.positions.values() if reading.fits(each.symbol)]
            return [position_view(each, MARKETS[each.symbol], reading.mark(each.symbol)) for each in positions]
        case "asset/currencies":
            return [row for row in currency_views() if reading.fields.get("ccy") in (None, row["ccy"])]
        case "asset/balances":
            rows = holdings.balances.items()
            return [
                {"ccy": asset, "bal": number(has.free), "frozenBal": "0", "availBal": number(has.free)}
                for asset, has in rows
            ]
        case "asset/withdrawal-history":
            return _withdrawals(reading, holdings.derivatives)
        case "trade/fills":
            return _fills(reading, holdings.derivatives)
        case "trade/order" | "trade/order-algo":
            return [_one(reading, holdings.derivatives, is_algo=name == "trade/order-algo")]
    return _orders(name, reading, holdings.derivatives)


def _one(reading: Reading, holdings: DerivativeHoldings, *, is_algo: bool) -> dict[str, Any]:
    """An order or a trigger, by the exchange's id, else by the client's; the latest one of that."""
    by_id, by_client_id = ("algoId", "algoClOrdId") if is_algo else ("ordId", "clOrdId")
    if by_id in reading.fields:
        order = holdings.orders.get(reading.fields[by_id])
    else:
        order = holdings.by_client_id(reading.fields.get(by_client_id, ""))
    if order is None or (order.stop_price is not None) is not is_algo or not reading.shows(order):
        raise LookupError
    if not is_algo and order.symbol != reading.fields.get("instId"):
        raise LookupError
    return algo_view(order) if is_algo else order_view(order)


def _orders(name: str, reading: Reading, holdings: DerivativeHoldings) -> list[Any]:
    """A list of orders or triggers, newest first: `after` (an id) is that of the last one of the page before."""
    is_algo, is_open = "algo" in name, name.endswith("pending")
    state = algo_state if is_algo else order_state
    chosen = [
        order
        for order in reversed([*holdings.orders.values()])
        if (order.stop_price is not None) is is_algo
        and (order.is_open and not (is_algo and order.filled)) is is_open
        and reading.fits(order.symbol)
        and reading.shows(order)
        and reading.fields.get("state") in (None, state(order))
        and reading.fields.get("algoId", order.id) == order.id
    ]
    return _page(reading, chosen, algo_view if is_algo else order_view)


def _page(reading: Reading, orders: Iterable[DerivativeOrder], view: Callable[[DerivativeOrder], Any]) -> list[Any]:
    after = reading.fields.get("after")
    limit = min(int(reading.fields.get("limit", MAX_ROWS)), MAX_ROWS)
    return [view(order) for order in islice((o for o in orders if after is None or _rank(o.id) < _rank(after)), limit)]


def _rank(order_id: str) -> tuple[int, str]:
    """Ids are numbers that grow."""
    return len(order_id), order_id


def _fills(reading: Reading, holdings: DerivativeHoldings) -> list[Any]:
    wanted = reading.fields.get("ordId")
    return [
        {
            "instType": MARKETS[fill.symbol].kind,
            "instId": fill.symbol,
            "tradeId": fill.id,
            "ordId": fill.order_id,
            "clOrdId": fill.client_id or "",
            "billId": fill.id,
            "fillPx": number(fill.price),
            "fillSz": number(fill.size),
            "side": fill.side,
            "posSide": "net",
            "execType": "T",
            "feeCcy": "USDT",
            "fee": "0",
            "ts": str(fill.time),
            "fillTime": str(fill.time),
        }
        for fill in reversed([*holdings.fills.values()])
        if wanted in (None, fill.order_id) and reading.fits(fill.symbol)
    ][:MAX_ROWS]


def _withdrawals(reading: Reading, holdings: DerivativeHoldings) -> list[Any]:
    asked = {"ccy": "asset", "wdId": "id", "clientId": "client_id", "state": "state"}
    return [
        withdrawal_view(made)
        for made in reversed([*holdings.withdrawals.values()])
        if all(reading.fields.get(name) in (None, getattr(made, field)) for name, field in asked.items())
    ][:MAX_ROWS]


def _balance(holdings: Holdings, now_ms: int) -> dict[str, object]:
    details = [
        {"ccy": asset, "cashBal": number(has.free), "eq": number(has.free), "availBal": number(has.free)}
        | {"availEq": number(has.free), "frozenBal": "0", "ordFrozen": "0", "uTime": str(now_ms)}
        for asset, has in holdings.balances.items()
    ]
    return {"adjEq": "", "imr": "", "totalEq": "100000", "uTime": str(now_ms), "details": details}
