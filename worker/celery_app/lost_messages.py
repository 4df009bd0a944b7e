"""The broker's side of the sweep: how old a queue's oldest message is, and publishing a command again."""

from collections.abc import Callable
from typing import Any

from celery import Celery
from kombu.exceptions import EncodeError, KombuError

from producers.intents import Intent
from worker.broker.envelope_check import OLDEST
from worker.execution.intake import queued_since
from worker.execution.lost_commands import OldestQueued


def oldest_queued(app: Celery) -> OldestQueued:
    """Asks the broker how old the oldest message of a queue is.

    Commands have one priority, so a queue is one list on Redis, taken from its right end (kombu
    ``transport/redis.py``). RabbitMQ tells only how many wait: nothing is taken for lost while anything waits there.
    """

    def ask(queue: str) -> int | None:
        with app.connection_for_read() as connection:
            channel = connection.default_channel
            client = getattr(channel, "client", None)
            if client is None:
                return None if _is_empty(channel, queue, connection.channel_errors) else 0
            kind = client.type(queue)
            if kind == b"none":
                return None
            return queued_since(client.eval(OLDEST, 1, queue)) or 0

    return ask


def _is_empty(channel: Any, queue: str, channel_errors: tuple[type[Exception], ...]) -> bool:
    """Whether no message waits in a queue of AMQP's; a queue that is not there has none either."""
    try:
        return not channel.queue_declare(queue, passive=True).message_count
    except channel_errors:
        return True


def publisher(app: Celery) -> Callable[[Intent], None]:
    """Publishes a command again, with its own id and time of enqueueing.

    Raises, when called:
        OSError: the broker is away.
    """

    def publish(intent: Intent) -> None:
        try:
            app.send_task(
                intent.task,
                kwargs=dict(intent.kwargs),
                task_id=intent.command_id,
                queue=intent.task,
                headers={"enqueued_at": intent.enqueued_at},
                retry=False,
            )
        except EncodeError:
            raise  # of this intent, and no other
        except KombuError as error:
            raise OSError(str(error)) from error

    return publish
