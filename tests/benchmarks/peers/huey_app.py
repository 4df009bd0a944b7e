"""Huey on Redis, results kept."""

from typing import Any

from huey import RedisHuey

from tests.benchmarks.peers.post import BROKER, post

huey = RedisHuey("bench", url=BROKER)


@huey.task()
def close(number: int) -> Any:
    """Post a close."""
    return post(number)


def enqueue(number: int) -> None:
    """Enqueue one."""
    close(number)
