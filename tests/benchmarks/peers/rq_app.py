"""RQ. Its SimpleWorker, which runs jobs in the worker's own process: the usual one forks for each job."""

from typing import Any

import redis
from rq import Queue

from tests.benchmarks.peers.post import BROKER, post

queue = Queue(connection=redis.Redis.from_url(BROKER))


def close(number: int) -> Any:
    """Post a close; RQ keeps what it returns."""
    return post(number)


def enqueue(number: int) -> None:
    """Enqueue one."""
    queue.enqueue(f"{__name__}.close", number)
