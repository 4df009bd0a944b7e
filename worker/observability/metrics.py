"""The metrics that are counted with each command, kept by prometheus_client.

Imported only where ``ORDERS_METRICS__PORT`` is set. Values are in this process or, with a pool of processes, in files,
see :mod:`worker.observability.endpoint`.
"""

import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from producers.commands import COMMANDS
from worker.execution.events import AttemptEvent, CommandRef, EndEvent, LookEvent, Observer
from worker.execution.policy.producer_auth import PROBLEMS
from worker.observability import catalogue
from worker.observability.metric import Metric

if TYPE_CHECKING:
    from worker.venues.base import Venue

OTHER = "other"
"""The label of an alias that is not configured here, because a sender can invent any number of aliases."""
WEBHOOK_RESULTS = ("delivered", "failed", "gave_up", "superseded")
"""What becomes of an attempt to send a report."""
KEY_REFUSED_STATUSES = ("401", "403")
"""HTTP statuses by which a venue refuses a key."""
RULINGS = ("denied", "warned")
"""What the withdrawal policy did with a command that it does not permit."""
CLOCK_INTERVAL_SECONDS = 5.0
"""How often a venue's clock is compared with ours: parsing the date of every answer would cost too much."""
MAX_CLOCK_LATENCY_SECONDS = 1.0
"""How long an answer may take whose date is compared. When in that time the venue wrote the date is not known, so
the comparison may be wrong by half of it."""


class LabelledMetric:
    """A metric and its children. prometheus_client takes a lock and checks the labels each time that a child is used;
    here that happens once for each set of labels."""

    def __init__(self, metric: Metric, registry: CollectorRegistry) -> None:
        self._metric = _make(metric, registry)
        self._children: dict[tuple[str, ...], Any] = {}
        if not metric.labels:
            self._children[()] = self._metric

    def child(self, *labels: str) -> Any:
        """The child with these labels, in the order of the catalogue."""
        try:
            return self._children[labels]
        except KeyError:
            return self._children.setdefault(labels, self._metric.labels(*labels))


def _make(metric: Metric, registry: CollectorRegistry) -> Any:
    if metric.kind == "counter":
        return Counter(metric.name, metric.help, metric.labels, registry=registry)
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
    # Of several processes the latest value counts: they share a machine, and so a clock.
    return Gauge(metric.name, metric.help, metric.labels, registry=registry, multiprocess_mode="mostrecent")


