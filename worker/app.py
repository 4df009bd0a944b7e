"""The composition root: settings -> ledger, venues, transport, executor, Celery app.

``celery -A worker worker`` finds the app through :mod:`worker`. Importing this module reads the settings; the executor,
and with it the accounts' secrets, is built at the first command, so that Flower and ``celery inspect`` never hold them.
"""

import logging
import threading
from functools import cache

from celery import Celery
from celery.worker import state as worker_state

from worker import settings as worker_settings
from worker.celeryconfig import celery_config
from worker.execution.clock import SystemClock
from worker.execution.executor import Executor
from worker.execution.redis_ledger import RedisLedger, connect
from worker.settings import VENUES, WorkerSettings
from worker.tasks import register
from worker.venues.transport import Transport

logger = logging.getLogger("orders.app")


def build_executor(settings: WorkerSettings) -> Executor:
    """An executor over the real ledger and the real venues."""
    ledger = RedisLedger(
        connect(settings.ledger_url, settings.ledger.timeout_seconds),
        keep_ms=int(settings.ledger.keep_days * 86_400_000),
        journal_lines=settings.ledger.journal_lines,
    )
    return Executor(
        ledger=ledger,
        venues=VENUES,
        accounts=settings.account_map(),
        transport=Transport(settings.http_limits(), settings.http.ca_file or None),
        clock=SystemClock(),
        retry=settings.retry_limits(),
        stopping=_stopping,
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
    app = Celery("worker")
    app.conf.update(celery_config(loaded))
    lock = threading.Lock()
    build = cache(lambda: build_executor(loaded))

    def executor() -> Executor:
        # Threads of a fresh worker may all ask at once; there is one pool of connections.
        with lock:
            return build()

    register(app, executor)
    return app
