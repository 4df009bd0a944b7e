"""The consumer of a worker (``worker_consumer``): it keeps messages that can't be executed, and reconnects steadily.

Stock Celery logs a message that it can't execute with its whole body, and drops it. Some such messages end the stock
worker, and each worker that takes them next: a command without an id is enough. Here what is no command
(``worker/broker/envelope_check.py``), what is malformed, content that can't be decoded (or is pickled), and a message
that raises while it is taken up go to the list ``<queue>.dead`` as they came. A message is acknowledged only after
that; one that can't be kept stays unacknowledged and is delivered again. Nothing is stored as a result: the id is of
the sender's choice, and may be another command's. The log names id and task, and nothing of the body, which may hold a
secret.

Stock Celery waits 2, 4, 6 … 30 s between two tries to connect, and has no setting for it. A failover behind Sentinels
is over after two or three seconds; a worker that sleeps by then takes no command for as long as it sleeps (measured:
``docs/celery.md``). Then it spends a second on asking other workers which tasks were revoked (``mingle``): here none
ever is, see :mod:`worker.celery_app.remote_control`. A stock worker also reads the events of all others (``gossip``),
keeps what they say of themselves in its memory, and sends any task that an event asks it to (``worker-elect``): here no
worker reads events.
"""

import logging
import struct
from collections.abc import Callable
from time import monotonic
from typing import Any

import redis
from amqp.exceptions import IrrecoverableConnectionError
from celery import signals
from celery.worker.consumer import Consumer
from kombu import Queue
from kombu.exceptions import KombuError
from kombu.utils.json import dumps

from worker.broker.dead_letters import DEAD_SUFFIX
from worker.broker.envelope_check import rejection_reason
from worker.broker.lanes import Fate
from worker.celery_app import eta
from worker.celery_app.direct import DirectWay
from worker.celery_app.request import REQUEST, SentAway
from worker.celery_app.task_events import FLUSH_SECONDS
from worker.execution.policy.producer_auth import NotTrusted

logger = logging.getLogger("orders.dead")


RECONNECT_SECONDS = 0.5
"""Between two tries to connect to the broker: little load on a server that comes back, and a short wait for a worker
that is to stop."""
LOG_EVERY_SECONDS = 10.0
"""How often a failure to connect is logged."""


UNWRITABLE_HEADERS = (
    *(IrrecoverableConnectionError, struct.error),
    *(TypeError, ValueError, ArithmeticError, RecursionError),
)
"""What py-amqp raises for headers that it can't write."""


class PoolRefusedTask(Exception):
    """Raised when the pool does not take a command, which is no fault of the message."""


