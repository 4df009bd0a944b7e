"""taskiq with taskiq-redis: asyncio, with an aiohttp session."""

import asyncio
import os
from typing import Annotated, Any

import aiohttp
from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from tests.benchmarks.peers.post import BROKER, RESULTS, post_async

CONCURRENCY = int(os.environ["BENCH_CONCURRENCY"])
broker = ListQueueBroker(BROKER).with_result_backend(RedisAsyncResultBackend(RESULTS))


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(state: TaskiqState) -> None:
    """A session for the worker's whole life."""
    state.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def shutdown(state: TaskiqState) -> None:
    """Close it."""
    await state.client.close()


@broker.task(task_name="close")
async def close(number: int, context: Annotated[Context, TaskiqDepends()]) -> Any:
    """Post a close."""
    return await post_async(number, context.state.client)


_loop = asyncio.new_event_loop()


def enqueue(number: int) -> None:
    """Enqueue one, from code that is not asynchronous."""
    _loop.run_until_complete(close.kiq(number))
