"""A Celery app for the tests of the broker transport: a task that leaves a trace, and a way to die on cue.

Workers are processes of their own, so everything comes from the environment: `CHANNEL_URL` server, `CHANNEL_TRANSPORT`
"ours" or "stock", `CHANNEL_VISIBILITY` seconds, `CHANNEL_PREFIX` global key prefix, `CHANNEL_DIE` "taken" to die by
SIGKILL between the take and the delivery of the first task message.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from kombu import Queue
from kombu.transport import virtual

URL = os.environ.get("CHANNEL_URL", "redis://127.0.0.1:6379")
QUEUES = ("orders.cancel", "orders.close", "orders.withdraw", "orders.positions")

app = Celery("channel_app", broker=f"{URL}/0", backend=f"{URL}/1")
if os.environ.get("CHANNEL_TRANSPORT", "ours") == "ours":
    app.conf.broker_transport = "worker.broker.transport:Transport"
app.conf.update(
    task_queues=[Queue(name) for name in QUEUES],
    task_default_queue="orders.close",
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    result_backend_always_retry=True,
    result_backend_transport_options={"retry_policy": {"max_retries": 100}},
    broker_transport_options={
        "queue_order_strategy": "priority",
        "visibility_timeout": float(os.environ.get("CHANNEL_VISIBILITY", "50")),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 2,
        "global_keyprefix": os.environ.get("CHANNEL_PREFIX", ""),
    },
)


@app.task(name="work")
def work(number: int, gate: str = "") -> int:
    """Note the execution in database 2, wait until the file `gate` is there, and leave another beside it."""
    with redis.Redis.from_url(f"{URL}/2") as client:
        client.rpush("executed", str(number))
    if gate:
        while not Path(gate).exists():
            time.sleep(0.01)
        Path(f"{gate}.{number}").touch()
    return number


if os.environ.get("CHANNEL_DIE") == "taken":
    make = virtual.Message.__init__

    @functools.wraps(make)
    def die(self: Any, payload: Any, *args: Any, **kwargs: Any) -> None:
        """End the process as the kernel's out-of-memory killer would."""
        if payload["properties"]["delivery_info"]["routing_key"] in QUEUES:
            os.kill(os.getpid(), signal.SIGKILL)
        make(self, payload, *args, **kwargs)

    virtual.Message.__init__ = die
