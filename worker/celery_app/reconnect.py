"""A consumer that is back soon after its broker is: half a second after, and not up to half a minute.

Stock Celery waits 2, 4, 6 … 30 s between two tries to connect, and has no setting for it. A failover behind Sentinels
is over after two or three seconds; a worker that sleeps by then takes no command for as long as it sleeps (measured:
``docs/celery.md``). Then it spends a second on asking other workers which tasks were revoked (``mingle``): here none
ever is, see :mod:`worker.celery_app.remote_control`.

Use it with ``worker_consumer = "worker.celery_app.reconnect:SteadyConsumer"``.
"""

# Celery and kombu publish no types.
# mypy: disallow-subclassing-any=False

from collections.abc import Callable
from time import monotonic
from typing import Any

from worker.celery_app.consumer import KeepingConsumer

RETRY_SECONDS = 0.5
"""Between two tries to connect to the broker: little work for a server that comes back, and a short time for a close to
wait."""
TELL_SECONDS = 10.0
"""How often the log says that the broker is away."""


class SteadyConsumer(KeepingConsumer):
    """Celery's consumer, which tries to connect at an even pace."""

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, worker_options={**(worker_options or {}), "without_mingle": True}, **kwargs)

    def ensure_connected(self, conn: Any) -> Any:
        """Celery's own, with other waits: it hands the rest of the work to this method of the connection."""
        conn.ensure_connection = evenly(conn.ensure_connection)
        return super().ensure_connected(conn)


def evenly(ensure: Callable[..., Any]) -> Callable[..., Any]:
    """kombu's ``ensure_connection`` with a try every half second, of which the log is told now and then."""

    def ensure_connection(errback: Callable[[Exception, float], None], *limits: Any, **options: Any) -> Any:
        told = float("-inf")

        def tell(error: Exception, interval: float) -> None:
            nonlocal told
            if monotonic() - told >= TELL_SECONDS:
                told = monotonic()
                errback(error, interval)

        waits = {"interval_start": RETRY_SECONDS, "interval_step": 0, "interval_max": RETRY_SECONDS}
        return ensure(tell, *limits, **{**options, **waits})

    return ensure_connection
