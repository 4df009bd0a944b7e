"""Dramatiq with its Results middleware."""

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from tests.benchmarks.peers.post import BROKER, RESULTS, post

broker = RedisBroker(url=BROKER)
broker.add_middleware(Results(backend=RedisBackend(url=RESULTS)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True, max_retries=0)
def close(number: int) -> Any:
    """Send a close."""
    return post(number)


enqueue = close.send
