"""The naive safe way: `acks_late`, `autoretry_for` and celery-once, as in ``tests/faults/baselines/tasks.py``."""

from typing import Any

from celery import Celery
from celery_once import QueueOnce

from tests.benchmarks.peers.post import BROKER, CELERY_RESULTS, post

app = Celery("once", broker=BROKER, backend=CELERY_RESULTS)
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    result_backend_always_retry=True,
    ONCE={"backend": "celery_once.backends.Redis", "settings": {"url": BROKER, "default_timeout": 3600}},
)


@app.task(  # type: ignore[untyped-decorator]
    name="close",
    base=QueueOnce,
    once={"keys": ["number"]},
    acks_late=True,
    reject_on_worker_lost=True,
    autoretry_for=(Exception,),
    retry_backoff=True,
    max_retries=4,
)
def close(number: int) -> Any:
    """Send a close, and again when that fails."""
    return post(number)


enqueue = close.delay
