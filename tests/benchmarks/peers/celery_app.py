"""A bare Celery task: stock Celery on stock kombu, with nothing set but the servers' addresses."""

from typing import Any

from celery import Celery

from tests.benchmarks.peers.post import BROKER, CELERY_RESULTS, post

app = Celery("bare", broker=BROKER, backend=CELERY_RESULTS, broker_connection_retry_on_startup=True)


@app.task(name="close")  # type: ignore[untyped-decorator]
def close(number: int) -> Any:
    """Send a close."""
    return post(number)


def enqueue(number: int) -> None:
    """Enqueue by the task's name, as a service without the task's code does."""
    app.send_task("close", (number,))
