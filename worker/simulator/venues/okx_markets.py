"""The instruments of the simulated OKX: a handful, in the shapes of `GET /api/v5/public/instruments` and of tickers.

Shapes: www.okx.com/docs-v5/en, #public-data-rest-api-get-instruments, #public-data-rest-api-get-mark-price,
#order-book-trading-market-data-get-tickers. The values are this simulator's own. An amount is in contracts, each worth
`ctVal` of `ctValCcy`. Every value is a quoted string.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Market:
    """One instrument; `mark` is its mark price until a test moves it. A market without `value` is a spot market."""

    symbol: str
    kind: str
    base: str
    quote: str
    settle: str
    tick: Decimal
    step: Decimal
    mark: Decimal
    value: Decimal | None = None
    expiry_ms: int | None = None

    @property
    def is_contract(self) -> bool:
        """Whether positions are held in it."""
        return self.value is not None


def _market(symbol: str, kind: str, settle: str, tick: str, step: str, mark: str, **more: object) -> Market:
    base, quote = symbol.split("-")[:2]
    numbers = (Decimal(tick), Decimal(step), Decimal(mark))
    return Market(symbol, kind, base, quote, settle, *numbers, **more)  # type: ignore[arg-type]


MARKETS: Mapping[str, Market] = {
    market.symbol: market
    for market in (
        _market("BTC-USDT-SWAP", "SWAP", "USDT", "0.1", "0.01", "43210.1", value=Decimal("0.01")),
        _market("ETH-USDT-SWAP", "SWAP", "USDT", "0.01", "0.01", "2345.67", value=Decimal("0.1")),
        _market("BTC-USD-SWAP", "SWAP", "BTC", "0.1", "1", "43210.1", value=Decimal(100)),
        _market(
            "BTC-USDT-351228",
            "FUTURES",
            "USDT",
            "0.1",
            "0.01",
            "44000.5",
            value=Decimal("0.01"),
            expiry_ms=2_082_441_600_000,
        ),
        _market("BTC-USDT", "SPOT", "", "0.1", "0.00000001", "43210.1"),
    )
}


def instrument_view(market: Market) -> dict[str, str]:
    """An element of `data` of public/instruments."""
    contract = market.is_contract
    linear = market.quote == market.settle
    return {
        "alias": "",
        "auctionEndTime": "",
        "baseCcy": "" if contract else market.base,
        "category": "1",
        "contTdSwTime": "",
        "ctMult": "1" if contract else "",
        "ctType": ("linear" if linear else "inverse") if contract else "",
        "ctVal": "" if market.value is None else format(market.value, "f"),
        "ctValCcy": (market.base if linear else market.quote) if contract else "",
        "expTime": "" if market.expiry_ms is None else str(market.expiry_ms),
        "instFamily": f"{market.base}-{market.quote}" if contract else "",
        "instId": market.symbol,
        "instType": market.kind,
        "lever": "100" if contract else "10",
        "listTime": "1611916828000",
        "lotSz": format(market.step, "f"),
        "maxLmtSz": "100000000",
        "maxMktSz": "85000",
        "minSz": format(market.step, "f"),
        "optType": "",
        "quoteCcy": "" if contract else market.quote,
        "ruleType": "normal",
        "settleCcy": market.settle,
        "state": "live",
        "stk": "",
        "tickSz": format(market.tick, "f"),
        "uly": f"{market.base}-{market.quote}" if contract else "",
    }


def mark_price_view(market: Market, mark: Decimal, now_ms: int) -> dict[str, str]:
    """An element of `data` of public/mark-price."""
    return {"instType": market.kind, "instId": market.symbol, "markPx": format(mark, "f"), "ts": str(now_ms)}


def ticker_view(market: Market, mark: Decimal, now_ms: int) -> dict[str, str]:
    """An element of `data` of market/ticker and market/tickers; the best prices are a tick around the mark price."""
    price = format(mark, "f")
    return {
        "instType": market.kind,
        "instId": market.symbol,
        "last": price,
        "lastSz": "1",
        "askPx": format(mark + market.tick, "f"),
        "askSz": "1000",
        "bidPx": format(mark - market.tick, "f"),
        "bidSz": "1000",
        "open24h": price,
        "high24h": price,
        "low24h": price,
        "volCcy24h": "1234",
        "vol24h": "123400",
        "sodUtc0": price,
        "sodUtc8": price,
        "ts": str(now_ms),
    }
