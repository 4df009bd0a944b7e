"""The metrics that grow with each command, kept by prometheus_client.

Imported only where ``ORDERS_METRICS__PORT`` is set. Values are in this process or, with a pool of processes, in files:
:mod:`worker.observability.endpoint`.
"""

import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from worker.execution.events import AttemptEvent, CommandRef, EndEvent, Observer
from worker.observability import catalogue
from worker.observability.catalogue import Metric

if TYPE_CHECKING:
    from worker.venues.base import Venue

OTHER = "other"
"""Stands for an alias that is not configured here: a sender can make up any number of them."""
KEY_REFUSED = ("401", "403")
"""HTTP statuses that say that a venue does not take a key."""
CLOCK_SECONDS = 5.0
"""How often a venue's clock is compared: an answer's date is not worth parsing each time."""
SLOWEST_CLOCK = 1.0
"""Seconds that an answer may take whose date is compared: when in between it was written is not known, so half of them
is what the comparison is wrong by."""


class Family:
    """A metric and its children. prometheus_client looks a child up under a lock and checks its labels each time; here
    that is done once for each set of labels."""

    def __init__(self, metric: Metric, registry: CollectorRegistry) -> None:
        self._family = _make(metric, registry)
        self._children: dict[tuple[str, ...], Any] = {}
        if not metric.labels:
            self._children[()] = self._family

    def of(self, *labels: str) -> Any:
        """The child with these labels, in the order of the catalogue."""
        try:
            return self._children[labels]
        except KeyError:
            return self._children.setdefault(labels, self._family.labels(*labels))


def _make(metric: Metric, registry: CollectorRegistry) -> Any:
    if metric.kind == "counter":
        return Counter(metric.name, metric.help, metric.labels, registry=registry)
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
    # Among processes the latest word counts: they share a machine, and so a clock.
    return Gauge(metric.name, metric.help, metric.labels, registry=registry, multiprocess_mode="mostrecent")


