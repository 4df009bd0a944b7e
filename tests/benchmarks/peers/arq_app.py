"""arq: asyncio, with an aiohttp session."""

import asyncio
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings

from tests.benchmarks.peers.post import BROKER, CONCURRENCY, post_async


async def close(_: dict[str, Any], number: int) -> Any:
    """Send a close."""
    return await post_async(number)


class WorkerSettings:
    """What arq's worker reads."""

    functions: ClassVar = [close]
    redis_settings = RedisSettings.from_dsn(BROKER)
    max_jobs = CONCURRENCY


_loop = asyncio.new_event_loop()
_pools: list[Any] = []


def enqueue(number: int) -> None:
    """Enqueue from code that is not asynchronous."""
    if not _pools:
        asyncio.set_event_loop(_loop)
        _pools.append(_loop.run_until_complete(create_pool(WorkerSettings.redis_settings)))
    _loop.run_until_complete(_pools[0].enqueue_job("close", number))
