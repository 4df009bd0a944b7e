"""The contracts of the simulated Kraken Futures: a handful, in the shapes of `GET /instruments` and `GET /tickers`.

Shapes: docs.kraken.com, api-reference/instrument-details/get-instruments and api-reference/market-data/get-tickers.
The values are this simulator's own. An amount is a multiple of 10 to the power of minus `contractValueTradePrecision`,
which is negative where only whole thousands are traded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Market:
    """One contract; `mark` is its mark price until a test moves it."""

    symbol: str
    base: str
    tick: Decimal
    precision: int
    mark: Decimal
    inverse: bool = False
    last_trading_time: str | None = None
    tag: str = "perpetual"
    max_position: Decimal = Decimal(1_000_000)

    @property
    def step(self) -> Decimal:
        """The smallest amount."""
        return Decimal(1).scaleb(-self.precision)


MARKETS: Mapping[str, Market] = {
    market.symbol: market
    for market in (
        Market("PF_XBTUSD", "XBT", Decimal(1), 4, Decimal(43210)),
        Market("PF_ETHUSD", "ETH", Decimal("0.1"), 3, Decimal("2345.6")),
        Market(
            "PF_PEPEUSD", "PEPE", Decimal("0.0000000001"), -3, Decimal("0.0000123456"), max_position=Decimal(10**11)
        ),
        Market("PI_XBTUSD", "XBT", Decimal("0.5"), 0, Decimal("43210.5"), inverse=True),
        Market(
            "FI_XBTUSD_351228",
            "XBT",
            Decimal("0.5"),
            0,
            Decimal("44000.5"),
            inverse=True,
            last_trading_time="2035-12-28T15:00:00.000Z",
            tag="quarter",
        ),
    )
}


def instrument_view(market: Market) -> dict[str, object]:
    """An element of `instruments`."""
    margins = [{"contracts": 0, "initialMargin": Decimal("0.02"), "maintenanceMargin": Decimal("0.01")}]
    levels: dict[str, object] = {"marginLevels": margins}
    if not market.inverse:
        rates = {"initialMargin": Decimal("0.02"), "maintenanceMargin": Decimal("0.01")}
        levels = {"marginLevels": [{"numNonContractUnits": Decimal(0), **rates}]}
    return {
        "symbol": market.symbol,
        "pair": f"{market.base}:USD",
        "base": market.base,
        "quote": "USD",
        "type": "futures_inverse" if market.inverse else "flexible_futures",
        **({"underlying": f"rr_{market.base.lower()}usd"} if market.inverse else {}),
        **({"lastTradingTime": market.last_trading_time} if market.last_trading_time else {}),
        "tickSize": market.tick,
        "contractSize": 1,
        "tradeable": True,
        "impactMidSize": Decimal("0.0001"),
        "maxPositionSize": market.max_position,
        "openingDate": "2022-01-01T00:00:00.000Z",
        **levels,
        "fundingRateCoefficient": 8,
        "maxRelativeFundingRate": Decimal("0.001"),
        "contractValueTradePrecision": market.precision,
        "postOnly": False,
        "feeScheduleUid": "eef90775-995b-4596-9257-0917f6134766",
        "retailMarginLevels": [{"contracts": 0, "initialMargin": Decimal("0.5"), "maintenanceMargin": Decimal("0.25")}],
        "category": "",
        "tags": [],
        "tradfi": False,
        "mtf": True,
    }


def ticker_view(market: Market, mark: Decimal, server_time: str) -> dict[str, object]:
    """An element of `tickers`; the best prices are a tick around the mark price."""
    return {
        "symbol": market.symbol,
        "last": mark,
        "lastTime": server_time,
        "lastSize": market.step,
        "tag": market.tag,
        "pair": f"{market.base}:USD",
        "markPrice": mark,
        "bid": mark - market.tick,
        "bidSize": Decimal(1000),
        "ask": mark + market.tick,
        "askSize": Decimal(1000),
        "vol24h": Decimal(1234),
        "volumeQuote": Decimal("5321.5"),
        "openInterest": Decimal(4321),
        "open24h": mark,
        "high24h": mark,
        "low24h": mark,
        "fundingRate": Decimal("0.0000000815"),
        "fundingRatePrediction": Decimal("-0.0000000042"),
        "indexPrice": mark,
        "suspended": False,
        "postOnly": False,
        "change24h": Decimal(0),
    }
