"""Huey on Redis, which keeps results by default."""

from typing import Any

from huey import RedisHuey

from tests.benchmarks.peers.post import BROKER, post

huey = RedisHuey("bench", url=BROKER)


@huey.task()
def close(number: int) -> Any:
    """Send a close."""
    return post(number)


enqueue = close
