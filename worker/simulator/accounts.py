"""The simulated venues' accounts with their holdings, and the requests that arrived and took effect.

Everything is in memory, bounded, and used by one event loop. Nothing here awaits, so that each method is atomic without
a lock.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from typing import TypeVar

from worker.simulator.derivatives import DerivativeHoldings
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

MAX_RECORDS = 200_000
"""How many arrivals and executions are kept; the oldest are dropped first."""

MAX_FINISHED = 50_000
"""How many finished orders, fills and withdrawals each account keeps."""

MAX_SNAPSHOTS = 1_000
"""How many earlier states each account keeps for delayed reads."""

ANY_PATH = "*"

_R = TypeVar("_R")


@dataclass(slots=True)
class Balance:
    """The balance of an asset: what can be withdrawn, and what has been withdrawn."""

    free: Decimal = Decimal(0)
    withdrawn: Decimal = Decimal(0)


@dataclass(slots=True)
class Holdings:
    """Everything that one account holds. Records are immutable, so that a copy of the containers is a snapshot."""

    positions: dict[str, Position] = field(default_factory=dict)
    open_orders: dict[str, Order] = field(default_factory=dict)
    done_orders: dict[str, Order] = field(default_factory=dict)
    triggers: dict[str, Trigger] = field(default_factory=dict)
    fills: dict[str, Fill] = field(default_factory=dict)
    withdrawals: dict[str, Withdrawal] = field(default_factory=dict)
    balances: dict[str, Balance] = field(default_factory=dict)
    contracts: tuple[ContractPosition, ...] = ()
    derivatives: DerivativeHoldings = field(default_factory=DerivativeHoldings)

    def copy(self) -> "Holdings":
        """A snapshot of the holdings."""
        return Holdings(
            {**self.positions},
            {**self.open_orders},
            {**self.done_orders},
            {**self.triggers},
            {**self.fills},
            {**self.withdrawals},
            {**self.balances},
            self.contracts,
            self.derivatives.copy(),
        )

    def put_order(self, order: Order) -> None:
        """Add or replace an order, among the open or the finished ones."""
        self.open_orders.pop(order.id, None)
        self.done_orders.pop(order.id, None)
        if order.is_open:
            self.open_orders[order.id] = order
        else:
            put_bounded(self.done_orders, order.id, order)

    def put_position(self, position: Position) -> None:
        """Add or replace a position; size 0 removes it."""
        self.positions.pop(position.pair, None)
        if position.size:
            self.positions[position.pair] = position

    def apply(self, change: Change) -> None:
        """Add or replace the records that a change contains."""
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
        for net in change.net_positions:
            self.derivatives.put_position(net)
        for booked in change.derivative_orders:
            self.derivatives.put_order(booked)


def put_bounded(records: dict[str, _R], record_id: str, record: _R) -> None:
    """Add or replace a record, and drop the oldest beyond `MAX_FINISHED`."""
    records[record_id] = record
    if len(records) > MAX_FINISHED:
        del records[next(iter(records))]


@dataclass(slots=True)
class Account:
    """One API key at one venue; `passphrase` belongs to a key of OKX."""

    venue: VenueName
    api_key: str
    secret: str
    passphrase: str = ""
    holdings: Holdings = field(default_factory=Holdings)
    past: deque[tuple[int, Holdings]] = field(default_factory=lambda: deque(maxlen=MAX_SNAPSHOTS))


Snapshot = Mapping[tuple[VenueName, str], Holdings]
"""The holdings of every account at one moment, by venue and API key."""


class Accounts:
    """All accounts, executions and arrivals. `clock` returns UNIX milliseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._watchers: list[Callable[[Arrival | Execution], None]] = []
        self._dry_run = False
        self._snapshot_in_use: Snapshot | None = None
        self.clear()

    def clear(self) -> None:
        """Forget everything; sequence numbers start at 1 again."""
        self._accounts: dict[tuple[VenueName, str], Account] = {}
        self._delays: dict[str, int] = {}
        self._seq = count(1)
        self.arrivals: deque[Arrival] = deque(maxlen=MAX_RECORDS)
        self.executions: deque[Execution] = deque(maxlen=MAX_RECORDS)

    def add_account(self, venue: VenueName, api_key: str, secret: str, passphrase: str = "") -> Account:
        """Add an account; an existing one keeps its holdings and gets the new secret and passphrase."""
        account = self._accounts.setdefault((venue, api_key), Account(venue, api_key, secret))
        account.secret, account.passphrase = secret, passphrase
        return account

    def at(self, venue: VenueName) -> list[Account]:
        """The accounts of a venue."""
        return [account for account in self._accounts.values() if account.venue == venue]

    def account(self, venue: VenueName, api_key: str) -> Account | None:
        """The account of an API key, or None."""
        return self._accounts.get((venue, api_key))

    def holdings_to_change(self, account: Account) -> Holdings:
        """The holdings for the caller to change. If a visibility delay is set, their present state is kept for delayed
        reads.

        In a dry run this is a copy.
        """
        if self._dry_run:
            return account.holdings.copy()
        if self._delays:
            account.past.append((self._clock(), account.holdings.copy()))
        return account.holdings

    @contextmanager
    def dry_run(self) -> Iterator[None]:
        """Inside the block a request is answered as usual and changes nothing."""
        self._dry_run = True
        try:
            yield
        finally:
            self._dry_run = False

    def snapshot(self) -> Snapshot:
        """The present holdings of every account."""
        return {key: account.holdings.copy() for key, account in self._accounts.items()}

    @contextmanager
    def reading_snapshot_in_use(self, snapshot: Snapshot) -> Iterator[None]:
        """Inside the block reads see a snapshot; an account that is not in it has nothing."""
        self._snapshot_in_use = snapshot
        try:
            yield
        finally:
            self._snapshot_in_use = None

    def set_delay(self, path: str, delay_ms: int) -> None:
        """Let reads of `path` (or `ANY_PATH`) see only effects that are at least this old; 0 ends the delay."""
        if delay_ms:
            self._delays[path] = delay_ms
        else:
            self._delays.pop(path, None)
        if not self._delays:
            for account in self._accounts.values():
                account.past.clear()

    def visible(self, account: Account, path: str) -> Holdings:
        """The holdings as a read of `path` sees them: the state before the first effect that is too recent."""
        if self._snapshot_in_use is not None:
            return self._snapshot_in_use.get((account.venue, account.api_key)) or Holdings()
        delay = self._delays.get(path, self._delays.get(ANY_PATH, 0))
        if delay:
            horizon = self._clock() - delay
            for changed_ms, before in account.past:
                if changed_ms > horizon:
                    return before
        return account.holdings

    def add_execution(self, account: Account, path: str, fields: dict[str, str]) -> None:
        """Record that a mutating request took effect."""
        if self._dry_run:
            return
        execution = Execution(next(self._seq), self._clock(), path, account.api_key, fields)
        self.executions.append(execution)
        self._notify(execution)

    def add_arrival(self, arrival: Arrival) -> None:
        """Record a request and give it its sequence number."""
        arrival.seq = next(self._seq)
        self.arrivals.append(arrival)
        self._notify(arrival)

    def watch(self, watcher: Callable[[Arrival | Execution], None]) -> Callable[[], None]:
        """Call `watcher` with each new record; calling the result ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def _notify(self, record: Arrival | Execution) -> None:
        for watcher in self._watchers:
            watcher(record)


def ages_of(arrivals: Iterable[Arrival]) -> dict[str, int | None]:
    """The count, median, 99th percentile (nearest rank) and maximum of the ages, in ms."""
    ages = sorted(arrival.age_ms for arrival in arrivals if arrival.age_ms is not None)
    if not ages:
        return {"count": 0, "p50": None, "p99": None, "max": None}

    def rank(percent: int) -> int:
        return ages[-(-len(ages) * percent // 100) - 1]

    return {"count": len(ages), "p50": rank(50), "p99": rank(99), "max": ages[-1]}


def most_within(arrivals: Iterable[Arrival], seconds: float) -> int:
    """The largest number of requests that arrived within any time of this length, its end not included."""
    times = sorted(arrival.monotonic for arrival in arrivals)
    first = most = 0
    for last, time in enumerate(times):
        while times[first] <= time - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
