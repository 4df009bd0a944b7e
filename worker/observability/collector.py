"""Gauges that are read at each scrape: this worker, its servers, and what they hold.

Every worker reports the state that all workers share, so that it is known as long as one worker runs. A probe takes two
or three round trips to a server, and its result is kept for some seconds. Probes have connections of their own with
short timeouts, so that they delay no command.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import redis
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from producers.redis.server_info import ServerState
from worker.broker.stats import UNACKED, BrokerState
from worker.execution.parking import WaitsFor
from worker.execution.policy.withdrawals import PolicyState
from worker.ledger.stats import OTHER, LedgerState
from worker.observability import catalogue
from worker.observability.metric import Metric as OneMetric

T = TypeVar("T")


class CachedProbe(Generic[T]):
    """Caches the result of a probe for some seconds."""

    def __init__(self, probe: Callable[[], T], seconds: float = 5.0) -> None:
        self._probe = probe
        self._max_age_seconds = seconds
        self._until = float("-inf")
        self._last: T | None = None

    def get(self) -> T | None:
        """The probe's last result, read again when it is too old; None when the server did not answer.

        Not safe to call from two threads at once.
        """
        if time.monotonic() >= self._until:
            try:
                self._last = self._probe()
            except (redis.RedisError, OSError):
                self._last = None
            self._until = time.monotonic() + self._max_age_seconds
        return self._last


@dataclass(frozen=True, slots=True)
class WorkerState:
    """The present state of this worker."""

    ready: bool
    queues: tuple[str, ...]
    """The queues that it consumes."""
    busy: int
    by_account: Mapping[str, int]
    """What it has taken, by account; of accounts that it does not know in one."""
    slots: int
    keys_usable: bool | None
    """Whether the file of public keys can be used; None where seals are not checked."""


class StateCollector(Collector):
    """A collector for prometheus_client's registry; concurrent scrapes are served one after the other."""

    def __init__(
        self,
        *,
        build: Mapping[str, str],
        accounts: Mapping[str, Sequence[str]],
        worker: Callable[[], WorkerState],
        policy: Callable[[], PolicyState | None],
        ledger: Callable[[], LedgerState] | None,
        broker: Callable[[], BrokerState] | None,
        results: Callable[[], ServerState] | None,
    ) -> None:
        """``build`` has versions by label, ``accounts`` by alias the bucket and the host that cool-downs hold for. A
        probe is None where the server is no Redis."""
        self._build = build
        self._accounts = accounts
        self._worker = worker
        self._policy = policy
        self._ledger = CachedProbe(ledger) if ledger else None
        self._broker = CachedProbe(broker) if broker else None
        self._results = CachedProbe(results) if results else None
        self._lock = threading.Lock()

    def describe(self) -> Iterator[Metric]:
        """The gauges without values, so that registering asks no server."""
        for metric in catalogue.STATE:
            yield GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)

    def collect(self) -> Iterator[Metric]:
        """All gauges whose value is known: those of a server that does not answer are left out, and not 0."""
        with self._lock:
            gauges = _Gauges()
            gauges.set(catalogue.BUILD, 1, *(self._build[label] for label in catalogue.BUILD.labels))
            self._set_worker(gauges, self._worker())
            if (policy := self._policy()) is not None:
                gauges.set(catalogue.POLICY_FILE_USABLE, int(not policy.file_problem))
                gauges.set(catalogue.POLICY_FILE_APPLIED, int(policy.applied))
            if self._ledger is not None:
                self._set_ledger(gauges, self._ledger.get())
            if self._broker is not None:
                self._set_broker(gauges, self._broker.get())
            if self._results is not None:
                _set_server(gauges, "results", self._results.get())
        yield from gauges.families()

    def _set_worker(self, gauges: "_Gauges", worker: WorkerState) -> None:
        gauges.set(catalogue.READY, int(worker.ready))
        gauges.set(catalogue.BUSY, worker.busy)
        gauges.set(catalogue.SLOTS, worker.slots)
        for account in self._accounts:
            gauges.set(catalogue.ACCOUNT_BUSY, worker.by_account.get(account, 0), account)
        others = sum(count for account, count in worker.by_account.items() if account not in self._accounts)
        gauges.set(catalogue.ACCOUNT_BUSY, others, OTHER)
        if worker.keys_usable is not None:
            gauges.set(catalogue.KEYS_FILE_USABLE, int(worker.keys_usable))
        for queue in worker.queues if worker.ready else ():
            gauges.set(catalogue.CONSUMES, 1, queue)

    def _set_ledger(self, gauges: "_Gauges", state: LedgerState | None) -> None:
        _set_server(gauges, "ledger", state.server if state else None)
        if state is None:
            return
        for account in {*self._accounts, *state.unknown}:
            gauges.set(catalogue.UNKNOWN, state.unknown.get(account, 0), account)
        for account, since in state.unknown_since.items():
            gauges.set(catalogue.UNKNOWN_SINCE, since, account)
        for scope, since in state.halts.items():
            gauges.set(catalogue.HALTED, 1, *scope)
            gauges.set(catalogue.HALTED_SINCE, since, *scope)
        gauges.set(catalogue.HELD, state.held)
        if state.held_since is not None:
            gauges.set(catalogue.HELD_SINCE, state.held_since)
        gauges.set(catalogue.INTENTS, state.intents)
        for account, seconds in self._cool_downs(state.cool_downs).items():
            gauges.set(catalogue.COOL_DOWN, seconds, account)
        for webhook, found in state.webhooks.items():
            gauges.set(catalogue.WEBHOOK_WAITING, found.waiting, webhook)
            gauges.set(catalogue.WEBHOOK_DEAD, found.dead, webhook)
            gauges.set(catalogue.WEBHOOK_MISSED, found.missed, webhook)
            if found.oldest:
                gauges.set(catalogue.WEBHOOK_OLDEST, found.oldest / 1000, webhook)

    def _cool_downs(self, running: Mapping[str, float] | None) -> dict[str, float]:
        """For how many seconds each account cools down; :data:`OTHER` for those that are not configured here."""
        if running is None:
            return {}
        found = {alias: max(running.get(key, 0.0) for key in keys) for alias, keys in self._accounts.items()}
        known = {key for keys in self._accounts.values() for key in keys}
        others = [seconds for key, seconds in running.items() if key not in known]
        return found | ({OTHER: max(others)} if others else {})

    def _set_broker(self, gauges: "_Gauges", state: BrokerState | None) -> None:
        _set_server(gauges, "broker", state.server if state else None)
        if state is None:
            return
        for queue, found in state.queues.items():
            gauges.set(catalogue.QUEUED, found.waiting, queue)
            gauges.set(catalogue.DEAD, found.dead, queue)
            gauges.set(catalogue.PARKED_OVERDUE, found.overdue_ms / 1000, queue)
            for waits_for in {*WaitsFor, *found.parked}:
                gauges.set(catalogue.PARKED, found.parked.get(waits_for, 0), queue, waits_for)
            if found.oldest_enqueued_at_ms is not None:
                gauges.set(catalogue.QUEUED_SINCE, found.oldest_enqueued_at_ms / 1000, queue)
        gauges.set(catalogue.UNACKED, state.unacked)
        gauges.set(catalogue.LANES, state.lanes)
        gauges.set(catalogue.DEAD, state.dead_unacked, UNACKED)


def _set_server(gauges: "_Gauges", name: str, state: ServerState | None) -> None:
    gauges.set(catalogue.SERVER_UP, int(state is not None), name)
    if state is None:
        return
    gauges.set(catalogue.SERVER_WRITES, int(state.writable), name)
    gauges.set(catalogue.MEMORY_USED, state.memory_used, name)
    gauges.set(catalogue.MEMORY_MAX, state.memory_max, name)
    gauges.set(catalogue.SERVER_OFFSET, state.clock_offset, name)


class _Gauges:
    """The gauges of one scrape."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def set(self, metric: OneMetric, value: float, *labels: str) -> None:
        if metric.name not in self._made:
            self._made[metric.name] = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        self._made[metric.name].add_metric(labels, value)

    def families(self) -> Iterator[Metric]:
        yield from self._made.values()
