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
from worker.celery_app.queues import POSITIONS, QUEUES, SERVED
from worker.settings import WorkerSettings
from worker.venues.accounts import host_of
from worker.venues.registry import address_of

CONCURRENCY = 16
"""Threads of a process: enough to wait for venues, few enough that they don't contend for the interpreter lock."""

SWEEP_SECONDS = 5
"""How often messages whose visibility timeout has passed are put back on their queues."""

SENTINEL_TIMEOUT_SECONDS = 3
"""How long a broker behind Sentinels may take to answer: the loop that takes commands is blocked meanwhile."""


def visibility_timeout(settings: WorkerSettings) -> int:
    """Seconds after which an unacknowledged message is given to another worker.

    Longer than one execution can take, because a shorter one would often give a running command to a second worker
    (which the ledger lets wait, in a slot of its pool); with the default settings short enough that a killed worker's
    command is redelivered within 60 s: after 50 s, checked every 5 s."""
    return max(50, math.ceil(settings.longest_run_seconds) + 5)


def broker_transport(settings: WorkerSettings) -> str | None:
    """The transport to use in place of kombu's own; None for kombu's own.

    On Redis, ours survives the loss of the server with commands in flight, where a worker on kombu's own exits (m). On
    RabbitMQ, which redelivers unacknowledged messages by itself, ours decompresses no message.
    """
    if not is_redis(settings.broker_url):
        secure = urlsplit(settings.broker_url).scheme == "amqps"
        return f"worker.broker.amqp:{'SSLTransport' if secure else 'Transport'}"
    if settings.stock_transport:
        return None
    return f"worker.broker.transport:{'SentinelTransport' if is_sentinel(settings.broker_url) else 'Transport'}"


def broker_options(settings: WorkerSettings) -> dict[str, Any]:
    """The transport's options; another transport would refuse those of Redis."""
    if not is_redis(settings.broker_url):
        return {"confirm_publish": True, "connect_timeout": 5}
    # Behind Sentinels a server that hangs is replaced within seconds, so it is not waited for any longer (m).
    timeout = SENTINEL_TIMEOUT_SECONDS if is_sentinel(settings.broker_url) else 10
    return {
        **to_celery_url(settings.broker_url).options,
        "visibility_timeout": visibility_timeout(settings),
        # Stock kombu puts messages back every 100 s (m); these make it every 5 s.
        "unacked_restore_interval": SWEEP_SECONDS,
        "unacked_restore_throttle": 1,
        # A worker killed while it puts messages back holds the lock for this long; stock: 300 s.
        "unacked_mutex_expire": 10,
        "queue_order_strategy": "priority",
        # Only commands are delivered from these queues, and no account has more than its share of the threads. The
        # stock transport does not know the options.
        **({} if settings.stock_transport else {"gated_queues": SERVED, "accounts": _thread_shares(settings)}),
        "socket_keepalive": True,
        "socket_connect_timeout": min(5, timeout),
        "socket_timeout": timeout,
        "health_check_interval": timeout,
    }


def _thread_shares(settings: WorkerSettings) -> dict[str, tuple[str, float | None]]:
    """By account: where its venue is reached, and its share of a worker's threads, None for the default."""
    return {alias: (host_of(address_of(account)), account.thread_share) for alias, account in settings.accounts.items()}


def chosen_pool(argv: Sequence[str]) -> str:
    """``threads``, unless the command line asks for ``prefork``: Celery mistakes that word for its own default and
    silently uses the configured pool (``celery/bin/worker.py``, ``WorkersPool``). Any other pool it uses as asked."""
    pairs = itertools.pairwise(argv)
    wants_prefork = any(pair in (("-P", "prefork"), ("--pool", "prefork")) for pair in pairs)
    return "prefork" if wants_prefork or not {"-Pprefork", "--pool=prefork"}.isdisjoint(argv) else "threads"


def celery_config(settings: WorkerSettings) -> dict[str, Any]:
    """The configuration as Celery takes it."""
    return {**_tasks(), **_broker(settings), **_results(settings), **_worker()}


def _tasks() -> dict[str, Any]:
    return {
        # Declared as Celery declares a queue that a sender names, so that both have the same binding.
        "task_queues": [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in SERVED],
        # For Celery's own helper tasks; commands are routed by name.
        "task_default_queue": POSITIONS,
        "task_routes": {name: {"queue": name} for name in QUEUES},
        "task_create_missing_queues": False,
        # JSON alone: nothing that arrives is ever unpickled.
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        # A message is acknowledged when its report is stored, so that a killed worker's command is redelivered.
        "task_acks_late": True,
        # With a pool of processes, a killed child's message is requeued at once; the ledger limits the repeats.
        "task_reject_on_worker_lost": True,
        # A STARTED state would overwrite the report of an id that is sent again.
        "task_track_started": False,
        "task_send_sent_event": False,
        # Dates in reports are UNIX milliseconds; Celery's own are UTC.
        "enable_utc": True,
        "timezone": "UTC",
    }


def _broker(settings: WorkerSettings) -> dict[str, Any]:
    return {
        "broker_url": to_celery_url(settings.broker_url).url,
        "broker_transport": broker_transport(settings),
        "broker_transport_options": broker_options(settings),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A server that is full, or a replica for now, refuses what a worker writes when it connects; the worker waits.
        "broker_channel_error_retry": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # After a lost connection Celery takes fewer messages until the running tasks have ended, and then tells the
        # broker from the pool's thread that ended the last, while the loop reads the same connection. On AMQP one of
        # them then waits for ever for an answer that the other has read, and the worker takes no message any more (m).
        "worker_enable_prefetch_count_reduction": is_redis(settings.broker_url),
    }


def _results(settings: WorkerSettings) -> dict[str, Any]:
    backend = to_celery_url(settings.result_backend)
    return {
        "result_backend": backend.url,
        # A result is stored again and again until the backend is back; the message stays unacknowledged meanwhile.
        "result_backend_always_retry": True,
        "result_backend_max_sleep_between_retries_ms": 1000,
        "result_backend_transport_options": {"retry_policy": {"timeout": 5.0}, **backend.options},
        "redis_socket_timeout": 10,
        "redis_socket_connect_timeout": 5,
        "redis_socket_keepalive": True,
        "redis_retry_on_timeout": True,
        "redis_backend_health_check_interval": 10,
        "result_expires": settings.ledger.keep_days * 86_400,
    }


def _worker() -> dict[str, Any]:
    return {
        # Tries to connect twice a second, where stock Celery waits up to 30 s (m); and keeps messages that can't be
        # executed on `<queue>.dead`, where stock Celery logs and drops them, or exits.
        "worker_consumer": "worker.celery_app.consumer:OrderConsumer",
        # A worker takes only commands that it starts at once: none waits there while another worker is free.
        "worker_prefetch_multiplier": 1,
        # Threads, because the work is waiting for a venue. Compared with prefork, solo and gevent in docs/celery.md.
        "worker_pool": chosen_pool(sys.argv),
        "worker_concurrency": CONCURRENCY,
        # Flower switches events on while it runs (`enable_events`, its default); unread, they only cost time.
        "worker_send_task_events": False,
        # Flower and `celery inspect` reach workers through remote control, which can't start a command.
        "worker_enable_remote_control": True,
        "worker_hijack_root_logger": True,
        "worker_log_format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        "worker_task_log_format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        "worker_redirect_stdouts": False,
    }
