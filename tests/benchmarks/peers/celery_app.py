"""A bare Celery task: stock Celery on stock kombu, nothing set but where things are."""

from typing import Any

from celery import Celery

from tests.benchmarks.peers.post import BROKER, CELERY_RESULTS, post

app = Celery("bare", broker=BROKER, backend=CELERY_RESULTS)
app.conf.broker_connection_retry_on_startup = True


@app.task(name="close")  # type: ignore[untyped-decorator]
def close(number: int) -> Any:
    """Post a close."""
    return post(number)


def enqueue(number: int) -> None:
    """Enqueue one."""
    close.apply_async((number,))
