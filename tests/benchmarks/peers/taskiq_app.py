"""taskiq with taskiq-redis: asyncio, with an aiohttp session."""

import asyncio

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from tests.benchmarks.peers.post import BROKER, RESULTS, post_async

broker = ListQueueBroker(BROKER).with_result_backend(RedisAsyncResultBackend(RESULTS))
close = broker.task(task_name="close")(post_async)
_loop = asyncio.new_event_loop()


def enqueue(number: int) -> None:
    """Enqueue from code that is not asynchronous."""
    _loop.run_until_complete(close.kiq(number))
