"""What requests to the simulated OKX do, and what reads show. `okx` has checked who sends them.

A refusal of an operation is an element of `data` with a code of its own. A client order id is unique among open orders
only (#order-book-trading-trade-post-place-order): the same one may be used again once its order has ended, and a lookup
finds the latest. Triggers are apart: their client id is `algoClOrdId`; a `clOrdId` that is sent with one is accepted,
as ccxt sends it to the real exchange, and finds nothing (I). An order that was cancelled without any fill is shown for
two hours. An account is in net mode. An unknown parameter is refused, so that a misspelt one is found (I).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any

from worker.simulator.accounts import Account, Accounts
from worker.simulator.derivatives import DerivativeHoldings, DerivativeOrder
from worker.simulator.venues.matching import Matching, WouldNotExecute, WouldNotReduce, is_multiple
from worker.simulator.venues.okx_funding import WithdrawalRefused, read_withdrawal, spend
from worker.simulator.venues.okx_markets import MARKETS, Market
from worker.simulator.venues.okx_reads import PRIVATE_READS, PUBLIC_READS, Reading, private_rows, public_rows

Body = Mapping[str, Any] | list[Mapping[str, Any]]
"""The query of a GET, or the JSON of a POST."""

WITHDRAWAL = "asset/withdrawal"
CLIENT_ID = re.compile(r"[0-9A-Za-z]{1,32}")

_DECIMAL = re.compile(r"[0-9]{1,30}(\.[0-9]{1,18})?")
_TYPES = {"limit": "limit", "market": "market", "post_only": "post", "ioc": "ioc", "fok": "fok"}
_ORDER_FIELDS = frozenset(
    {"instId", "tdMode", "ccy", "clOrdId", "tag", "side", "posSide", "ordType", "sz", "px", "reduceOnly", "tgtCcy"}
)
_TRIGGER_FIELDS = frozenset(
    {f"{side}{name}" for side in ("sl", "tp") for name in ("TriggerPx", "TriggerPxType", "OrdPx")}
)
_ALGO_FIELDS = (_ORDER_FIELDS - {"px"}) | _TRIGGER_FIELDS | {"algoClOrdId"}


class Refused(Exception):
    """Raised to answer with a code and words alone."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(code)
        self.code = code
        self.words = words


