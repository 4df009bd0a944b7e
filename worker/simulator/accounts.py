"""The book: accounts and their holdings, what took effect, what arrived. In memory, bounded, for one event loop.

Nothing here awaits, and only the server's event loop touches it: each method is atomic without a lock.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from typing import TypeVar

from worker.simulator.records import (
    Arrival,
    Change,
    ContractPosition,
    Execution,
    Fill,
    Order,
    Position,
    Trigger,
    VenueName,
    Withdrawal,
)

KEPT_RECORDS = 200_000
"""How many arrivals and executions are kept; the oldest go first."""

KEPT_DONE = 50_000
"""How many finished orders, and fills and withdrawals, one account keeps."""

KEPT_SNAPSHOTS = 1_000
"""How many earlier states an account keeps for delayed reads."""

ANY_PATH = "*"

_R = TypeVar("_R")


@dataclass(slots=True)
class Balance:
    """An asset: what may be withdrawn, and what a withdrawal took."""

    free: Decimal = Decimal(0)
    withdrawn: Decimal = Decimal(0)


@dataclass(slots=True)
class Holdings:
    """What one account has. Records are frozen, balances are replaced: a copy of the containers is a snapshot."""

    positions: dict[str, Position] = field(default_factory=dict)
    open_orders: dict[str, Order] = field(default_factory=dict)
    done_orders: dict[str, Order] = field(default_factory=dict)
    triggers: dict[str, Trigger] = field(default_factory=dict)
    fills: dict[str, Fill] = field(default_factory=dict)
    withdrawals: dict[str, Withdrawal] = field(default_factory=dict)
    balances: dict[str, Balance] = field(default_factory=dict)
    contracts: tuple[ContractPosition, ...] = ()

    def copy(self) -> "Holdings":
        """A snapshot."""
        return Holdings(
            {**self.positions},
            {**self.open_orders},
            {**self.done_orders},
            {**self.triggers},
            {**self.fills},
            {**self.withdrawals},
            {**self.balances},
            self.contracts,
        )

    def put_order(self, order: Order) -> None:
        """Add or replace an order, filed by whether it is still open."""
        self.open_orders.pop(order.id, None)
        self.done_orders.pop(order.id, None)
        if order.is_open:
            self.open_orders[order.id] = order
        else:
            put_bounded(self.done_orders, order.id, order)

    def put_position(self, position: Position) -> None:
        """Add, replace or, with size 0, remove a position."""
        self.positions.pop(position.pair, None)
        if position.size:
            self.positions[position.pair] = position

    def apply(self, change: Change) -> None:
        """Put what the control API sent."""
        for position in change.positions:
            self.put_position(position)
        for order in change.orders:
            self.put_order(order)
        for trigger in change.triggers:
            put_bounded(self.triggers, trigger.id, trigger)
        for fill in change.fills:
            put_bounded(self.fills, fill.id, fill)
        for withdrawal in change.withdrawals:
            put_bounded(self.withdrawals, withdrawal.id, withdrawal)
        for asset, free in change.balances.items():
            self.balances[asset] = replace(self.balances.get(asset, Balance()), free=free)
        if change.contracts is not None:
            self.contracts = change.contracts


def put_bounded(records: dict[str, _R], record_id: str, record: _R) -> None:
    """Add or replace a record; beyond `KEPT_DONE` the oldest goes."""
    records[record_id] = record
    if len(records) > KEPT_DONE:
        del records[next(iter(records))]


@dataclass(slots=True)
class Account:
    """One API key at one venue."""

    venue: VenueName
    api_key: str
    secret: str
    holdings: Holdings = field(default_factory=Holdings)
    past: deque[tuple[int, Holdings]] = field(default_factory=lambda: deque(maxlen=KEPT_SNAPSHOTS))


Snapshot = Mapping[tuple[VenueName, str], Holdings]
"""Every account's holdings, by venue and API key, as they were at one moment."""