class OrderConsumer(Consumer):
    """Celery's consumer, which keeps messages that can't be executed and tries to reach its broker at even
    intervals."""

    def __init__(
        self,
        on_task_request: Callable[[Any], Any],
        *args: Any,
        worker_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        def submit(request: Any) -> Any:
            try:
                return on_task_request(request)
            except RecursionError:  # its headers are nested too deeply for the pipe to a child process
                raise
            except Exception as error:
                raise PoolRefusedTask from error

        self._next_flush = 0.0
        without = {"without_mingle": True, "without_gossip": True}
        super().__init__(submit, *args, worker_options={**(worker_options or {}), **without}, **kwargs)

    def ensure_connected(self, conn: Any) -> Any:
        """Celery's own, with even waits between the tries to connect."""
        conn.ensure_connection = at_even_intervals(conn.ensure_connection)
        return super().ensure_connected(conn)

    def update_strategies(self) -> None:
        """Celery's own, for commands alone. Its built-in tasks (``celery.map``, ``celery.accumulate`` and so on) would
        run any task for a sender, with this worker's login and under an id of the sender's choice."""
        super().update_strategies()
        for name, task in self.app.tasks.items():
            if task.Request != REQUEST:
                del self.strategies[name]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Celery's own, which checks the envelope first and moves a message that raises to the dead letters. In stock
        Celery a command without an id, or with a body that is no list of three, ends the worker, and then the next."""
        handle, direct = super().create_task_handler(*args, **kwargs), DirectWay.of(self)

        def on_task_received(message: Any) -> None:
            message.source_queue = self._source_queue(message)
            # Not bound to the message: it would refer to itself, and stay in memory until Python looks for cycles.
            message.move_to_dead, message.send_away = self._move_to_dead, eta.send_away
            why = self._rejection_reason(message)
            if why:
                self._move_to_dead(message, why)
                return
            try:
                # What has a lane, and so keeps others from it, is not parked before its seal is checked.
                sent_away = not getattr(message, "lane", None) and eta.send_away(message)
                if not (sent_away or (direct is not None and direct.take(message))):
                    handle(message)
            except SentAway:
                return
            except PoolRefusedTask as error:
                raise error.__cause__ or error from None
            except (redis.RedisError, KombuError, OSError):
                # An event could not be sent; the message is delivered again.
                raise
            except NotTrusted as refused:
                self._move_to_dead(message, str(refused))
            except Exception as error:  # noqa: BLE001 - one message must stop neither the worker nor other messages
                self.on_invalid_task(None, message, error)

        return on_task_received

    def on_send_event_buffered(self) -> None:
        """Celery's own, which is called from any thread, but the loop sends a little later, and more at once."""
        now = monotonic()
        if self.hub and now >= self._next_flush:
            # The loop calls the timer after this time: nothing that is noted until then is left behind.
            self._next_flush = now + FLUSH_SECONDS
            self.hub.call_soon(self.hub.call_later, FLUSH_SECONDS, self._flush_events)

    def stop(self) -> None:
        """Celery's own, once the events are sent that were noted before."""
        # A second signal may come in the middle of the loop's own flush.
        if self.event_dispatcher is not None and not self.event_dispatcher.mutex.locked():
            self._flush_events()
        super().stop()

    def _source_queue(self, message: Any) -> str:
        """The queue that a message was taken from. The queue that the message itself names was written by its
        sender."""
        queue = getattr(message, "source_queue", None)
        info = message.delivery_info or {}
        if queue is None and "consumer_tag" in info:
            tags = self.task_consumer._active_tags  # noqa: SLF001 - kombu has no public name for it
            queue = next((name for name, tag in tags.items() if tag == info["consumer_tag"]), None)
        return str(queue or info.get("routing_key") or "unknown")

    @staticmethod
    def _rejection_reason(message: Any) -> str | None:
        # On Redis the server has checked the raw message already; kombu's body is decoded from base64 and shorter.
        size = len(getattr(message, "raw_bytes", None) or message.body or "")
        return rejection_reason(message.source_queue, message.headers, message.content_encoding, size)

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Called for a message that names no task."""
        if self._move_to_dead(message, "it names no task"):
            signals.task_rejected.send(sender=self, message=message, exc=None)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Called for a message that names a task and is malformed."""
        if self._move_to_dead(message, f"it is no task message ({type(exc).__name__})"):
            signals.task_rejected.send(sender=self, message=message, exc=exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Called for a message whose content is not JSON."""
        self._move_to_dead(message, f"its content can't be decoded ({type(exc).__name__})")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Called for a message whose task this worker does not have."""
        if self._move_to_dead(message, "no worker has this task"):
            name, command_id = _task_and_id(message)
            signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=command_id)

    def _move_to_dead(self, message: Any, why: str) -> bool:
        """Put a message on its queue's list of dead letters and acknowledge it; False when that was not possible."""
        queue = self._source_queue(message)
        name, command_id = _task_and_id(message)
        try:
            self._push_to_dead(message, queue + DEAD_SUFFIX)
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop goes on
            # Unacknowledged, it is delivered again, to this worker or another.
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
            DEAD_SUFFIX,
            why,
            name,
            command_id,
        )
        message.fate = Fate.DEAD
        message.ack_log_error(logger, self.connection_errors)
        return True

    def _push_to_dead(self, message: Any, queue: str) -> None:
        """Put a message on the list of dead letters, or on AMQP on a durable queue that nobody consumes from."""
        if hasattr(message.channel, "conn_or_acquire"):
            raw = getattr(message, "raw_bytes", None) or dumps(message.serializable())
            with message.channel.conn_or_acquire() as client:
                client.lpush(queue, raw)
            return
        as_it_came = {
            "headers": message.headers,
            "content_type": message.content_type,
            "content_encoding": message.content_encoding,
        }
        try:
            self._publish_to_dead(message.body, queue, as_it_came)
        except UNWRITABLE_HEADERS as error:
            # py-amqp reads more than it writes. Unacknowledged, the message would take a place of those that a worker
            # may have, for as long as the worker lives.
            self._publish_to_dead(message.body, queue, {"headers": {"orders_unwritable": type(error).__name__}})

    def _publish_to_dead(self, body: Any, queue: str, properties: dict[str, Any]) -> None:
        # On a connection of its own, which waits for RabbitMQ's confirmation: the worker's own is busy consuming.
        with self.app.connection_for_write() as connection, connection.Producer() as producer:
            producer.publish(
                body,
                exchange="",
                routing_key=queue,
                declare=[Queue(queue, durable=True)],
                **{"content_type": "application/octet-stream", "content_encoding": "binary", **properties},
            )


def _task_and_id(message: Any) -> tuple[str | None, str | None]:
    """Task and id by the headers, each None where it is no string."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    task, command_id = headers.get("task"), headers.get("id")
    return (task if isinstance(task, str) else None), (command_id if isinstance(command_id, str) else None)


def at_even_intervals(ensure: Callable[..., Any]) -> Callable[..., Any]:
    """kombu's ``ensure_connection`` with a try every half second, and a failure logged every ten seconds."""

    def ensure_connection(errback: Callable[[Exception, float], None], *limits: Any, **options: Any) -> Any:
        logged_at = float("-inf")

        def log_sometimes(error: Exception, interval: float) -> None:
            nonlocal logged_at
            if monotonic() - logged_at >= LOG_EVERY_SECONDS:
                logged_at = monotonic()
                errback(error, interval)

        waits = {"interval_start": RECONNECT_SECONDS, "interval_step": 0, "interval_max": RECONNECT_SECONDS}
        return ensure(log_sometimes, *limits, **{**options, **waits})

    return ensure_connection
