"""The composition root: settings -> ledger, venues, transport, executor, Celery app.

``celery -A worker worker`` finds the app through :mod:`worker`. Importing this module reads the settings; the executor,
and with it the accounts' secrets, is built at the first command, so that Flower and ``celery inspect`` never hold them.
"""

import logging
import sys
import threading
from functools import cache
from pathlib import Path

from celery import Celery, signals
from celery.worker import state as worker_state

from producers.celery_app import OwnSettingsCelery
from worker import alive
from worker import settings as worker_settings
from worker.celeryconfig import celery_config
from worker.execution.clock import SystemClock
from worker.execution.executor import Executor
from worker.execution.policy import ServerPolicy
from worker.execution.redis_ledger import RedisLedger, connect
from worker.execution.sweeper import Sweeper
from worker.housekeeping import Housekeeper
from worker.lost_messages import oldest_queued, publisher
from worker.reconcile_task import build_reconciler, register_reconcile, result_publisher
from worker.settings import VENUES, WorkerSettings
from worker.tasks import register
from worker.venues.transport import Transport

logger = logging.getLogger("orders.app")


LONGEST_NUMBER = 100_000
"""Digits. Longer ones in a message make it unreadable; it is then kept aside."""
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
    )


def build_policy(settings: WorkerSettings) -> ServerPolicy:
    """The watch over the ledger's server."""
    client = connect(settings.ledger_url, settings.ledger.timeout_seconds)
    return ServerPolicy(client, need_disk=settings.ledger.withdraw_disk == "require")


def build_executor(settings: WorkerSettings, policy: ServerPolicy) -> Executor:
    """An executor over the real ledger and the real venues."""
    ledger = build_ledger(settings)
    return Executor(
        ledger=ledger,
        venues=VENUES,
        accounts=settings.account_map(),
        transport=Transport(settings.http_limits(), settings.http.ca_file or None),
        clock=SystemClock(),
        retry=settings.retry_limits(),
        stopping=_stopping,
        refusal=policy.refusal,
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
    # A number of more digits than Python reads by default must come as far as the command's own refusal.
    sys.set_int_max_str_digits(LONGEST_NUMBER)
    app = OwnSettingsCelery("worker", broker_url=loaded.broker_url, result_backend=loaded.result_backend)
    app.set_current()
    app.conf.update(celery_config(loaded))
    lock = threading.Lock()
    policy = build_policy(loaded)
    build = cache(lambda: build_executor(loaded, policy))

    def executor() -> Executor:
        # Threads of a fresh worker may all ask at once; there is one pool of connections.
        with lock:
            return build()

    register(app, executor)
    register_reconcile(app, cache(lambda: build_reconciler(loaded, result_publisher(app))))
    _keep_house(app, loaded, policy)
    if loaded.alive_file:
        alive.show(Path(loaded.alive_file))
    return app


def _keep_house(app: Celery, settings: WorkerSettings, policy: ServerPolicy) -> None:
    """Start and stop the housekeeper with the worker; a client that only imports the app starts none."""
    sweeper = Sweeper(
        ledger=connect(settings.ledger_url, settings.ledger.timeout_seconds),
        clock=SystemClock(),
        oldest_queued=oldest_queued(app),
        publish=publisher(app),
        patience_seconds=settings.ledger.intent_seconds,
    )
    every = min(HOUSEKEEPING_SECONDS, settings.ledger.intent_seconds / 2)
    housekeeper = Housekeeper([policy.look, sweeper.sweep], every)

    def start(**_: object) -> None:
        housekeeper.start()

    def stop(**_: object) -> None:
        housekeeper.stop()

    signals.worker_ready.connect(start, weak=False)
    signals.worker_shutting_down.connect(stop, weak=False)
