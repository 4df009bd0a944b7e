"""A Celery app that only publishes, and fails soon.

Its result backend is there for chords alone, whose parts are counted in it. Celery's own subscribes to each result
before it publishes, and a server that is down costs 19 s (``celery/backends/redis.py``, ``on_task_call``).
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
"""How long one step of talking to the broker or the result backend may take: a broker that is down or hangs is told
within 5 s, connecting and publishing together."""

AMQP_SECONDS = 1.5
"""The same for RabbitMQ, where a connection that hangs costs three steps: the message, and two of saying goodbye."""


class WithoutSubscription:
    """Over Celery's Redis backends: what is sent is not waited for, and no longer told as never sent."""

    _direct: DirectClient | None = None

    def on_task_call(self: Any, producer: Any, task_id: str) -> None:  # noqa: ARG002 - Celery's signature
        """In the place of subscribing to its result, which is done when somebody asks for it."""
        self.forget_never_sent(task_id)

    def forget_never_sent(self: Any, *task_ids: str) -> None:
        """Drop the word that these were never sent."""
        forget_never_sent(self.direct_client(), [self.get_key_for_task(task_id) for task_id in task_ids])

    def direct_client(self: Any) -> DirectClient:
        """Commands to its server."""
        direct: DirectClient | None = self._direct
        if direct is None or direct.client is not self.client:
            direct = self._direct = DirectClient(self.client)
        return direct


class PublisherBackend(WithoutSubscription, RedisBackend):
    """Celery's Redis backend."""


class SentinelPublisherBackend(WithoutSubscription, SentinelBackend):
    """Celery's Redis backend behind Sentinels."""


def publisher_app(broker_url: str, result_backend: str = "disabled://") -> Celery:
    """A Celery app that only publishes, and fails soon. Without a result backend it can't send chords."""
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
        # One for all threads: nobody subscribes.
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
    """The transport's options of an app that fails soon."""
    if is_redis(broker_url):
        return {
            "socket_timeout": BROKER_SECONDS,
            "socket_connect_timeout": BROKER_SECONDS,
            "socket_keepalive": True,
            "max_retries": 0,
        }
    # A message that RabbitMQ has not confirmed may be lost: publishing waits for its word.
    timeouts = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), AMQP_SECONDS)
    return {"confirm_publish": True, "max_retries": 0, **timeouts}
