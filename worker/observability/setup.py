"""Creates the observers of a worker, and starts and stops metrics and traces with it.

Observers are created in each process that executes commands, at its first command; the HTTP port belongs to the parent
process alone.
"""

import logging
import os
import platform
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import redis
from celery import Celery, signals
from celery.concurrency import get_implementation
from celery.worker import state as worker_state

from producers.commands import COMMANDS
from producers.redis.client import connect
from producers.redis.server_info import ServerState, server_state
from producers.redis.url import is_sentinel, parse_sentinel_url
from producers.tracing import require_opentelemetry
from worker.broker.stats import BrokerProbe
from worker.execution.events import Observer, Observers, raised_at
from worker.execution.policy.withdrawals import PolicyState
from worker.ledger.base import Ledger
from worker.ledger.stats import LedgerProbe
from worker.observability import endpoint
from worker.observability.json_format import write_json
from worker.observability.log_lines import LogObserver
from worker.observability.timed_ledger import TimedLedger
from worker.settings import WorkerSettings
from worker.venues.registry import VENUES, accounts_of

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from worker.observability.collector import WorkerState
    from worker.observability.metrics import Metrics
    from worker.observability.tracing import Traces

logger = logging.getLogger("orders.metrics")

PROBE_TIMEOUT_SECONDS = 1.0
"""How long a server may take for one answer at a scrape: two answers of each of three servers take much less than the
10 s that Prometheus waits."""