class Failed(Exception):
    """Raised to refuse one operation by the code of its element."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(code)
        self.code = code
        self.words = words


@dataclass(frozen=True, slots=True)
class Answer:
    """The `data` of a reply; `is_operation` for requests that change something."""

    data: list[Any]
    executed: bool = False
    failed: bool = False
    is_operation: bool = False


class Trading:
    """Executes and reads. `clock` returns UNIX ms, `mark` the mark price of an instrument."""

    def __init__(self, accounts: Accounts, clock: Callable[[], int], mark: Callable[[str], Decimal]) -> None:
        self._accounts = accounts
        self._clock = clock
        self._mark = mark
        self._ids = count(2_510_789_768_709_120_001)
        self.matching = Matching(accounts, clock, mark)
        self._operations: dict[str, Callable[[Account, Mapping[str, Any]], dict[str, str]]] = {
            "trade/order": self._order,
            "trade/order-algo": self._algo_order,
            "trade/cancel-order": self._cancel,
            "trade/cancel-algos": self._cancel_algo,
        }

    def is_public(self, method: str, name: str) -> bool:
        """Whether a request needs no key."""
        return method == "GET" and name in PUBLIC_READS

    def is_served(self, method: str, name: str) -> bool:
        """Whether there is such a request with a key."""
        return (
            name in PRIVATE_READS
            if method == "GET"
            else method == "POST" and (name in self._operations or name == WITHDRAWAL)
        )

    def answer(self, account: Account | None, method: str, name: str, path: str, body: Body, *, demo: bool) -> Answer:
        """The reply to one request; `demo`: of demo trading. Raises Refused."""
        row = body[0] if isinstance(body, list) else body
        reading = Reading(row, self._clock(), self._mark)
        if account is None:
            return Answer(public_rows(name, reading))
        if method == "GET":
            try:
                return Answer(private_rows(name, reading, self._accounts.visible(account, path)))
            except LookupError:
                raise Refused("51603", "Order does not exist") from None
        if isinstance(body, list) != (name == "trade/cancel-algos") or (isinstance(body, list) and len(body) != 1):
            raise Refused("50002", "JSON syntax error")
        if name == WITHDRAWAL:
            return self._withdraw(account, path, row, demo=demo)
        return self._operate(account, name, path, row)

    def _operate(self, account: Account, name: str, path: str, fields: Mapping[str, Any]) -> Answer:
        try:
            made = self._operations[name](account, fields)
        except Failed as failure:
            empty = {"ordId": "", "clOrdId": fields.get("clOrdId", ""), "tag": ""}
            if "algo" in name:
                empty = {"algoId": "", "clOrdId": "", "algoClOrdId": fields.get("algoClOrdId", ""), "tag": ""}
            return Answer([{**empty, "sCode": failure.code, "sMsg": failure.words}], failed=True, is_operation=True)
        self._accounts.add_execution(account, path, {key: str(value) for key, value in fields.items()})
        return Answer([{**made, "sCode": "0", "sMsg": ""}], executed=True, is_operation=True)

    def _order(self, account: Account, fields: Mapping[str, Any]) -> dict[str, str]:
        _known(fields, _ORDER_FIELDS, required=("instId", "tdMode", "side", "ordType", "sz"))
        kind = _TYPES.get(fields["ordType"]) or _wrong("ordType")
        client_id = _client_id(fields, "clOrdId")
        known = account.holdings.derivatives.by_client_id(client_id or "")
        if known is not None and known.is_open and known.stop_price is None:
            raise Failed("51016", "Client order ID already exists.")
        market = _market(fields)
        price = None
        if kind != "market":
            price = _multiple(fields, "px", market.tick, "51000")
        order = self._described(fields, market, client_id, type=kind, price=price)
        placed = self._place(account, order)
        return {"ordId": placed.id, "clOrdId": client_id or "", "tag": fields.get("tag", ""), "ts": str(placed.time)}

    def _algo_order(self, account: Account, fields: Mapping[str, Any]) -> dict[str, str]:
        _known(fields, _ALGO_FIELDS, required=("instId", "tdMode", "side", "ordType", "sz"))
        if fields["ordType"] != "conditional":
            raise Failed("51000", "Parameter ordType error")
        side = "sl" if "slTriggerPx" in fields else "tp"
        signal = fields.get(f"{side}TriggerPxType", "last")
        if (f"{side}OrdPx" not in fields) or signal not in ("last", "index", "mark"):
            _wrong(f"{side}OrdPx" if f"{side}OrdPx" not in fields else f"{side}TriggerPxType")
        client_id = _client_id(fields, "algoClOrdId")
        known = account.holdings.derivatives.by_client_id(client_id or "")
        if known is not None and known.stop_price is not None:
            raise Failed("51065", "algoClOrdId already exists.")
        market = _market(fields)
        at_market = fields[f"{side}OrdPx"] == "-1"
        order = self._described(
            fields,
            market,
            client_id,
            type="stop" if side == "sl" else "take_profit",
            price=None if at_market else _multiple(fields, f"{side}OrdPx", market.tick, "51000"),
            stop_price=_multiple(fields, f"{side}TriggerPx", market.tick, "51000"),
            trigger_signal=signal,
        )
        placed = self._place(account, order)
        return {"algoId": placed.id, "clOrdId": "", "algoClOrdId": client_id or "", "tag": fields.get("tag", "")}

    def _described(
        self, fields: Mapping[str, Any], market: Market, client_id: str | None, **more: Any
    ) -> DerivativeOrder:
        if fields["side"] not in ("buy", "sell"):
            _wrong("side")
        if fields["tdMode"] not in ("cross", "isolated") or fields.get("posSide", "net") != "net":
            _wrong("tdMode" if fields.get("posSide", "net") == "net" else "posSide")
        reduce_only = str(fields.get("reduceOnly", "false")).lower()
        if reduce_only not in ("true", "false"):
            _wrong("reduceOnly")
        now = self._clock()
        return DerivativeOrder(
            id=str(next(self._ids)),
            client_id=client_id,
            symbol=market.symbol,
            side=fields["side"],
            size=_multiple(fields, "sz", market.step, "51121"),
            reduce_only=reduce_only == "true",
            time=now,
            updated=now,
            **more,
        )

    def _place(self, account: Account, order: DerivativeOrder) -> DerivativeOrder:
        try:
            return self.matching.place(account, order)[0]
        except WouldNotReduce:
            words = "Order failed because you don't have any positions in this direction for this contract to reduce"
            raise Failed("51169", words) from None
        except WouldNotExecute:
            # The order is accepted and cancelled at once.
            return self.matching.place_cancelled(account, order)

    def _cancel(self, account: Account, fields: Mapping[str, Any]) -> dict[str, str]:
        _known(fields, frozenset({"instId", "ordId", "clOrdId"}), required=("instId",))
        order = _found(account.holdings.derivatives, fields, "ordId", "clOrdId")
        if order is None or not order.is_open or order.stop_price is not None or order.symbol != fields["instId"]:
            raise Failed("51400", "Cancellation failed as the order has been filled, canceled or does not exist")
        self.matching.cancel(account, order)
        return {"ordId": order.id, "clOrdId": order.client_id or "", "ts": str(self._clock())}

    def _cancel_algo(self, account: Account, fields: Mapping[str, Any]) -> dict[str, str]:
        _known(fields, frozenset({"instId", "algoId", "algoClOrdId"}), required=("instId",))
        order = _found(account.holdings.derivatives, fields, "algoId", "algoClOrdId")
        if order is None or not order.is_open or order.stop_price is None or order.symbol != fields["instId"]:
            raise Failed("51400", "Cancellation failed as the order has been filled, canceled or does not exist")
        self.matching.cancel(account, order)
        return {"algoId": order.id, "algoClOrdId": order.client_id or ""}

    def _withdraw(self, account: Account, path: str, fields: Mapping[str, Any], *, demo: bool) -> Answer:
        if demo:
            raise Refused("50038", "This feature is unavailable in demo trading")
        try:
            withdrawal = read_withdrawal(fields, account.holdings, str(next(self._ids)), self._clock())
        except WithdrawalRefused as refusal:
            raise Refused(refusal.code, refusal.words) from None
        holdings = self._accounts.holdings_to_change(account)
        spend(holdings, withdrawal)
        self._accounts.add_execution(account, path, {key: str(value) for key, value in fields.items()})
        made = {"amt": fields["amt"], "wdId": withdrawal.id, "ccy": withdrawal.asset}
        names = {"clientId": withdrawal.client_id or "", "chain": withdrawal.chain}
        return Answer([{**made, **names}], executed=True)


def _found(
    holdings: DerivativeHoldings, fields: Mapping[str, Any], by_id: str, by_client_id: str
) -> DerivativeOrder | None:
    """The order that a cancel names; by the exchange's id where it gives both."""
    if by_id in fields:
        return holdings.orders.get(fields[by_id])
    if by_client_id not in fields:
        raise Failed("51000", f"Either parameter {by_id} or {by_client_id} is required")
    return holdings.by_client_id(fields[by_client_id])


