"""arq: asyncio, with an aiohttp session."""

import asyncio
import os
from typing import Any, ClassVar

import aiohttp
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings

from tests.benchmarks.peers.post import BROKER, post_async

CONCURRENCY = int(os.environ["BENCH_CONCURRENCY"])
settings = RedisSettings.from_dsn(BROKER)


async def close(ctx: dict[str, Any], number: int) -> Any:
    """Post a close; arq keeps what it returns."""
    return await post_async(number, ctx["client"])


async def startup(ctx: dict[str, Any]) -> None:
    """A session for the worker's whole life."""
    ctx["client"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY))


async def shutdown(ctx: dict[str, Any]) -> None:
    """Close it."""
    await ctx["client"].close()


class WorkerSettings:
    """What arq's worker reads."""

    functions: ClassVar = [close]
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = settings
    max_jobs = CONCURRENCY


_loop = asyncio.new_event_loop()
_pool: list[ArqRedis] = []


def enqueue(number: int) -> None:
    """Enqueue one, from code that is not asynchronous."""
    if not _pool:
        asyncio.set_event_loop(_loop)
        _pool.append(_loop.run_until_complete(create_pool(settings)))
    _loop.run_until_complete(_pool[0].enqueue_job("close", number))
