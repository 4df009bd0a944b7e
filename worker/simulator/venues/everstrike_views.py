"""Everstrike's records as its replies show them.

The position and the order follow the reply examples of the API pages; balances, fills and withdrawals follow what the
venue's own client reads (`everstrikeio/market_maker`, `js/Everstrike.js`: `fetchBalance`, `parseTrade`,
`parseTransaction`). Numbers are JSON numbers with all their digits.
"""

from collections.abc import Mapping

from worker.simulator.accounts import Balance
from worker.simulator.records import Fill, Order, Position, Trigger, Withdrawal

CUSTOMER_ID = "5f9ca5f0-380e-11e9-bf51-91a076098e19"


def position_view(position: Position) -> dict[str, object]:
    """`GET /position`, and each value of `GET /active_positions`."""
    stats = {
        "size": position.size,
        "notional": position.size * position.mark_price,
        "margin": position.margin,
        "pnl": position.realized + position.unrealized,
        "upnl": position.unrealized,
        "rpnl": position.realized,
        "equity": position.margin + position.unrealized,
        "roe": 0,
        "mark": position.mark_price,
        "avg_entry": position.entry_price,
        "leverage": position.leverage,
        "lp": position.liquidation_price,
        "bankrupt": position.liquidation_price,
        "direction": position.direction,
    }
    return {
        "size": position.size,
        "free": position.size,
        "locked": 0,
        "realized": position.realized,
        "funding": 0,
        "fees": 0,
        "stats": stats,
    }


def order_view(order: Order) -> dict[str, object]:
    """The result of a cancel, of a close, and each order of a list."""
    return {
        "pair": order.pair,
        "type": order.type,
        "side": order.side,
        "price": order.price,
        "time_in_force": "GTC",
        "customer_id": CUSTOMER_ID,
        "qty_orig": order.qty_orig,
        "qty_remaining": order.qty_remaining,
        "status": order.status,
        "time": order.time,
        "fills": [],
        "id": order.id,
        "qty_orig_usd": order.qty_orig * order.price,
        "leverage": 1,
        "post_only": False,
        "reduce_only": order.reduce_only,
        "hidden": False,
    }


def trigger_view(trigger: Trigger) -> dict[str, object]:
    """A stop, as `GET /triggers` lists it. The API page of close does not show the reply to a stop. I."""
    return {
        "id": trigger.id,
        "pair": trigger.pair,
        "side": trigger.side,
        "qty": trigger.qty,
        "price": trigger.price,
        "trigger_price": trigger.trigger_price,
        "trigger_event": trigger.trigger_event,
        "close_on_trigger": trigger.close_on_trigger,
        "status": trigger.status,
        "msg": trigger.msg,
        "time": trigger.time,
    }


def fill_view(fill: Fill) -> dict[str, object]:
    """One fill."""
    return {
        "id": fill.id,
        "order_id": fill.order_id,
        "pair": fill.pair,
        "side": fill.side,
        "price": fill.price,
        "qty": fill.qty,
        "time": fill.time,
        "is_buyer_maker": False,
        "net_commission": 0,
        "net_commission_asset": "USD",
    }


def withdrawal_view(withdrawal: Withdrawal) -> dict[str, object]:
    """The result of a withdrawal, and each of `GET /withdrawals`."""
    return {
        "id": withdrawal.id,
        "address": withdrawal.address,
        "asset": withdrawal.asset,
        "time": withdrawal.time,
        "qty": withdrawal.qty,
        "net": withdrawal.net,
        "status": withdrawal.status,
        "transaction": {"hash": withdrawal.hash},
    }


def balances_view(balances: Mapping[str, Balance]) -> dict[str, object]:
    """`GET /balances`, by asset."""
    return {
        asset: {"free": balance.free, "locked": 0, "withdrawn": balance.withdrawn, "margin": 0}
        for asset, balance in balances.items()
    }
