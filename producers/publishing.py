"""A Celery app that only publishes and fails fast.

It needs a result backend only for chords, whose finished parts are counted there. Celery's own backend subscribes to
each result before publishing, which takes 19 s with a server that is down (``celery/backends/redis.py``,
``on_task_call``).
"""

# Celery publishes no types.
# mypy: disallow-subclassing-any=False

from typing import Any

from celery import Celery
from celery.backends.redis import RedisBackend, SentinelBackend

from producers.celery_app import OwnSettingsCelery
from producers.redis.direct import DirectClient
from producers.redis.url import is_redis
from producers.results import forget_never_sent

BROKER_SECONDS = 2.0
"""Timeout of one step with the broker or the result backend. Connecting and publishing together fail within 5 s when
the broker is down or hangs."""

AMQP_SECONDS = 1.5
"""Timeout of one step with RabbitMQ, where a hanging connection takes three steps: the message, and two to close it."""


class WithoutSubscription:
    """A mix-in for Celery's Redis backends: publishing subscribes to nothing, and deletes the mark that the command was
    never sent."""

    _direct: DirectClient | None = None

    def on_task_call(self: Any, producer: Any, task_id: str) -> None:  # noqa: ARG002 - Celery's signature
        """Celery's hook before publishing, where its own backend subscribes to the result."""
        self.forget_never_sent(task_id)

    def forget_never_sent(self: Any, *task_ids: str) -> None:
        """Delete the mark that these commands were never sent."""
        forget_never_sent(self.direct_client(), [self.get_key_for_task(task_id) for task_id in task_ids])

    def direct_client(self: Any) -> DirectClient:
        """A client for direct commands to the backend's server."""
        direct: DirectClient | None = self._direct
        if direct is None or direct.client is not self.client:
            direct = self._direct = DirectClient(self.client)
        return direct


class PublisherBackend(WithoutSubscription, RedisBackend):
    """Celery's Redis backend for a publisher."""


class SentinelPublisherBackend(WithoutSubscription, SentinelBackend):
    """Celery's Sentinel backend for a publisher."""


def publisher_app(broker_url: str, result_backend: str = "disabled://") -> Celery:
    """A Celery app that only publishes and fails fast. Without a result backend it cannot send chords."""
    app = OwnSettingsCelery("producers", broker_url=broker_url, result_backend=result_backend)
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,
        broker_connection_timeout=BROKER_SECONDS,
        broker_connection_retry=False,
        broker_connection_max_retries=0,
        broker_transport_options=publisher_options(broker_url),
        # One backend for all threads: none of them subscribes.
        result_backend_thread_safe=True,
        redis_socket_timeout=BROKER_SECONDS,
        redis_socket_connect_timeout=BROKER_SECONDS,
        result_backend_transport_options={
            **app.conf.result_backend_transport_options,
            "retry_policy": {"max_retries": 1, "timeout": BROKER_SECONDS},
        },
    )
    app.loader.override_backends = {
        **app.loader.override_backends,
        "redis": f"{__name__}:PublisherBackend",
        "rediss": f"{__name__}:PublisherBackend",
        "sentinel": f"{__name__}:SentinelPublisherBackend",
    }
    return app


def publisher_options(broker_url: str) -> dict[str, Any]:
    """Transport options for an app that fails fast."""
    if is_redis(broker_url):
        return {
            "socket_timeout": BROKER_SECONDS,
            "socket_connect_timeout": BROKER_SECONDS,
            "socket_keepalive": True,
            "max_retries": 0,
        }
    # A message that RabbitMQ has not confirmed may be lost, so publishing waits for the confirmation.
    timeouts = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), AMQP_SECONDS)
    return {"confirm_publish": True, "max_retries": 0, **timeouts}