class Metrics(Observer):
    """Counts events. One for each process, safe to share among threads."""

    def __init__(
        self,
        registry: CollectorRegistry,
        accounts: Iterable[str],
        venues: Iterable["Venue"] = (),
        seals: Mapping[str, str] = MappingProxyType({}),
        webhooks: Iterable[str] = (),
    ) -> None:
        """``accounts`` are the aliases that may be labels, ``venues`` the venues of these accounts. ``seals`` is by
        command what is done with one without a valid seal; ``webhooks`` are the names of those that are served."""
        self._accounts = frozenset(accounts)
        metrics = {metric.name: LabelledMetric(metric, registry) for metric in catalogue.EVENTS}
        self._child_of = {name: metric.child for name, metric in metrics.items()}
        self._commands = metrics[catalogue.COMMANDS.name].child
        self._attempts = metrics[catalogue.ATTEMPTS.name].child
        self._answers = metrics[catalogue.ANSWERS.name].child
        self._queue_wait = metrics[catalogue.QUEUE_WAIT.name].child
        self._signature_age = metrics[catalogue.SIGNATURE_AGE.name].child
        self._latency = metrics[catalogue.VENUE_LATENCY.name].child
        self._report_time = metrics[catalogue.REPORT_TIME.name].child
        self._ledger_time = metrics[catalogue.LEDGER_TIME.name].child
        self._next_clock: dict[str, float] = {}
        self._start_at_zero(venues)
        for webhook, result in product(webhooks, WEBHOOK_RESULTS):
            self._child_of[catalogue.WEBHOOK_ATTEMPTS.name](webhook, result)
        for command, mode in seals.items():
            for problem in PROBLEMS if mode != "off" else ():
                self._child_of[catalogue.BADLY_SEALED.name](command, problem, mode)

    def _start_at_zero(self, venues: Iterable["Venue"]) -> None:
        """Create the counters of what should never happen: ``increase()`` does not see the step from absent to 1."""
        for command in (each.name for each in COMMANDS.values()):
            for metric in (catalogue.REDELIVERED, catalogue.REPUBLISHED, catalogue.FAULTS):
                self._child_of[metric.name](command)
            for account in (*self._accounts, OTHER):
                for metric in (catalogue.IDS_REUSED, catalogue.REPLAYS, catalogue.TAKEN_OVER):
                    self._child_of[metric.name](command, account)
                self._child_of[catalogue.ORPHANED.name](command, account, "unknown")
        for account, ruling in product((*self._accounts, OTHER), RULINGS):
            self._child_of[catalogue.POLICY_RULINGS.name](account, ruling)
        for move in ("begin", "settle"):
            self._child_of[catalogue.LEDGER_FAILURES.name](move)
        for venue in venues:
            for command in venue.commands:
                for status in KEY_REFUSED_STATUSES:
                    self._answers(command, venue.name, status)

    def _account(self, alias: str) -> str:
        return alias if alias in self._accounts else OTHER

    def _count(self, metric: Metric, *labels: str) -> None:
        self._child_of[metric.name](*labels).inc()

    # -- events ------------------------------------------------------------------------------------------------------

    def redelivered(self, ref: CommandRef) -> None:
        """Count the event; the catalogue describes each metric, here and below."""
        self._count(catalogue.REDELIVERED, ref.command)

    def began(self, ref: CommandRef, wait: float | None, fence: int, attempt: int) -> None:  # noqa: ARG002, D102
        if fence > 1:
            # Its wait is the time lost by a dead worker, and not that in the queue.
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
        latency_seconds = event.latency_seconds or 0.0
        if event.venue_date and event.answered_at is not None and latency_seconds <= MAX_CLOCK_LATENCY_SECONDS:
            self._compare_clocks(ref, event.venue_date, event.answered_at - latency_seconds / 2)

    def looked(self, ref: CommandRef, event: LookEvent) -> None:  # noqa: D102
        self._count(catalogue.LOOKS, ref.command, self._account(ref.account), ref.venue, event.sight)

    def waits(self, ref: CommandRef, attempt: int, seconds: float, because: str) -> None:  # noqa: ARG002, D102
        self._count(catalogue.RETRIES, ref.command, self._account(ref.account), ref.venue)

    def parked(self, ref: CommandRef, waits_for: str, seconds: float) -> None:  # noqa: ARG002, D102
        self._count(catalogue.PARKINGS, ref.command, self._account(ref.account), waits_for)

    def throttled(self, ref: CommandRef, brake: str, seconds: float, why: str) -> None:  # noqa: ARG002, D102
        self._count(catalogue.THROTTLED, ref.command, self._account(ref.account), brake)

    def cooled_down(  # noqa: D102
        self,
        ref: CommandRef,
        seconds: float | None,  # noqa: ARG002
        by_address: bool | None,
        why: str,  # noqa: ARG002
    ) -> None:
        if by_address is not None:
            self._count(catalogue.COOL_DOWNS, self._account(ref.account), ref.venue or OTHER)

    def ended(self, ref: CommandRef, end: EndEvent) -> None:  # noqa: D102
        account = self._account(ref.account)
        self._commands(ref.command, account, ref.venue or OTHER, end.outcome, end.reason).inc()
        if end.enqueued_at and end.finished_at:
            seconds = max(0, end.finished_at - end.enqueued_at) / 1000
            self._report_time(ref.command, end.outcome).observe(seconds)

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

    def badly_sealed(self, command: str, problem: str, mode: str) -> None:  # noqa: D102
        self._count(catalogue.BADLY_SEALED, command, problem, mode)

    def ruled(self, ref: CommandRef, words: str, denied: bool) -> None:  # noqa: ARG002, D102
        self._count(catalogue.POLICY_RULINGS, self._account(ref.account), RULINGS[0] if denied else RULINGS[1])

    def take_fallback(self) -> None:
        """Count a message that was found without a notification of the broker."""
        self._count(catalogue.TAKE_FALLBACK)

    def webhook_attempted(self, webhook: str, result: str) -> None:
        """Count an attempt to send a report."""
        self._count(catalogue.WEBHOOK_ATTEMPTS, webhook, result)

    # -- the ledger --------------------------------------------------------------------------------------------------

    def answered(self, move: str, seconds: float) -> None:
        """Time a call that the ledger answered."""
        self._ledger_time(move).observe(seconds)

    def not_answered(self, move: str) -> None:
        """Count a call that the ledger did not answer, or refused."""
        self._count(catalogue.LEDGER_FAILURES, move)

    # -- clocks ------------------------------------------------------------------------------------------------------

    def _compare_clocks(self, ref: CommandRef, date: str, local_time: float) -> None:
        """Set the offset of this machine's clock from the venue's.

        ``local_time`` is our time (UNIX seconds) at about the moment when the venue wrote ``date``, which has whole
        seconds, rounded down: half a second is added. There is one gauge for each account, because two accounts may
        reach a venue at two addresses.
        """
        now = time.monotonic()
        if now < self._next_clock.get(ref.account, 0.0):
            return
        self._next_clock[ref.account] = now + CLOCK_INTERVAL_SECONDS
        try:
            venue_time = parsedate_to_datetime(date).timestamp() + 0.5
        except (ValueError, TypeError):
            return
        self._child_of[catalogue.VENUE_OFFSET.name](self._account(ref.account), ref.venue).set(local_time - venue_time)