class Metrics(Observer):
    """Counts what happens. One for a process, safe to share among threads."""

    def __init__(self, registry: CollectorRegistry, accounts: Iterable[str], venues: Iterable["Venue"] = ()) -> None:
        """``accounts`` are the aliases that may be named, ``venues`` those that these accounts are at."""
        self._accounts = frozenset(accounts)
        made = {metric.name: Family(metric, registry) for metric in catalogue.EVENTS}
        self._of = {name: family.of for name, family in made.items()}
        self._commands = made[catalogue.COMMANDS.name].of
        self._attempts = made[catalogue.ATTEMPTS.name].of
        self._answers = made[catalogue.ANSWERS.name].of
        self._queue_wait = made[catalogue.QUEUE_WAIT.name].of
        self._signature_age = made[catalogue.SIGNATURE_AGE.name].of
        self._latency = made[catalogue.VENUE_LATENCY.name].of
        self._report_time = made[catalogue.REPORT_TIME.name].of
        self._ledger_time = made[catalogue.LEDGER_TIME.name].of
        self._next_clock: dict[str, float] = {}
        self._start_at_zero(venues)

    def _start_at_zero(self, venues: Iterable["Venue"]) -> None:
        """What should never happen is there from the start: ``increase()`` does not see a counter's first step."""
        for command in ("cancel", "close", "positions", "withdraw"):
            for metric in (catalogue.REDELIVERED, catalogue.REPUBLISHED, catalogue.FAULTS):
                self._of[metric.name](command)
            for account in (*self._accounts, OTHER):
                for metric in (catalogue.IDS_REUSED, catalogue.REPLAYS, catalogue.TAKEN_OVER):
                    self._of[metric.name](command, account)
                self._of[catalogue.ORPHANED.name](command, account, "unknown")
        for move in ("begin", "settle"):
            self._of[catalogue.LEDGER_FAILURES.name](move)
        for venue in venues:
            for command in venue.commands:
                for status in KEY_REFUSED:
                    self._answers(command, venue.name, status)

    def _account(self, alias: str) -> str:
        return alias if alias in self._accounts else OTHER

    def _count(self, metric: Metric, *labels: str) -> None:
        self._of[metric.name](*labels).inc()

    # -- events ------------------------------------------------------------------------------------------------------

    def redelivered(self, ref: CommandRef) -> None:
        """See the catalogue, here and below."""
        self._count(catalogue.REDELIVERED, ref.command)

    def began(self, ref: CommandRef, wait: float | None, fence: int, attempt: int) -> None:  # noqa: ARG002, D102
        if fence > 1:
            # Its wait is the time that a dead worker cost, which says nothing of the queue.
            self._count(catalogue.TAKEN_OVER, ref.command, self._account(ref.account))
        elif wait is not None:
            self._queue_wait(ref.command).observe(max(0.0, wait))

    def attempted(self, ref: CommandRef, event: AttemptEvent) -> None:  # noqa: D102
        command, venue = ref.command, ref.venue
        self._attempts(command, self._account(ref.account), venue, event.proof, event.decision).inc()
        status = str(event.http_status) if event.http_status is not None else "lost" if event.bytes_left else "unsent"
        self._answers(command, venue, status).inc()
        if event.signature_age_seconds is not None and event.latency_seconds is not None:
            self._signature_age(venue).observe(event.signature_age_seconds)
            self._latency(command, venue).observe(event.latency_seconds)
        took = event.latency_seconds or 0.0
        if event.venue_date and event.answered_at is not None and took <= SLOWEST_CLOCK:
            self._compare_clocks(ref, event.venue_date, event.answered_at - took / 2)

    def waits(self, ref: CommandRef, attempt: int, seconds: float, because: str) -> None:  # noqa: ARG002, D102
        self._count(catalogue.RETRIES, ref.command, self._account(ref.account), ref.venue)

    def ended(self, ref: CommandRef, end: EndEvent) -> None:  # noqa: D102
        account = self._account(ref.account)
        self._commands(ref.command, account, ref.venue or OTHER, end.outcome, end.reason).inc()
        if end.enqueued_at and end.finished_at:
            took = max(0, end.finished_at - end.enqueued_at) / 1000
            self._report_time(ref.command, end.outcome).observe(took)

    def replayed(self, ref: CommandRef, outcome: str) -> None:  # noqa: ARG002, D102
        self._count(catalogue.REPLAYS, ref.command, self._account(ref.account))

    def id_reused(self, ref: CommandRef) -> None:  # noqa: D102
        self._count(catalogue.IDS_REUSED, ref.command, self._account(ref.account))

    def orphaned(self, ref: CommandRef, outcome: str, message: str) -> None:  # noqa: ARG002, D102
        self._count(catalogue.ORPHANED, ref.command, self._account(ref.account), outcome)

    def fault(self, ref: CommandRef, kind: str, raised_at: str) -> None:  # noqa: ARG002, D102
        self._count(catalogue.FAULTS, ref.command)

    def republished(self, command_id: str, command: str) -> None:  # noqa: ARG002, D102
        self._count(catalogue.REPUBLISHED, command)

    def found_late(self) -> None:
        """A message waited for the look that only the clock asks for."""
        self._count(catalogue.TAKE_FALLBACK)

    # -- the ledger --------------------------------------------------------------------------------------------------

    def asked(self, move: str, seconds: float) -> None:
        """The ledger answered a call."""
        self._ledger_time(move).observe(seconds)

    def not_answered(self, move: str) -> None:
        """It did not, or refused."""
        self._count(catalogue.LEDGER_FAILURES, move)

    # -- clocks ------------------------------------------------------------------------------------------------------

    def _compare_clocks(self, ref: CommandRef, date: str, here: float) -> None:
        """``here`` is this clock's time about when the answer was made; its date has whole seconds, cut off. By
        account, for two of them may reach a venue at two places."""
        now = time.monotonic()
        if now < self._next_clock.get(ref.account, 0.0):
            return
        self._next_clock[ref.account] = now + CLOCK_SECONDS
        try:
            there = parsedate_to_datetime(date).timestamp() + 0.5
        except (ValueError, TypeError):
            return
        self._of[catalogue.VENUE_OFFSET.name](self._account(ref.account), ref.venue).set(here - there)