class Book:
    """All accounts, executions and arrivals. `clock` gives UNIX milliseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._watchers: list[Callable[[Arrival | Execution], None]] = []
        self._rehearsing = False
        self._as_of: Snapshot | None = None
        self.forget()

    def forget(self) -> None:
        """Start anew, empty; numbers start at 1 again."""
        self._accounts: dict[tuple[VenueName, str], Account] = {}
        self._delays: dict[str, int] = {}
        self._seq = count(1)
        self.arrivals: deque[Arrival] = deque(maxlen=KEPT_RECORDS)
        self.executions: deque[Execution] = deque(maxlen=KEPT_RECORDS)

    def add_account(self, venue: VenueName, api_key: str, secret: str) -> Account:
        """Make a key known; a known key keeps its holdings and gets the new secret."""
        account = self._accounts.setdefault((venue, api_key), Account(venue, api_key, secret))
        account.secret = secret
        return account

    def account(self, venue: VenueName, api_key: str) -> Account | None:
        """The account of a key, or None."""
        return self._accounts.get((venue, api_key))

    def changing(self, account: Account) -> Holdings:
        """The holdings, to be changed now; with a visibility delay set, their present state is remembered first."""
        if self._rehearsing:
            return account.holdings.copy()
        if self._delays:
            account.past.append((self._clock(), account.holdings.copy()))
        return account.holdings

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """In the block a request is answered as ever and changes nothing."""
        self._rehearsing = True
        try:
            yield
        finally:
            self._rehearsing = False

    def snapshot(self) -> Snapshot:
        """What every account has now."""
        return {key: account.holdings.copy() for key, account in self._accounts.items()}

    @contextmanager
    def as_of(self, snapshot: Snapshot) -> Iterator[None]:
        """In the block reads see what there was then; an account that was not known then has nothing."""
        self._as_of = snapshot
        try:
            yield
        finally:
            self._as_of = None

    def set_delay(self, path: str, delay_ms: int) -> None:
        """Let reads at `path` (or `ANY_PATH`) see only effects at least this old; 0 ends it."""
        if delay_ms:
            self._delays[path] = delay_ms
        else:
            self._delays.pop(path, None)
        if not self._delays:
            for account in self._accounts.values():
                account.past.clear()

    def seen(self, account: Account, path: str) -> Holdings:
        """The holdings as a read at `path` sees them: the state before the first effect that is still too young."""
        if self._as_of is not None:
            return self._as_of.get((account.venue, account.api_key)) or Holdings()
        delay = self._delays.get(path, self._delays.get(ANY_PATH, 0))
        if delay:
            horizon = self._clock() - delay
            for changed_ms, before in account.past:
                if changed_ms > horizon:
                    return before
        return account.holdings

    def record(self, account: Account, path: str, fields: dict[str, str]) -> None:
        """Note that a mutating request took effect."""
        if self._rehearsing:
            return
        execution = Execution(next(self._seq), self._clock(), path, account.api_key, fields)
        self.executions.append(execution)
        self._tell(execution)

    def arrive(self, arrival: Arrival) -> None:
        """Note a request; its number is given here."""
        arrival.seq = next(self._seq)
        self.arrivals.append(arrival)
        self._tell(arrival)

    def watch(self, watcher: Callable[[Arrival | Execution], None]) -> Callable[[], None]:
        """Call `watcher` with each new record; returns what ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def _tell(self, record: Arrival | Execution) -> None:
        for watcher in self._watchers:
            watcher(record)


def ages_of(arrivals: Iterable[Arrival]) -> dict[str, int | None]:
    """Count, median, 99th percentile (nearest rank) and maximum of the ages, in ms."""
    ages = sorted(arrival.age_ms for arrival in arrivals if arrival.age_ms is not None)
    if not ages:
        return {"count": 0, "p50": None, "p99": None, "max": None}

    def rank(percent: int) -> int:
        return ages[-(-len(ages) * percent // 100) - 1]

    return {"count": len(ages), "p50": rank(50), "p99": rank(99), "max": ages[-1]}
