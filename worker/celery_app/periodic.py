"""Periodic work beside a worker's tasks: watching the ledger's server, and publishing lost commands again."""

import logging
import threading
from collections.abc import Callable, Sequence

import redis
from celery import Celery
from kombu.exceptions import EncodeError, KombuError

from producers.intents import Intent
from worker.celery_app.parked import AGAIN_HEADER
from worker.ledger.base import LedgerUnavailable

logger = logging.getLogger("orders.housekeeping")


class PeriodicWork(threading.Thread):
    """A thread that calls its jobs every so many seconds until it is stopped. A job whose server is away is called
    again next time."""

    def __init__(self, jobs: Sequence[Callable[[], object]], interval_seconds: float) -> None:
        super().__init__(name="orders-housekeeper", daemon=True)
        self._jobs = jobs
        self._interval_seconds = interval_seconds
        self._stopped = threading.Event()

    def run(self) -> None:
        """Call the jobs one after the other, wait, and begin again, until :meth:`stop` is called."""
        while True:
            for job in self._jobs:
                self._call(job)
            if self._stopped.wait(self._interval_seconds):
                return

    def _call(self, job: Callable[[], object]) -> None:
        try:
            job()
        except (redis.RedisError, LedgerUnavailable, OSError) as error:
            logger.debug("periodic work is tried again later, its server is away: %s", type(error).__name__)
        except Exception:
            # One failing job must stop neither the others nor the worker.
            logger.exception("periodic work failed")

    def stop(self) -> None:
        """End after the current job."""
        self._stopped.set()


def publisher(app: Celery) -> Callable[[Intent], None]:
    """A function that publishes a command again, with its own id, time of enqueueing and seal.

    The function raises:
        OSError: the broker is away, or refuses the message.
        EncodeError: this intent can't be encoded.
    """

    def publish(intent: Intent) -> None:
        try:
            app.send_task(
                intent.task,
                kwargs=dict(intent.kwargs),
                task_id=intent.command_id,
                queue=intent.task,
                headers={**intent.headers(), AGAIN_HEADER: True},
                retry=False,
            )
        except EncodeError:
            raise  # no OSError, because the broker is there: this intent alone is bad
        except KombuError as error:
            raise OSError(str(error)) from error

    return publish
