"""The records of the simulated OKX as its replies show them: every value is a quoted string, times are milliseconds.

Shapes: www.okx.com/docs-v5/en, #order-book-trading-trade-get-order-details, #order-book-trading-algo-trading-get-algo-
order-details, #trading-account-rest-api-get-positions, #funding-account-rest-api-get-withdrawal-history.
"""

from decimal import Decimal

from worker.simulator.derivatives import CoinWithdrawal, DerivativeOrder, NetPosition
from worker.simulator.venues.okx_markets import MARKETS, Market

_TYPES = {"limit": "limit", "market": "market", "post": "post_only", "ioc": "ioc", "fok": "fok"}


def number(value: Decimal | None) -> str:
    """A number as the exchange writes it; what there is none of is an empty string."""
    return "" if value is None else format(value, "f")


def order_state(order: DerivativeOrder) -> str:
    """The word for what became of an order."""
    if order.is_open:
        return "partially_filled" if order.filled else "live"
    return "filled" if order.state == "filled" else "canceled"


def order_view(order: DerivativeOrder) -> dict[str, str]:
    """An order, as order details and lists of orders show it."""
    return {
        "accFillSz": number(order.filled),
        "avgPx": number(order.average),
        "cTime": str(order.time),
        "cancelSource": "1" if order.state == "cancelled" else "",
        "category": "normal",
        "ccy": "",
        "clOrdId": order.client_id or "",
        "fee": "0",
        "feeCcy": "USDT",
        "fillPx": number(order.average),
        "fillSz": number(order.filled),
        "fillTime": str(order.updated) if order.filled else "",
        "instId": order.symbol,
        "instType": MARKETS[order.symbol].kind,
        "lever": "3",
        "ordId": order.id,
        "ordType": _TYPES[order.type],
        "pnl": "0",
        "posSide": "net",
        "px": number(order.price),
        "reduceOnly": str(order.reduce_only).lower(),
        "side": order.side,
        "state": order_state(order),
        "sz": number(order.size),
        "tag": "",
        "tdMode": "cross",
        "tgtCcy": "",
        "tradeId": "",
        "uTime": str(order.updated),
    }


def algo_state(order: DerivativeOrder) -> str:
    """The word for what became of a trigger."""
    if order.filled:
        return "effective"
    return "live" if order.is_open else "canceled"


def algo_view(order: DerivativeOrder) -> dict[str, object]:
    """A trigger, as algo order details and lists of algo orders show it."""
    losing = order.type == "stop"
    trigger = {"TriggerPx": number(order.stop_price), "TriggerPxType": order.trigger_signal or ""}
    trigger["OrdPx"] = number(order.price) or "-1"
    empty = dict.fromkeys(trigger, "")
    sides = {"sl": trigger if losing else empty, "tp": empty if losing else trigger}
    effective = bool(order.filled)
    return {
        "algoClOrdId": order.client_id or "",
        "algoId": order.id,
        "actualSz": number(order.filled) if effective else "",
        "actualSide": ("sl" if losing else "tp") if effective else "",
        "cTime": str(order.time),
        "ccy": "",
        "clOrdId": "",
        "closeFraction": "",
        "failCode": "",
        "instId": order.symbol,
        "instType": MARKETS[order.symbol].kind,
        "lever": "3",
        "ordId": order.id if effective else "",
        "ordIdList": [order.id] if effective else [],
        "ordType": "conditional",
        "posSide": "net",
        "reduceOnly": str(order.reduce_only).lower(),
        "side": order.side,
        **{f"{side}{name}": value for side, values in sides.items() for name, value in values.items()},
        "state": algo_state(order),
        "sz": number(order.size),
        "tag": "",
        "tdMode": "cross",
        "triggerTime": str(order.updated) if effective else "",
        "uTime": str(order.updated),
    }


def position_view(position: NetPosition, market: Market, mark: Decimal) -> dict[str, str]:
    """A position in net mode: `pos` is negative for a short one."""
    notional = (
        abs(position.size) * (market.value or Decimal(1)) * (mark if market.quote == market.settle else Decimal(1))
    )
    return {
        "adl": "1",
        "availPos": "",
        "avgPx": number(position.entry_price),
        "cTime": str(position.time),
        "ccy": market.settle,
        "imr": number(notional / 4),
        "instId": position.symbol,
        "instType": market.kind,
        "interest": "",
        "last": number(mark),
        "lever": "3",
        "liab": "",
        "liabCcy": "",
        "liqPx": "",
        "margin": "",
        "markPx": number(mark),
        "mgnMode": "cross",
        "mgnRatio": "11.731726509588816",
        "mmr": number(notional / 200),
        "notionalUsd": number(notional),
        "pos": number(position.size),
        "posCcy": "",
        "posId": "307173036051017730",
        "posSide": "net",
        "realizedPnl": "0",
        "tradeId": "109844",
        "uTime": str(position.time),
        "upl": "-0.0000000815524006",
        "uplRatio": "-0.0000000000000012",
    }


def withdrawal_view(withdrawal: CoinWithdrawal) -> dict[str, str]:
    """A withdrawal, as the history of withdrawals shows it."""
    address, _, tag = withdrawal.address.partition(":")
    return {
        "amt": number(withdrawal.amount),
        "areaCodeFrom": "",
        "areaCodeTo": "",
        "ccy": withdrawal.asset,
        "chain": withdrawal.chain,
        "clientId": withdrawal.client_id or "",
        "fee": number(withdrawal.fee),
        "feeCcy": withdrawal.asset,
        "from": "",
        "nonTradableAsset": "false",
        "note": "",
        "state": withdrawal.state,
        **({"tag": tag} if tag else {}),
        "to": address,
        "ts": str(withdrawal.time),
        "txId": "",
        "wdId": withdrawal.id,
    }