class Instrumentation:
    """Log lines, metrics and traces of one worker."""

    def __init__(
        self,
        app: Celery,
        settings: WorkerSettings,
        queues: Sequence[str],
        policy: Callable[[], PolicyState | None],
        keys_usable: Callable[[], bool | None],
    ) -> None:
        self._app = app
        self._settings = settings
        self._queues = queues
        self._policy = policy
        self._keys_usable = keys_usable
        self._lock = threading.Lock()
        self._metrics: Metrics | None = None
        self._observer: Observers | None = None
        self._endpoint: endpoint.Endpoint | None = None
        self._shared: Path | None = None
        self._consumer: Any = None
        self._traces: Traces | None = None

    @property
    def observer(self) -> Observer:
        """The observer to which this process reports all events."""
        with self._lock:
            if self._observer is None:
                parts: list[Observer] = [LogObserver()]
                if self._settings.metrics.port:
                    parts += self._metrics_observers()
                if self._settings.traces:
                    parts += self._trace_observers()
                self._observer = Observers(*parts)
            return self._observer

    def webhook_attempted(self, webhook: str, result: str) -> None:
        """Count an attempt to send a report to a webhook."""
        _ = self.observer  # creates the metrics on first use
        if self._metrics is not None:
            self._metrics.webhook_attempted(webhook, result)

    def time_ledger(self, ledger: Ledger) -> Ledger:
        """The ledger, or with metrics a ledger that times its calls."""
        _ = self.observer  # creates the metrics on first use
        on_disk = self._settings.ledger.withdraw_disk != "off"
        return TimedLedger(ledger, self._metrics, on_disk=on_disk) if self._metrics else ledger

    def _metrics_observers(self) -> list[Observer]:
        try:
            return [self._metrics or self._create_metrics()[0]]
        except Exception as error:  # noqa: BLE001 - the folder of shared values, for instance: commands matter more
            logger.error(  # noqa: TRY400 - only its kind and where it was raised
                "no metrics of this process: %s at %s; commands are executed all the same. Check that "
                "PROMETHEUS_MULTIPROC_DIR is unset, or a folder that can be written",
                *(type(error).__name__, raised_at(error)),
            )
            return []

    def _create_metrics(self) -> tuple["Metrics", "CollectorRegistry"]:
        """The metrics of this process, and the registry to serve."""
        from worker.observability.metrics import Metrics

        own, served = endpoint.registries()
        settings = self._settings
        venues = {VENUES[account.venue] for account in settings.accounts.values()}
        self._metrics = Metrics(own, settings.accounts, venues, settings.auth.modes, settings.webhooks)
        return self._metrics, served

    # -- with the worker ---------------------------------------------------------------------------------------------

    def connect_signals(self) -> None:
        """Have the worker's signals set the log format, begin and end spans, and serve metrics. In a client that only
        imports the app these signals are not sent."""
        signals.after_setup_logger.connect(self._format, weak=False)
        signals.after_setup_task_logger.connect(self._format, weak=False)
        if self._settings.traces:
            require_opentelemetry("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
            signals.task_prerun.connect(self._begin_span, weak=False)
            signals.task_postrun.connect(self._end_span, weak=False)
            signals.worker_shutdown.connect(self._end_traces, weak=False)
            signals.worker_process_shutdown.connect(self._end_traces, weak=False)
        if not self._settings.metrics.port:
            return
        signals.worker_init.connect(self._start, weak=False)
        signals.worker_ready.connect(self._ready, weak=False)
        signals.worker_process_init.connect(self._forked, weak=False)
        signals.worker_shutdown.connect(self._stop, weak=False)

    def _format(self, logger: Any = None, **_: object) -> None:
        write_json(logger, self._settings.log.format)

    def _start(self, sender: Any = None, **_: object) -> None:
        pool = get_implementation(sender.pool_cls)
        if pool.__module__ == "celery.concurrency.prefork":
            self._shared = endpoint.share_among_processes()
        from worker.broker.take import FALLBACK_TAKE_LISTENERS
        from worker.observability.collector import StateCollector

        with self._lock:
            metrics, served = self._create_metrics()
        FALLBACK_TAKE_LISTENERS.append(metrics.take_fallback)
        settings = self._settings.metrics
        served.register(
            StateCollector(
                build=build(),
                accounts={alias: (a.bucket, a.host) for alias, a in accounts_of(self._settings.accounts).items()},
                worker=self._worker_state,
                policy=self._policy,
                ledger=self._ledger(),
                broker=self._broker(),
                results=self._results(),
            )
        )
        self._endpoint = endpoint.serve(served, settings.address, settings.port, settings.ports, settings.targets_dir)

    def _ready(self, sender: Any = None, **_: object) -> None:
        self._consumer = sender

    def _forked(self, **_: object) -> None:
        """Close the port in a process of the pool, which inherits it and would keep it open after its parent's end."""
        if self._endpoint is not None and os.getpid() != self._endpoint.pid:
            self._endpoint.close()

    def _stop(self, **_: object) -> None:
        if self._endpoint is not None:
            self._endpoint.close()
        endpoint.remove(self._shared)

    # -- traces --------------------------------------------------------------------------------------------------------

    def _trace_observers(self) -> list[Observer]:
        try:
            return [self._traces_of_process()]
        except Exception as error:  # noqa: BLE001 - one of OpenTelemetry's variables: commands matter more
            logger.error(  # noqa: TRY400 - only its kind and where it was raised
                "no traces of this process: %s at %s; commands are executed all the same. Check OpenTelemetry's OTEL_… "
                "variables",
                *(type(error).__name__, raised_at(error)),
            )
            return []

    def _traces_of_process(self) -> "Traces":
        """The traces of this process, which may be forked from one that has its own."""
        from worker.observability.tracing import Traces

        if self._traces is None or self._traces.pid != os.getpid():
            self._traces = Traces()
        return self._traces

    def _begin_span(self, task_id: str, task: Any, **_: object) -> None:
        if task.name in COMMANDS:
            with self._lock:
                traces = self._traces_of_process()
            task.request.orders_execution = traces.begin(task.name, task_id, task.request.headers or {})

    def _end_span(self, task: Any, **_: object) -> None:
        execution = getattr(task.request, "orders_execution", None)
        if execution is not None:
            execution.end()

    def _end_traces(self, **_: object) -> None:
        if self._traces is not None and self._traces.pid == os.getpid():
            self._traces.close()

    # -- what is probed ------------------------------------------------------------------------------------------------

    def _worker_state(self) -> "WorkerState":
        from worker.broker.acks import taken_by_account
        from worker.observability.collector import WorkerState

        consumer = self._consumer
        connection = getattr(consumer, "connection", None)
        return WorkerState(
            ready=connection is not None and bool(connection.connected),
            queues=tuple(self._app.amqp.queues.consume_from),
            busy=len(worker_state.active_requests),
            by_account=taken_by_account(),
            slots=getattr(getattr(consumer, "pool", None), "num_processes", 0) or 0,
            keys_usable=self._keys_usable(),
        )

    def _ledger(self) -> LedgerProbe | None:
        client = _client(self._settings.ledger_url, decode=True)
        return LedgerProbe(client) if client else None

    def _broker(self) -> BrokerProbe | None:
        client = _client(self._settings.broker_url)
        prefix = (self._app.conf.broker_transport_options or {}).get("global_keyprefix", "")
        return BrokerProbe(client, self._queues, prefix) if client else None

    def _results(self) -> Callable[[], ServerState] | None:
        client = _client(self._settings.result_backend)
        return partial(server_state, client) if client else None


def _client(url: str, *, decode: bool = False) -> redis.Redis | None:
    """A client for probes, None for a server that is no Redis. Replies are decoded on request only, because a message
    may hold any bytes."""
    if not url.startswith(("redis://", "rediss://", "sentinel://", "sentinels://", "unix://")):
        return None
    # Every Sentinel may have to be asked before one answers.
    timeout = PROBE_TIMEOUT_SECONDS / len(parse_sentinel_url(url).hosts) if is_sentinel(url) else PROBE_TIMEOUT_SECONDS
    # Without health checks, which send PING; see server_state.
    return connect(url, timeout=timeout, decode_responses=decode)


def build() -> dict[str, str]:
    """The versions of this worker and of its libraries, by label of the metric."""
    return {
        "version": _version("order-execution-worker"),
        "python": platform.python_version(),
        "celery": _version("celery"),
        "kombu": _version("kombu"),
        "redis": _version("redis"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
