"""What a worker does beside executing: watching the ledger's server, and publishing again what was lost."""

import logging
import threading
from collections.abc import Callable, Sequence

import redis
from celery import Celery
from kombu.exceptions import EncodeError, KombuError

from producers.intents import Intent

logger = logging.getLogger("orders.housekeeping")


class PeriodicWork(threading.Thread):
    """Runs its duties every so many seconds until it is stopped; a duty whose server is away is done next time."""

    def __init__(self, duties: Sequence[Callable[[], object]], every_seconds: float) -> None:
        super().__init__(name="orders-housekeeper", daemon=True)
        self._duties = duties
        self._every = every_seconds
        self._stopped = threading.Event()

    def run(self) -> None:
        """Do the duties, wait, repeat."""
        while True:
            for duty in self._duties:
                self._do(duty)
            if self._stopped.wait(self._every):
                return

    def _do(self, duty: Callable[[], object]) -> None:
        try:
            duty()
        except (redis.RedisError, OSError) as error:
            logger.debug("a duty waits for its server: %s", type(error).__name__)
        except Exception:
            # One broken duty must end neither the others nor the worker.
            logger.exception("a duty failed")

    def stop(self) -> None:
        """End after the duty under way."""
        self._stopped.set()


def publisher(app: Celery) -> Callable[[Intent], None]:
    """Publishes a command again, with its own id and time of enqueueing.

    Raises, when called:
        OSError: the broker is away.
    """

    def publish(intent: Intent) -> None:
        try:
            app.send_task(
                intent.task,
                kwargs=dict(intent.kwargs),
                task_id=intent.command_id,
                queue=intent.task,
                headers={"enqueued_at": intent.enqueued_at},
                retry=False,
            )
        except EncodeError:
            raise  # of this intent, and no other
        except KombuError as error:
            raise OSError(str(error)) from error

    return publish
