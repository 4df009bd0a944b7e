"""The broker's side of the sweep: how old a queue's oldest message is, and publishing a command again."""

from collections.abc import Callable

from celery import Celery
from kombu.exceptions import EncodeError, KombuError

from producers.intents import Intent


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
