"""The state of the simulator, without its HTTP server: clock, accounts, faults, settings and the two venues."""

import time
from collections.abc import Callable
from decimal import Decimal

from worker.simulator.accounts import Accounts
from worker.simulator.faults import ArmedFault, Fault, FaultBoard, Kind
from worker.simulator.held_requests import HeldRequests
from worker.simulator.messages import Examined, Request
from worker.simulator.rate_rules import RateRules
from worker.simulator.records import Change, ContractPosition, Order, Position, Settings
from worker.simulator.venues.bitz import BitZ
from worker.simulator.venues.everstrike import Everstrike
from worker.simulator.venues.everstrike_trading import Trading

DEMO_EVERSTRIKE_KEY = "demo-everstrike-key"
DEMO_EVERSTRIKE_SECRET = "demo-everstrike-secret"  # noqa: S105 - documented, and valid for the simulator only
DEMO_BITZ_KEY = "demo-bitz-key"
DEMO_BITZ_SECRET = "demo-bitz-secret"  # noqa: S105


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
        """Let the venue that serves the path check a request; None if neither venue does."""
        return self._everstrike.examine(request) or self._bitz.examine(request)

    def put(self, change: Change) -> None:
        """Put records into an account; raises LookupError if there is no such account."""
        account = self.accounts.account(change.venue, change.api_key)
        if account is None:
            raise LookupError(f"no {change.venue} account has this key")
        self.accounts.holdings_to_change(account).apply(change)

    def _add_demo(self) -> None:
        self.accounts.add_account("everstrike", DEMO_EVERSTRIKE_KEY, DEMO_EVERSTRIKE_SECRET)
        self.accounts.add_account("bitz", DEMO_BITZ_KEY, DEMO_BITZ_SECRET)
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
