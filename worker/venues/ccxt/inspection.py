"""What `orders venue-check` asks an exchange of ccxt beyond its commands."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from worker.venues.accounts import Account
from worker.venues.base import PlanFailed, PlanRefused
from worker.venues.ccxt.binding import PINNED
from worker.venues.ccxt.exchanges import traits_of
from worker.venues.ccxt.markets import Markets, UnknownMarket
from worker.venues.ccxt.reading import Reader, ReadFailed
from worker.venues.ccxt.summary import summary
from worker.venues.http.base import Send
from worker.venues.inspection import MarketRules, Trait

DECIMAL_PLACES, TICK_SIZE = 2, 4
"""ccxt's two common readings of a market's ``precision`` (``ccxt/base/decimal_to_precision.py``)."""
USUAL_BASE = "BTC"
"""Of the market that is asked for in a check if nobody names one."""


class _Adapter(Protocol):
    ccxt_id: str

    def markets(self, account: Account, send: Send) -> Markets: ...

    def reader(self, account: Account, send: Send, markets: Markets, *, public: bool = False) -> Reader: ...


class Inspection:
    """Mixed into the adapter, as :class:`worker.venues.inspection.Inspectable`."""

    ccxt_id: str
    library = f"ccxt {PINNED}"

    @property
    def test_url(self) -> str:
        """The origin of the test network."""
        traits = traits_of(self.ccxt_id)
        return traits.testnet_url if traits else ""

    def beliefs(self) -> Sequence[Trait]:
        """What is believed of the exchange."""
        return summary(self.ccxt_id)

    def load_markets(self: "_Adapter", account: Account, send: Send) -> int:
        """How many markets the exchange lists."""
        return len(_markets(self, account, send).exchange.markets)

    def example_pair(self: "_Adapter", account: Account, send: Send) -> str:
        """A perpetual contract of bitcoin, else any contract."""
        listed = [each for each in _markets(self, account, send).exchange.markets.values() if each.get("contract")]
        usual = [each for each in listed if each.get("swap") and each.get("base") == USUAL_BASE]
        return str((usual or listed)[0]["symbol"]) if listed else ""

    def rules(self: "_Adapter", pair: str, account: Account, send: Send) -> MarketRules:
        """As ccxt reads the exchange's list."""
        markets, symbol = _symbol(self, pair, account, send)
        return rules_of(markets.exchange.markets[symbol], markets.exchange.precisionMode)

    def mark_price(self: "_Adapter", pair: str, account: Account, send: Send) -> Decimal:
        """From the market's ticker."""
        markets, symbol = _symbol(self, pair, account, send)
        try:
            ticker = self.reader(account, send, markets, public=True).call("fetch_ticker", [symbol]).value
        except ReadFailed as failure:
            raise PlanFailed(str(failure), failure.retry_after) from None
        prices = [_decimal(ticker.get(name)) for name in ("markPrice", "last", "close", "bid")]
        price = next((each for each in prices if each > 0), None)
        if price is None:
            raise PlanFailed(f"the ticker of {pair} tells no price")
        return price


def rules_of(market: Mapping[str, Any], precision_mode: int) -> MarketRules:
    """The rules in ccxt's description of a market."""
    precision, limits = market.get("precision") or {}, market.get("limits") or {}
    amount_step = _step(precision.get("amount"), precision_mode)
    return MarketRules(
        price_step=_step(precision.get("price"), precision_mode),
        amount_step=amount_step,
        least_amount=_decimal((limits.get("amount") or {}).get("min")) or amount_step,
        least_value=_decimal((limits.get("cost") or {}).get("min")),
        contract_size=_decimal(market.get("contractSize")) or Decimal(1),
        inverse=bool(market.get("inverse")),
        quote=str(market.get("quote") or ""),
    )


def _step(precision: Any, mode: int) -> Decimal:
    number = _decimal(precision)
    if mode == TICK_SIZE:
        return number
    return Decimal(1).scaleb(-int(number)) if mode == DECIMAL_PLACES and precision is not None else Decimal(0)


def _decimal(value: Any) -> Decimal:
    """The number; 0 where there is none."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)
    return number if number.is_finite() else Decimal(0)


def _markets(venue: _Adapter, account: Account, send: Send) -> Markets:
    try:
        return venue.markets(account, send)
    except ReadFailed as failure:
        raise PlanFailed(str(failure), failure.retry_after) from None


def _symbol(venue: _Adapter, pair: str, account: Account, send: Send) -> tuple[Markets, str]:
    markets = _markets(venue, account, send)
    try:
        return markets, markets.symbol(pair)
    except UnknownMarket as error:
        raise PlanRefused(str(error)) from None
