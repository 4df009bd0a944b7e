"""The composition root: settings -> ledger, venues, transport, executor, Celery app.

``celery -A worker worker`` finds the app through :mod:`worker`. Importing this module reads the settings; the executor,
and with it the accounts' secrets, is built at the first command, so that Flower and ``celery inspect`` never hold them.
"""

import gc
import logging
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from celery import Celery, signals
from celery.worker import state as worker_state
from kombu.transport import TRANSPORT_ALIASES

from producers import message_json
from producers.celery_app import OwnSettingsCelery
from producers.intents import Intent, was_sent
from producers.report import Report
from worker import settings as worker_settings
from worker.broker.stats import oldest_queued
from worker.celery_app import heartbeat_file as alive
from worker.celery_app.callbacks import address_anywhere
from worker.celery_app.config import celery_config
from worker.celery_app.flower import is_flower, prepare_flower
from worker.celery_app.lost_messages import publisher
from worker.celery_app.periodic import PeriodicWork
from worker.celery_app.queues import SERVED
from worker.celery_app.reconcile_task import register_reconcile
from worker.celery_app.remote_control import LookingControl, guard_worker
from worker.celery_app.request import guard_options
from worker.celery_app.restart import restart_properly
from worker.celery_app.results import result_publisher, use_report_backends
from worker.celery_app.tasks import register
from worker.clock import SystemClock
from worker.execution.executor import Executor
from worker.execution.lost_commands import LostCommandPublisher
from worker.execution.policy.ledger_server import ServerPolicy
from worker.ledger.connection import connect
from worker.ledger.redis import RedisLedger
from worker.library_logs import bound_library_logs
from worker.observability.setup import Instrumentation
from worker.reconciliation.reconciler import Reconciler
from worker.reconciliation.store import ReconcileStore
from worker.settings import WorkerSettings
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.everstrike.queries import EverstrikeReads
from worker.venues.http.transport import Transport

logger = logging.getLogger("orders.app")


GARBAGE_THRESHOLD = 20_000
"""Objects made before Python looks for cycles; its default is 700 (``gc.set_threshold``)."""
HOUSEKEEPING_SECONDS = 10.0
"""How often the ledger's server and the intents are looked at."""


def build_ledger(settings: WorkerSettings) -> RedisLedger:
    """The real ledger."""
    timeout = settings.ledger.timeout_seconds
    return RedisLedger(
        connect(settings.ledger_url, timeout),
        keep_ms=int(settings.ledger.keep_days * 86_400_000),
        journal_lines=settings.ledger.journal_lines,
        # Inside the socket's own limit, so that the server answers before the connection is given up.
        disk_ms=0 if settings.ledger.withdraw_disk == "off" else int(timeout * 800),
        need_disk=settings.ledger.withdraw_disk == "require",
        replicas=settings.ledger.replicas,
        replicas_ms=int(timeout * 800),
    )


def build_policy(settings: WorkerSettings) -> ServerPolicy:
    """The watch over the ledger's server."""
    client = connect(settings.ledger_url, settings.ledger.timeout_seconds)
    return ServerPolicy(
        client,
        need_disk=settings.ledger.withdraw_disk == "require",
        replicas=settings.ledger.replicas,
    )


def build_executor(settings: WorkerSettings, policy: ServerPolicy, watch: Instrumentation) -> Executor:
    """An executor over the real ledger and the real venues."""
    return Executor(
        ledger=watch.timed(build_ledger(settings)),
        venues=settings.venue_map(),
        accounts=settings.account_map(),
        transport=Transport(settings.http_limits(), settings.http.ca_file or None),
        clock=SystemClock(),
        retry=settings.retry_limits(),
        stopping=_stopping,
        refusal=policy.refusal,
        observer=watch.observer,
        hidden=settings.hidden_arguments,
    )


def _stopping() -> bool:
    # Celery sets these on SIGTERM and on SIGQUIT to an exit code, which may be 0; None and False mean that it goes on.
    flags = (worker_state.should_stop, worker_state.should_terminate)
    return any(flag is not None and flag is not False for flag in flags)


