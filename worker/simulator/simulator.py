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
from worker.simulator.venues.okx import Okx
from worker.simulator.venues.okx_markets import MARKETS as OKX_MARKETS
from worker.simulator.venues.okx_trading import Trading as OkxTrading

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
    mode: str = ""

    def settings(self, url: str) -> dict[str, str]:
        """The worker's settings of this account, at a simulator."""
        named = {
            "VENUE": self.setting,
            "API_KEY": self.api_key,
            "SECRET_KEY": self.secret,
            "PASSPHRASE": self.passphrase,
            "ACCOUNT_MODE": self.mode,
            "BASE_URL": url,
        }
        return {f"ORDERS_ACCOUNTS__{self.alias.upper()}__{name}": value for name, value in named.items() if value}


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
        DemoAccount("okx", "okx", "ccxt:okx", "demo-okx-key", "demo-okx-secret", "demo-okx-passphrase", "futures"),
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
        okx = OkxTrading(self.accounts, self.now_ms, self._mark_at_okx)
        self._okx = Okx(self.accounts, okx, self.now_ms)
        self.matching = {"krakenfutures": kraken.matching, "okx": okx.matching}
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
        venues = (self._everstrike, self._bitz, self._kraken_futures, self._okx)
        return next((examined for venue in venues if (examined := venue.examine(request)) is not None), None)

    def _mark_at_kraken_futures(self, symbol: str) -> Decimal:
        return self.marks.get(("krakenfutures", symbol), KRAKEN_FUTURES_MARKETS[symbol].mark)

    def _mark_at_okx(self, symbol: str) -> Decimal:
        return self.marks.get(("okx", symbol), OKX_MARKETS[symbol].mark)

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
        for change in _demo_derivatives(self.now_ms()):
            self.put(change)


def _demo_derivatives(now_ms: int) -> tuple[Change, ...]:
    """What the demo accounts hold at Kraken Futures and OKX."""

    def net(symbol: str, size: str, entry_price: str) -> NetPosition:
        return NetPosition(symbol=symbol, size=Decimal(size), entry_price=Decimal(entry_price), time=now_ms)

    def bid(order_id: str, symbol: str, size: str) -> DerivativeOrder:
        price = Decimal(30000)
        return DerivativeOrder(
            id=order_id, symbol=symbol, side="buy", size=Decimal(size), price=price, time=now_ms, updated=now_ms
        )

    return (
        Change(
            venue="krakenfutures",
            api_key=DEMO_ACCOUNTS["kraken"].api_key,
            net_positions=(net("PF_XBTUSD", "1.5", "43000.123456"), net("PF_ETHUSD", "-20", "2400")),
            derivative_orders=(bid("00000000-0000-4000-8000-000000000001", "PF_XBTUSD", "0.1"),),
        ),
        Change(
            venue="okx",
            api_key=DEMO_ACCOUNTS["okx"].api_key,
            net_positions=(net("BTC-USDT-SWAP", "150", "43000.123456"), net("ETH-USDT-SWAP", "-200", "2400")),
            derivative_orders=(bid("2510789768709120000", "BTC-USDT-SWAP", "10"),),
            balances={"USDT": Decimal(10000), "BTC": Decimal(1)},
        ),
    )
