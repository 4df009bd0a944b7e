"""RQ, which keeps what a job returns."""

import functools

import redis
from rq import Queue

from tests.benchmarks.peers.post import BROKER, post

enqueue = functools.partial(Queue(connection=redis.Redis.from_url(BROKER)).enqueue, post)