def build_app(settings: WorkerSettings | None = None) -> Celery:
    """The Celery app. Settings come from outside when none are given.

    Raises:
        SettingsError: naming each setting that is wrong.
    """
    loaded = settings or worker_settings.load()
    message_json.use()
    bound_library_logs()
    app = OwnSettingsCelery("worker", broker_url=loaded.broker_url, result_backend=loaded.result_backend)
    app.set_current()
    app.conf.update(celery_config(loaded))
    address_anywhere(app)
    _guard(app, loaded)
    lock = threading.Lock()
    policy = build_policy(loaded)
    watch = Instrumentation(app, loaded, SERVED)
    build = cache(lambda: build_executor(loaded, policy, watch))

    def executor() -> Executor:
        # Threads of a fresh worker may all ask at once; there is one pool of connections.
        with lock:
            return build()

    register(app, executor, loaded.hidden_arguments)
    register_reconcile(app, cache(lambda: build_reconciler(loaded, result_publisher(app))))
    _keep_house(app, loaded, policy, watch)
    watch.follow_worker()
    if loaded.alive_file:
        alive.show(Path(loaded.alive_file))
    return app


def _settle_garbage() -> None:
    """What is there when a worker starts stays: the collector need not look at it again and again. Its youngest
    generation is made larger, because a command leaves some thousand short-lived objects and no cycle worth a stop."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, *gc.get_threshold()[1:])


def _guard(app: Celery, settings: WorkerSettings) -> None:
    """Remote control, Flower and the result backend let nobody end a command but by its report."""
    allowed = settings.allowed_remote_controls
    ledger = cache(lambda: connect(settings.ledger_url, settings.ledger.timeout_seconds))
    use_report_backends(app, lambda command_id: was_sent(ledger(), command_id))
    app.control_cls = type("LookingControl", (LookingControl,), {"allowed": allowed})
    guard_worker(allowed, SERVED)
    signals.worker_init.connect(guard_options, weak=False)
    restart_properly()
    if is_flower():
        _take_stock_name(app)
        prepare_flower(allowed, settings.hidden_arguments)


def warn_without_accounts(settings: WorkerSettings) -> None:
    """A worker that can execute nothing looks as healthy as any other."""
    if not settings.accounts:
        logger.warning("no account is configured: every command is refused. `orders doctor` tells what to set")


def _take_stock_name(app: Celery) -> None:
    """Flower's page of queues knows transports by their stock names alone. Ours goes by one of them there: the stock
    transport would sweep what workers have not acknowledged, in a program that only looks."""
    ours = app.conf.broker_transport
    if ours:
        TRANSPORT_ALIASES[urlsplit(app.conf.broker_url).scheme] = ours
        app.conf.broker_transport = None


def _keep_house(app: Celery, settings: WorkerSettings, policy: ServerPolicy, watch: Instrumentation) -> None:
    """Start and stop the housekeeper with the worker; a client that only imports the app starts none."""
    sweeper = LostCommandPublisher(
        ledger=connect(settings.ledger_url, settings.ledger.timeout_seconds),
        clock=SystemClock(),
        oldest_queued=oldest_queued(app),
        publish=_told(publisher(app), watch),
        patience_seconds=settings.ledger.intent_seconds,
    )
    every = min(HOUSEKEEPING_SECONDS, settings.ledger.intent_seconds / 2)
    housekeeper = PeriodicWork([policy.look, sweeper.sweep], every)

    def start(**_: object) -> None:
        warn_without_accounts(settings)
        _settle_garbage()
        housekeeper.start()

    def stop(**_: object) -> None:
        housekeeper.stop()

    signals.worker_ready.connect(start, weak=False)
    signals.worker_shutting_down.connect(stop, weak=False)


def _told(publish: Callable[[Intent], None], watch: Instrumentation) -> Callable[[Intent], None]:
    """Publishes, and tells whoever watches."""

    def publish_and_tell(intent: Intent) -> None:
        publish(intent)
        watch.observer.republished(intent.command_id, intent.task.removeprefix("orders."))

    return publish_and_tell


def build_reconciler(settings: WorkerSettings, publish: Callable[[Report], None]) -> Reconciler:
    """A reconciler over the real ledger and the real venues."""
    client = connect(settings.ledger_url, settings.ledger.timeout_seconds)
    ledger = RedisLedger(
        client, keep_ms=int(settings.ledger.keep_days * 86_400_000), journal_lines=settings.ledger.journal_lines
    )
    transport = Transport(settings.http_limits(), settings.http.ca_file or None)
    return Reconciler(
        ledger=ledger,
        casebook=ReconcileStore(client),
        accounts=settings.account_map(),
        reads={Everstrike.name: EverstrikeReads(transport.send)},
        clock=SystemClock(),
        limits=settings.reconcile_limits(),
        publish=publish,
    )
