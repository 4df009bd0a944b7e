"""The state of the simulator, without its HTTP server: clock, accounts, faults, settings and the venues."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from worker.simulator.accounts import Accounts
from worker.simulator.derivatives import DerivativeOrder, NetPosition
from worker.simulator.faults import ArmedFault, Fault, FaultBoard, Kind
from worker.simulator.held_requests import HeldRequests
from worker.simulator.messages import Examined, Request
from worker.simulator.rate_rules import RateRules
from worker.simulator.records import Change, ContractPosition, Order, Position, Settings, VenueName
from worker.simulator.venues.bitz import BitZ
from worker.simulator.venues.everstrike import Everstrike
from worker.simulator.venues.everstrike_trading import Trading
from worker.simulator.venues.krakenfutures import KrakenFutures
from worker.simulator.venues.krakenfutures_markets import MARKETS as KRAKEN_FUTURES_MARKETS
from worker.simulator.venues.krakenfutures_trading import Trading as KrakenFuturesTrading

DEMO_EVERSTRIKE_KEY = "demo-everstrike-key"
DEMO_EVERSTRIKE_SECRET = "demo-everstrike-secret"  # noqa: S105 - documented, and valid for the simulator only
DEMO_BITZ_KEY = "demo-bitz-key"
DEMO_BITZ_SECRET = "demo-bitz-secret"  # noqa: S105


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """An account that the simulator knows from the start; `setting` is what the worker's settings call its venue."""

    alias: str
    venue: VenueName
    setting: str
    api_key: str
    secret: str
    passphrase: str = ""


DEMO_ACCOUNTS: Mapping[str, DemoAccount] = {
    demo.alias: demo
    for demo in (
        DemoAccount("main", "everstrike", "everstrike", DEMO_EVERSTRIKE_KEY, DEMO_EVERSTRIKE_SECRET),
        DemoAccount("bitz", "bitz", "bitz", DEMO_BITZ_KEY, DEMO_BITZ_SECRET),
        # The secret of a key of Kraken Futures is base64.
        DemoAccount(
            "kraken",
            "krakenfutures",
            "ccxt:krakenfutures",
            "demo-krakenfutures-key",
            "ZGVtby1rcmFrZW5mdXR1cmVzLXNlY3JldA==",
        ),
    )
}
"""By the alias that `orders simulator` gives them."""


def real_clock() -> int:
    """UNIX milliseconds."""
    return time.time_ns() // 1_000_000


class Simulator:
    """All of the simulator's state. For one event loop; nothing here awaits."""

    def __init__(
        self,
        *,
        demo: bool = True,
        clock: Callable[[], int] = real_clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.monotonic = monotonic
        self._demo = demo
        self.accounts = Accounts(self.now_ms)
        self.board = FaultBoard()
        self.limits = RateRules(monotonic)
        self.held_requests = HeldRequests()
        self.reset()

    def reset(self, demo: bool | None = None) -> None:
        """Drop held requests, forget everything, and begin as at the start; `demo` overrides whether demo accounts
        exist."""
        self.settings = Settings()
        self.held_requests.release(proceed=False)
        self.board.clear()
        self.limits.clear()
        self.accounts.clear()
        trading = Trading(self.accounts, self.now_ms, lambda: self.settings)
        self._everstrike = Everstrike(self.accounts, trading.command, trading.read)
        self._bitz = BitZ(self.accounts)
        self.marks: dict[tuple[VenueName, str], Decimal] = {}
        kraken = KrakenFuturesTrading(self.accounts, self.now_ms, self._mark_at_kraken_futures)
        self._kraken_futures = KrakenFutures(self.accounts, kraken, self.now_ms)
        self.matching = {"krakenfutures": kraken.matching}
        if self._demo if demo is None else demo:
            self._add_demo()

    def now_ms(self) -> int:
        """The venues' clock: the real time plus the configured offset."""
        return self._clock() + self.settings.clock_offset_ms

    def latency(self) -> float:
        """The delay before each response, in seconds."""
        return self.settings.latency_ms / 1000

    def arm(self, fault: Fault) -> ArmedFault:
        """Arm a fault after those already armed; a stale one keeps a snapshot of the present holdings."""
        return self.board.arm(fault, self.accounts.snapshot() if fault.kind is Kind.STALE else {})

    def examine(self, request: Request) -> Examined | None:
        """Let the venue that serves the path check a request; None if no venue does."""
        venues = (self._everstrike, self._bitz, self._kraken_futures)
        return next((examined for venue in venues if (examined := venue.examine(request)) is not None), None)

    def _mark_at_kraken_futures(self, symbol: str) -> Decimal:
        return self.marks.get(("krakenfutures", symbol), KRAKEN_FUTURES_MARKETS[symbol].mark)

    def put(self, change: Change) -> None:
        """Put records into an account; raises LookupError if there is no such account."""
        account = self.accounts.account(change.venue, change.api_key)
        if account is None:
            raise LookupError(f"no {change.venue} account has this key")
        self.accounts.holdings_to_change(account).apply(change)

    def _add_demo(self) -> None:
        for demo in DEMO_ACCOUNTS.values():
            self.accounts.add_account(demo.venue, demo.api_key, demo.secret, demo.passphrase)
        self.put(
            Change(
                api_key=DEMO_EVERSTRIKE_KEY,
                positions=(
                    Position(pair="USD_BTC_PERP", size=Decimal(1)),
                    Position(pair="USD_ETH_PERP", size=Decimal(2), direction="SELL"),
                ),
                orders=(Order(id="order-1", pair="USD_BTC_PERP", time=self.now_ms()),),
                balances={"ETH": Decimal(10), "BTC": Decimal(1)},
            )
        )
        self.put(Change(venue="bitz", api_key=DEMO_BITZ_KEY, contracts=(ContractPosition(),)))
        now = self.now_ms()
        self.put(
            Change(
                venue="krakenfutures",
                api_key=DEMO_ACCOUNTS["kraken"].api_key,
                net_positions=(
                    NetPosition(symbol="PF_XBTUSD", size=Decimal("1.5"), entry_price=Decimal("43000.123456"), time=now),
                    NetPosition(symbol="PF_ETHUSD", size=Decimal(-20), entry_price=Decimal(2400), time=now),
                ),
                derivative_orders=(
                    DerivativeOrder(
                        id="00000000-0000-4000-8000-000000000001",
                        symbol="PF_XBTUSD",
                        side="buy",
                        size=Decimal("0.1"),
                        price=Decimal(30000),
                        time=now,
                        updated=now,
                    ),
                ),
            )
        )
