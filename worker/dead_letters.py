"""A consumer that keeps what it can't execute: stock Celery logs such a message with its whole body, and drops it.

And some end the stock worker, each worker that takes them: a command without an id is enough.

Use it with ``worker_consumer = "worker.dead_letters:KeepingConsumer"``. Four kinds end here: a task that nobody
registered, a message without a task, one that is malformed, and content that can't be decoded (or is pickled).
Each goes to the list ``<queue>.dead`` as it came, and only then is acknowledged; when it can't be kept, it stays
unacknowledged and comes again. The log names id and task, and nothing of the body, which may hold a secret.
"""

# Celery and kombu publish no types.
# mypy: disallow-subclassing-any=False

import logging
from collections.abc import Callable
from typing import Any

import redis
from celery import signals
from celery.exceptions import NotRegistered
from celery.worker.consumer import Consumer
from kombu import Queue
from kombu.exceptions import KombuError
from kombu.utils.json import dumps

from producers.report import report_in
from worker.execution.dead import SUFFIX

logger = logging.getLogger("orders.dead")


MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What Celery's own reading of a message ends in where it takes for granted that a message is well made."""


class KeepingConsumer(Consumer):
    """Celery's consumer with another end for what can't be executed."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Celery's own, which a command without an id, or with a body that is no list of three, would get through: the
        error ends the worker, and the message comes again and ends the next."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            try:
                handle(message)
            except MALFORMED as error:
                self.on_invalid_task(None, message, error)

        return on_task_received

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - Celery's signature
        """No task is named in it."""
        if self._keep(message, "it names no task"):
            signals.task_rejected.send(sender=self, message=message, exc=None)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """It names a task, and is no message for one."""
        if self._keep(message, f"it is no task message ({type(exc).__name__})"):
            signals.task_rejected.send(sender=self, message=message, exc=exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Its content is not JSON."""
        self._keep(message, f"its content can't be decoded ({type(exc).__name__})")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """No such task here. Its sender is told as stock Celery tells it, unless the id has a report, which stands."""
        if not self._keep(message, "no worker has this task"):
            return
        name, command_id = _named(message)
        if command_id and not self._has_report(command_id):
            self.app.backend.mark_as_failure(command_id, NotRegistered(name))
            if self.event_dispatcher:
                self.event_dispatcher.send("task-failed", uuid=command_id, exception=f"NotRegistered({name!r})")
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=command_id)

    def _has_report(self, command_id: str) -> bool:
        backend = self.app.backend
        # As it is stored: Celery's own reading makes an exception of it.
        raw = backend.client.get(backend.get_key_for_task(command_id))
        return bool(raw) and report_in(backend.decode(raw)) is not None

    def _keep(self, message: Any, why: str) -> bool:
        """Put it on its queue's list of dead messages, then acknowledge it; False when it could not be kept."""
        info = message.delivery_info or {}
        queue = str(info.get("routing_key") or "unknown")
        name, command_id = _named(message)
        try:
            self._put_aside(message, queue + SUFFIX)
        except (redis.RedisError, KombuError, *self.connection_errors, OSError, TypeError, ValueError) as error:
            # Unacknowledged it comes again, to this worker or another.
            logger.error(  # noqa: TRY400 - the error's text may quote the message
                "a message on %s that can't be executed (%s) could not be kept either: %s; it stays unacknowledged",
                queue,
                why,
                type(error).__name__,
            )
            return False
        logger.error(
            "a message on %s can't be executed and went to %s%s: %s; task=%.100r id=%.255r. See: orders dead",
            queue,
            queue,
            SUFFIX,
            why,
            name,
            command_id,
        )
        message.ack_log_error(logger, self.connection_errors)
        return True

    def _put_aside(self, message: Any, queue: str) -> None:
        """On Redis a list, which is no queue of Celery's; on AMQP a durable queue that nobody consumes from."""
        if hasattr(message.channel, "conn_or_acquire"):
            raw = dumps(message.serializable())
            with message.channel.conn_or_acquire() as client:
                client.lpush(queue, raw)
            return
        # A connection of its own that waits for RabbitMQ's word: the worker's own is in the middle of consuming.
        with self.app.connection_for_write() as connection, connection.Producer() as producer:
            producer.publish(
                message.body,
                exchange="",
                routing_key=queue,
                headers=message.headers,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                declare=[Queue(queue, durable=True)],
            )


def _named(message: Any) -> tuple[str | None, str | None]:
    """Task and id by the headers, where they are words."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    task, command_id = headers.get("task"), headers.get("id")
    return (task if isinstance(task, str) else None), (command_id if isinstance(command_id, str) else None)
