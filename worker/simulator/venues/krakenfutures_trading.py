"""What the private requests to the simulated Kraken Futures do. `krakenfutures` has checked who sends them.

Refusals of an order are in `sendStatus.status`, inside a success (api-reference/order-management/send-order). A client
order id is unique for ever and over all accounts ("must be globally unique"); a refused order leaves its id free (I).
What is later than `processBefore` is refused, by the time at which it is executed; how a late cancel is worded is not
published (I). An unknown parameter is refused, too, so that a misspelt one is found (I).
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import NoReturn
from uuid import uuid4

from worker.simulator.accounts import Account, Accounts
from worker.simulator.derivatives import DerivativeFill, DerivativeOrder
from worker.simulator.venues.krakenfutures_history import page
from worker.simulator.venues.krakenfutures_markets import MARKETS, Market
from worker.simulator.venues.krakenfutures_views import (
    cancel_event,
    execution_event,
    fill_view,
    iso,
    open_order_view,
    order_json,
    place_event,
    position_view,
    status_view,
)
from worker.simulator.venues.matching import Matching, WouldNotExecute, WouldNotReduce, is_multiple

VISIBLE_MS = 5_000
"""How long orders/status shows an order that has ended (get-specific-orders-status)."""

MAX_CLIENT_ID = 100
MAX_FILLS = 100

_DECIMAL = re.compile(r"[0-9]{1,30}(\.[0-9]{1,18})?")
_TYPES = {
    "lmt": "limit",
    "post": "post",
    "ioc": "ioc",
    "fok": "fok",
    "mkt": "market",
    "stp": "stop",
    "take_profit": "take_profit",
}
_SIGNALS = frozenset({"mark", "index", "last"})
_SEND_FIELDS = frozenset(
    {
        "processBefore",
        "orderType",
        "symbol",
        "side",
        "size",
        "limitPrice",
        "stopPrice",
        "cliOrdId",
        "triggerSignal",
        "reduceOnly",
        "broker",
    }
)
_CANCEL_FIELDS = frozenset({"processBefore", "order_id", "cliOrdId"})

Fields = Mapping[str, list[str]]
Answer = tuple[Mapping[str, object], bool]
"""The content of a reply, and whether something was executed."""


class Refused(Exception):
    """Raised to answer with an error; `code` is one of the published ones."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _NotPlaced(Exception):
    """Raised to refuse an order inside a success; `reason` is that of an event that rejects it."""

    def __init__(self, status: str, reason: str | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.reason = reason


class Trading:
    """Executes and reads. `clock` returns UNIX ms, `mark` the mark price of a contract."""

    def __init__(self, accounts: Accounts, clock: Callable[[], int], mark: Callable[[str], Decimal]) -> None:
        self._accounts = accounts
        self._clock = clock
        self.mark = mark
        self.matching = Matching(accounts, clock, mark)

    def answer(self, account: Account, name: str, path: str, fields: Fields) -> Answer:
        """The content of the reply to one request. Raises Refused."""
        if name == "sendorder":
            return self._send(account, path, _single(fields, _SEND_FIELDS))
        if name == "cancelorder":
            return self._cancel(account, path, _single(fields, _CANCEL_FIELDS))
        return self._read(account, name, path, fields), False

    def _read(self, account: Account, name: str, path: str, fields: Fields) -> Mapping[str, object]:
        holdings = self._accounts.visible(account, path).derivatives
        now = self._clock()
        match name:
            case "openpositions":
                return {"openPositions": [position_view(each) for each in holdings.positions.values()]}
            case "openorders":
                return {"openOrders": [open_order_view(each) for each in holdings.open_orders.values()]}
            case "orders/status":
                ids, client_ids = fields.get("orderIds", []), fields.get("cliOrdIds", [])
                asked = [*map(holdings.orders.get, ids), *map(holdings.by_client_id, client_ids)]
                shown = [each for each in asked if each and (each.is_open or now - each.updated <= VISIBLE_MS)]
                return {"orders": [status_view(each) for each in shown]}
            case "fills":
                before = fields.get("lastFillTime", [""])[0]
                newest = (each for each in reversed(holdings.fills.values()) if not before or iso(each.time) < before)
                fills = islice(newest, MAX_FILLS)
                return {"fills": [fill_view(each, holdings.orders.get(each.order_id)) for each in fills]}
            case "accounts":
                return {"accounts": {"flex": _FLEX}}
        return page(holdings, name, {key: values[-1] for key, values in fields.items()}, iso(now))

    def _send(self, account: Account, path: str, fields: dict[str, str]) -> Answer:
        now = self._clock()
        status: dict[str, object] = {"status": "placed"}
        try:
            order = self._read_order(fields, now)
            if _is_late(fields, now):
                raise _NotPlaced("wouldProcessAfterSpecifiedTime")
            placed, fills = self._place(account, order)
        except _NotPlaced as refusal:
            status["status"] = refusal.status
            if refusal.reason is not None:
                event = {"type": "REJECT", "uid": order.id, "reason": refusal.reason}
                status["orderEvents"] = [{**event, "order": order_json(order, Decimal(0))}]
            return {"sendStatus": {**status, **_client_id(fields), "receivedTime": iso(now)}}, False
        self._accounts.add_execution(account, path, fields)
        events = [execution_event(placed, fill) for fill in fills] or [place_event(placed, self.mark(placed.symbol))]
        status |= {"order_id": placed.id, **_client_id(fields), "receivedTime": iso(now), "orderEvents": events}
        return {"sendStatus": status}, True

    def _place(self, account: Account, order: DerivativeOrder) -> tuple[DerivativeOrder, list[DerivativeFill]]:
        holders = self._accounts.at("krakenfutures")
        if order.client_id is not None and any(
            order.client_id in holder.holdings.derivatives.order_ids for holder in holders
        ):
            raise _NotPlaced("clientOrderIdAlreadyExist")
        try:
            return self.matching.place(account, order)
        except WouldNotReduce:
            raise _NotPlaced("wouldNotReducePosition", "WOULD_NOT_REDUCE_POSITION") from None
        except WouldNotExecute:
            raise _NotPlaced("iocWouldNotExecute", "IOC_WOULD_NOT_EXECUTE") from None

    def _read_order(self, fields: Mapping[str, str], now: int) -> DerivativeOrder:
        """The order that a request describes. Raises Refused and _NotPlaced."""
        if not {"orderType", "symbol", "side", "size"} <= fields.keys():
            raise Refused("requiredArgumentMissing")
        market = MARKETS.get(fields["symbol"].upper()) or _refuse("invalidArgument")
        kind = _TYPES.get(fields["orderType"])
        if kind is None:
            raise _NotPlaced("invalidOrderType")
        if fields["side"] not in ("buy", "sell"):
            raise _NotPlaced("invalidSide")
        if len(fields.get("cliOrdId", "")) > MAX_CLIENT_ID:
            raise _NotPlaced("clientOrderIdTooLong")
        trigger = kind in ("stop", "take_profit")
        if trigger != ("stopPrice" in fields) or (not trigger and kind != "market" and "limitPrice" not in fields):
            raise Refused("requiredArgumentMissing" if trigger or "stopPrice" not in fields else "invalidArgument")
        signal = fields.get("triggerSignal", "last")
        if signal not in _SIGNALS or fields.get("reduceOnly", "false") not in ("true", "false"):
            raise Refused("invalidArgument")
        return DerivativeOrder.model_validate(
            {
                "id": str(uuid4()),
                "client_id": fields.get("cliOrdId"),
                "symbol": market.symbol,
                "side": fields["side"],
                "type": kind,
                "size": _multiple(fields["size"], market.step, "invalidSize"),
                "price": None if kind == "market" else _price(fields, "limitPrice", market),
                "stop_price": _price(fields, "stopPrice", market),
                "trigger_signal": signal if trigger else None,
                "reduce_only": fields.get("reduceOnly") == "true",
                "time": now,
                "updated": now,
            }
        )

    def _cancel(self, account: Account, path: str, fields: dict[str, str]) -> Answer:
        now, holdings = self._clock(), account.holdings.derivatives
        if ("order_id" in fields) == ("cliOrdId" in fields):
            raise Refused("requiredArgumentMissing" if "order_id" not in fields else "invalidArgument")
        received = {"receivedTime": iso(now)}
        if _is_late(fields, now):
            return {"cancelStatus": {"status": "wouldProcessAfterSpecifiedTime", **received}}, False
        if "order_id" in fields:
            order = holdings.orders.get(fields["order_id"])
        else:
            order = holdings.by_client_id(fields["cliOrdId"])
        if order is None or order.state == "cancelled":
            return {"cancelStatus": {"status": "notFound", **received}}, False
        ids = {"order_id": order.id, **({"cliOrdId": order.client_id} if order.client_id else {})}
        if order.state == "filled":
            return {"cancelStatus": {"status": "filled", **ids, **received}}, False
        cancelled = self.matching.cancel(account, order)
        self._accounts.add_execution(account, path, fields)
        events = [cancel_event(cancelled, self.mark(order.symbol))]
        return {"cancelStatus": {"status": "cancelled", **ids, **received, "orderEvents": events}}, True


def _refuse(code: str) -> NoReturn:
    raise Refused(code)


def _single(fields: Fields, known: frozenset[str]) -> dict[str, str]:
    if not fields.keys() <= known or any(len(values) != 1 or not values[0] for values in fields.values()):
        raise Refused("invalidArgument")
    return {name: values[0] for name, values in fields.items()}


def _is_late(fields: Mapping[str, str], now_ms: int) -> bool:
    if "processBefore" not in fields:
        return False
    try:
        limit = datetime.fromisoformat(fields["processBefore"])
        return limit.timestamp() * 1000 <= now_ms
    except ValueError:
        raise Refused("invalidArgument") from None


def _client_id(fields: Mapping[str, str]) -> dict[str, str]:
    return {"cliOrdId": fields["cliOrdId"]} if "cliOrdId" in fields else {}


def _price(fields: Mapping[str, str], name: str, market: Market) -> Decimal | None:
    return _multiple(fields[name], market.tick, "invalidPrice") if name in fields else None


def _multiple(text: str, step: Decimal, refusal: str) -> Decimal:
    """A positive multiple of the step."""
    number = Decimal(text) if _DECIMAL.fullmatch(text) else Decimal(0)
    if not number or not is_multiple(number, step):
        raise _NotPlaced(refusal)
    return number


_FLEX = {
    "type": "multiCollateralMarginAccount",
    "currencies": {"USD": {"quantity": Decimal(100000), "value": Decimal(100000), "collateral": Decimal(100000)}},
    "portfolioValue": Decimal(100000),
    "availableMargin": Decimal(90000),
    "initialMargin": Decimal(10000),
    "maintenanceMargin": Decimal(5000),
}
