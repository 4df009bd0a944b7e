"""Celery's settings for workers that may be killed at any moment; each value with its reason.

Facts marked (m) were measured, see ``docs/celery.md``.
"""

import itertools
import math
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from kombu.entity import Exchange, Queue

from producers.celery_app import to_celery_url
from producers.redis.url import is_redis, is_sentinel
from worker.celery_app.queues import QUEUES, SERVED
from worker.settings import WorkerSettings

CONCURRENCY = 16
"""Threads a process: enough to wait for venues in, few enough that they don't fight for the interpreter."""

SWEEP_SECONDS = 5

HUNG_SECONDS = 3
"""How long a broker behind Sentinels may be silent: the loop that takes commands stands still meanwhile."""


def visibility_timeout(settings: WorkerSettings) -> int:
    """Seconds after which an unacknowledged message is given to another worker.

    Longer than one execution can take, or commands would run twice at the same time as a rule (the ledger stops the
    second, at the cost of a waiting slot); with the default settings short enough that a killed worker's command is
    redelivered within 60 s: 50 s and a sweep every 5 s.
    """
    return max(50, math.ceil(settings.longest_run_seconds) + 5)


def broker_transport(settings: WorkerSettings) -> str | None:
    """The transport to use in the place of kombu's own; None for its own.

    Ours survives the loss of a Redis server with commands in flight, where stock kombu's worker exits (m). RabbitMQ
    keeps what is not acknowledged by itself; ours opens no compressed message.
    """
    if not is_redis(settings.broker_url):
        secure = urlsplit(settings.broker_url).scheme == "amqps"
        return f"worker.broker.amqp:{'SSLTransport' if secure else 'Transport'}"
    if settings.stock_transport:
        return None
    return f"worker.broker.transport:{'SentinelTransport' if is_sentinel(settings.broker_url) else 'Transport'}"


def broker_options(settings: WorkerSettings) -> dict[str, Any]:
    """The transport's options; those of Redis would be refused by any other."""
    if not is_redis(settings.broker_url):
        return {"confirm_publish": True, "connect_timeout": 5}
    # Behind Sentinels a server that hangs has a successor after seconds: it is not worth waiting for (m).
    patience = HUNG_SECONDS if is_sentinel(settings.broker_url) else 10
    return {
        **to_celery_url(settings.broker_url).options,
        "visibility_timeout": visibility_timeout(settings),
        # Stock sweeps every 100 s (m); these make it every 5.
        "unacked_restore_interval": SWEEP_SECONDS,
        "unacked_restore_throttle": 1,
        # A worker killed while sweeping holds the sweep's lock for this long; stock: 300 s.
        "unacked_mutex_expire": 10,
        "queue_order_strategy": "priority",
        # Nothing but commands comes out of them; the stock transport does not know the word.
        **({} if settings.stock_transport else {"gated_queues": SERVED}),
        "socket_keepalive": True,
        "socket_connect_timeout": min(5, patience),
        "socket_timeout": patience,
        "health_check_interval": patience,
    }


def chosen_pool(argv: Sequence[str]) -> str:
    """Threads, unless the command line asks for ``prefork``: Celery takes that word for its own default, and in silence
    uses the pool that is configured (``celery/bin/worker.py``, ``WorkersPool``). It heeds every other one."""
    pairs = itertools.pairwise(argv)
    asked = any(pair in (("-P", "prefork"), ("--pool", "prefork")) for pair in pairs)
    return "prefork" if asked or not {"-Pprefork", "--pool=prefork"}.isdisjoint(argv) else "threads"


def celery_config(settings: WorkerSettings) -> dict[str, Any]:
    """The configuration as Celery takes it."""
    return {
        "broker_url": to_celery_url(settings.broker_url).url,
        "broker_transport": broker_transport(settings),
        "result_backend": to_celery_url(settings.result_backend).url,
        # Declared as Celery declares a queue that a sender names, so that both bind the same.
        "task_queues": [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in SERVED],
        # For Celery's own helper tasks; commands are routed by name.
        "task_default_queue": "orders.positions",
        "task_routes": {name: {"queue": name} for name in QUEUES},
        "task_create_missing_queues": False,
        # Tries to connect twice a second, where stock Celery waits up to 30 s (m). And what can't be executed
        # is kept on `<queue>.dead`; stock Celery logs it whole and drops it, or ends of it.
        "worker_consumer": "worker.celery_app.reconnect:SteadyConsumer",
        # JSON alone: nothing that arrives is ever unpickled.
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        # The message is acknowledged when the report stands, so a killed worker's command is redelivered.
        "task_acks_late": True,
        # With a pool of processes, a killed child's message goes back at once; the ledger bounds the repeats.
        "task_reject_on_worker_lost": True,
        # Nothing is taken that isn't started: no command waits in a worker while another worker is free.
        "worker_prefetch_multiplier": 1,
        # A STARTED state would overwrite the report of an id that is sent again.
        "task_track_started": False,
        # Threads: the work is waiting for a venue. Measured beside prefork, solo and gevent: docs/celery.md.
        "worker_pool": chosen_pool(sys.argv),
        "worker_concurrency": CONCURRENCY,
        "broker_transport_options": broker_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A server that is full, or a replica just now, refuses what a worker writes when it connects: no reason to end.
        "broker_channel_error_retry": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # After a lost connection Celery takes fewer messages until what runs has ended, and then says so to the broker
        # from whichever thread of the pool ended it, while the loop reads the same connection. On AMQP one of the two
        # waits for an answer that the other has read, for ever, and the worker takes nothing any more (m).
        "worker_enable_prefetch_count_reduction": is_redis(settings.broker_url),
        # Results: stored again and again until the backend is back, the message unacknowledged meanwhile.
        "result_backend_always_retry": True,
        "result_backend_max_sleep_between_retries_ms": 1000,
        "result_backend_transport_options": {
            "retry_policy": {"timeout": 5.0},
            **to_celery_url(settings.result_backend).options,
        },
        "redis_socket_timeout": 10,
        "redis_socket_connect_timeout": 5,
        "redis_socket_keepalive": True,
        "redis_retry_on_timeout": True,
        "redis_backend_health_check_interval": 10,
        "result_expires": settings.ledger.keep_days * 86_400,
        # Flower switches them on while it looks (`enable_events`, its default); they cost a quarter of a worker's time.
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        # Dates in reports are UNIX milliseconds; Celery's own are UTC.
        "enable_utc": True,
        "timezone": "UTC",
        # Flower and `celery inspect` reach workers through remote control; nothing there can start a command.
        "worker_enable_remote_control": True,
        "worker_hijack_root_logger": True,
        "worker_log_format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        "worker_task_log_format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        "worker_redirect_stdouts": False,
    }
