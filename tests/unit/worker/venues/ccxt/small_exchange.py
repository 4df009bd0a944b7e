"""Kraken Futures with two markets, for tests of what the adapter does at every exchange."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from producers.commands import Close
from tests.unit.worker.venues.ccxt.answering_exchange import NOW_MS, AnsweringExchange, planned
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Verdict
from worker.venues.ccxt.adapter import CcxtVenue
from worker.venues.ccxt.warm import WarmReads
from worker.venues.http.base import Response

API = "/derivatives/api/v3"
SYMBOL, CONTRACT, OTHER = "BTC/USD:USD", "PF_XBTUSD", "PF_ETHUSD"
KEY, SECRET = "the-key-of-kraken", base64.b64encode(b"the secret of Kraken Futures").decode()
ACCOUNT = Account("k", "ccxt:krakenfutures", "https://futures.kraken.com", Credentials(KEY, SECRET))
MARKETS, POSITIONS = f"GET {API}/instruments", f"GET {API}/openpositions"
CLOSE = Close(account="k", pair=CONTRACT)


class MovableClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        return NOW_MS + int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a venue does not sleep")


def success(**content: Any) -> dict[str, Any]:
    return {"result": "success", **content, "serverTime": "2026-09-21T14:13:20.000Z"}


def instruments(*contracts: str) -> dict[str, Any]:
    return success(
        instruments=[
            {
                "symbol": contract,
                "type": "flexible_futures",
                "tickSize": 0.5,
                "contractSize": 1,
                "tradeable": True,
                "contractValueTradePrecision": 4,
            }
            for contract in contracts
        ]
    )


def position(contract: str = CONTRACT, side: str = "long", size: Any = 1.25) -> dict[str, Any]:
    return {"side": side, "symbol": contract, "price": 43210.5, "fillTime": "2026-09-21T14:13:20.000Z", "size": size}


def exchange_with(answers: Mapping[str, Any] | None = None) -> AnsweringExchange:
    """Its markets, one long position, and these answers."""
    own = {MARKETS: instruments(CONTRACT, OTHER), POSITIONS: success(openPositions=[position()])}
    return AnsweringExchange({**own, **(answers or {})})


def venue_with(clock: Any = None, **traits: Any) -> CcxtVenue:
    """The adapter, with other traits."""
    venue = CcxtVenue("krakenfutures", clock=clock or MovableClock())
    assert venue.traits is not None
    venue.traits = replace(venue.traits, **traits)
    venue._warm = WarmReads(venue.traits.warm, MovableClock())
    return venue


def judged(venue: CcxtVenue, command: Any, response: Response) -> Verdict:
    """What an answer to a command proves."""
    return venue.judge(planned(venue, ACCOUNT, command, exchange_with()), response)