def _wrong(name: str) -> str:
    raise Failed("51000", f"Parameter {name} error")


def _known(fields: Mapping[str, Any], known: frozenset[str], required: tuple[str, ...]) -> None:
    """Raises Failed for a missing, unknown or empty parameter, and for one that is no text."""
    for name in required:
        if not fields.get(name):
            raise Failed("50014", f"Parameter {name} can not be empty.")
    for name, value in fields.items():
        if name not in known or not (isinstance(value, str) or (name == "reduceOnly" and isinstance(value, bool))):
            _wrong(name)


def _market(fields: Mapping[str, Any]) -> Market:
    market = MARKETS.get(fields["instId"])
    if market is None or not market.is_contract:
        raise Failed("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
    return market


def _client_id(fields: Mapping[str, Any], name: str) -> str | None:
    client_id = fields.get(name)
    if client_id is not None and not CLIENT_ID.fullmatch(client_id):
        _wrong(name)
    return client_id


def _multiple(fields: Mapping[str, Any], name: str, step: Decimal, code: str) -> Decimal:
    """A positive multiple of the step."""
    text = fields.get(name, "")
    number = Decimal(text) if _DECIMAL.fullmatch(text) else Decimal(0)
    if not number or not is_multiple(number, step):
        raise Failed(code, f"Parameter {name} error")
    return number
