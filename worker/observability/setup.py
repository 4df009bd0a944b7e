"""Puts together what watches a worker, and starts and ends it with the worker.

Built in each process that executes commands, at its first one; the HTTP port is the parent's alone.
"""

import logging
import os
import platform
import threading
from collections.abc import Callable, Sequence
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
from worker.broker.stats import BrokerProbe, BrokerState
from worker.execution.events import Observer, Observers, place
from worker.ledger.base import Ledger
from worker.ledger.stats import LedgerProbe, LedgerState
from worker.observability import endpoint
from worker.observability.json_format import write_json
from worker.observability.log_lines import LogObserver
from worker.observability.probes import CachedProbe
from worker.observability.timed_ledger import TimedLedger
from worker.settings import VENUES, WorkerSettings

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from worker.observability.collector import WorkerState
    from worker.observability.metrics import Metrics
    from worker.observability.tracing import Traces

logger = logging.getLogger("orders.metrics")

LOOK_SECONDS = 1.0
"""How long a server may take for one answer at a scrape: of three servers, and asked twice each, all of it is well
within the 10 s that Prometheus waits."""


class Instrumentation:
    """Everything that watches one worker."""

    def __init__(self, app: Celery, settings: WorkerSettings, queues: Sequence[str]) -> None:
        self._app = app
        self._settings = settings
        self._queues = queues
        self._lock = threading.Lock()
        self._metrics: Metrics | None = None
        self._observer: Observers | None = None
        self._endpoint: endpoint.Endpoint | None = None
        self._shared: Path | None = None
        self._consumer: Any = None
        self._traces: Traces | None = None

    @property
    def observer(self) -> Observer:
        """What the executor and the sweeper of this process report to."""
        with self._lock:
            if self._observer is None:
                parts: list[Observer] = [LogObserver()]
                if self._settings.metrics.port:
                    parts += self._counting()
                if self._settings.traces:
                    parts += self._tracing()
                self._observer = Observers(*parts)
            return self._observer

    def timed(self, ledger: Ledger) -> Ledger:
        """The ledger, timed where somebody wants to know."""
        assert self.observer is not None  # noqa: S101 - builds the metrics
        on_disk = self._settings.ledger.withdraw_disk != "off"
        return TimedLedger(ledger, self._metrics, on_disk=on_disk) if self._metrics else ledger

    def _counting(self) -> list[Observer]:
        try:
            return [self._metrics or self._count()[0]]
        except Exception as error:  # noqa: BLE001 - a full disk under the shared files, say: commands matter more
            logger.error("no metrics of this process: %s at %s", type(error).__name__, place(error))  # noqa: TRY400
            return []

    def _count(self) -> tuple["Metrics", "CollectorRegistry"]:
        """The metrics of this process, and what is to be served of them."""
        from worker.observability.metrics import Metrics

        kept, served = endpoint.registries()
        accounts = self._settings.accounts
        self._metrics = Metrics(kept, accounts, {VENUES[account.venue] for account in accounts.values()})
        return self._metrics, served

    # -- with the worker ---------------------------------------------------------------------------------------------

    def follow_worker(self) -> None:
        """Write its log as wanted and serve its metrics; a client that only imports the app does neither."""
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
        from worker.broker.take import FOUND_LATE
        from worker.observability.collector import State

        with self._lock:
            metrics, served = self._count()
        FOUND_LATE.append(metrics.found_late)
        wanted = self._settings.metrics
        served.register(
            State(
                build=build(),
                accounts=self._settings.accounts,
                worker=self._state,
                ledger=self._ledger(),
                broker=self._broker(),
                results=self._results(),
            )
        )
        self._endpoint = endpoint.serve(served, wanted.address, wanted.port, wanted.ports, wanted.targets_dir)

    def _ready(self, sender: Any = None, **_: object) -> None:
        self._consumer = sender

    def _forked(self, **_: object) -> None:
        """A process of the pool inherits the port, and would keep it when its parent is gone."""
        if self._endpoint is not None and os.getpid() != self._endpoint.pid:
            self._endpoint.close()

    def _stop(self, **_: object) -> None:
        if self._endpoint is not None:
            self._endpoint.close()
        endpoint.remove(self._shared)

    # -- traces --------------------------------------------------------------------------------------------------------

    def _tracing(self) -> list[Observer]:
        try:
            return [self._traced()]
        except Exception as error:  # noqa: BLE001 - one of OpenTelemetry's variables: commands matter more
            logger.error("no traces of this process: %s at %s", type(error).__name__, place(error))  # noqa: TRY400
            return []

    def _traced(self) -> "Traces":
        """Of this process: a pool's processes are forked from one that may have made its own."""
        from worker.observability.tracing import Traces

        if self._traces is None or self._traces.pid != os.getpid():
            self._traces = Traces()
        return self._traces

    def _begin_span(self, task_id: str, task: Any, **_: object) -> None:
        if task.name in COMMANDS:
            with self._lock:
                traces = self._traced()
            task.request.orders_execution = traces.begin(task.name, task_id, task.request.headers or {})

    def _end_span(self, task: Any, **_: object) -> None:
        execution = getattr(task.request, "orders_execution", None)
        if execution is not None:
            execution.end()

    def _end_traces(self, **_: object) -> None:
        if self._traces is not None and self._traces.pid == os.getpid():
            self._traces.close()

    # -- what is looked at ---------------------------------------------------------------------------------------------

    def _state(self) -> "WorkerState":
        from worker.observability.collector import WorkerState

        consumer = self._consumer
        connection = getattr(consumer, "connection", None)
        return WorkerState(
            ready=connection is not None and bool(connection.connected),
            queues=tuple(self._app.amqp.queues.consume_from),
            busy=len(worker_state.active_requests),
            slots=getattr(getattr(consumer, "pool", None), "num_processes", 0) or 0,
        )

    def _ledger(self) -> CachedProbe[LedgerState] | None:
        client = _client(self._settings.ledger_url, decode=True)
        return CachedProbe(LedgerProbe(client)) if client else None

    def _broker(self) -> CachedProbe[BrokerState] | None:
        client = _client(self._settings.broker_url)
        prefix = (self._app.conf.broker_transport_options or {}).get("global_keyprefix", "")
        return CachedProbe(BrokerProbe(client, self._queues, prefix)) if client else None

    def _results(self) -> CachedProbe[ServerState] | None:
        client = _client(self._settings.result_backend)
        look: Callable[[], ServerState] = lambda: server_state(client)  # type: ignore[arg-type] # noqa: E731
        return CachedProbe(look) if client else None


def _client(url: str, *, decode: bool = False) -> redis.Redis | None:
    """A client for looking, None for what is no Redis. Without ``decode``, for a message may hold any bytes."""
    if not url.startswith(("redis://", "rediss://", "sentinel://", "sentinels://", "unix://")):
        return None
    # Each Sentinel may have to be asked until one answers.
    timeout = LOOK_SECONDS / len(parse_sentinel_url(url).hosts) if is_sentinel(url) else LOOK_SECONDS
    # Without health checks: those are PINGs, see server_state.
    return connect(url, timeout=timeout, decode_responses=decode)


def build() -> dict[str, str]:
    """What this worker is made of: versions by name."""
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
