"""A command's message as it is kept while the command is held: enough to publish it again, with whatever follows it."""

from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.app.task import Context
from kombu.exceptions import EncodeError, KombuError

from producers import exact_json
from producers.commands import COMMANDS
from producers.lanes import LANE_HEADER, UNKNOWN_HEADER
from worker.celery_app.parked import AGAIN_HEADER

OPTIONS = (
    *("root_id", "parent_id", "group_id", "group_index", "chord", "chain", "link", "link_error"),
    *("expires", "reply_to", "replaced_task_nesting"),
)
"""What of a message's options is kept, by Celery's names (``Context.as_execution_options``)."""
HEADERS = ("enqueued_at", "orders_seal", LANE_HEADER, UNKNOWN_HEADER)
"""Headers of ours that are kept. Others of our names were set by this worker, and must not come from a message."""


def kept_message(task: str, request: Context) -> str:
    """The message of a request of the task with this name, as JSON."""
    options = request.as_execution_options()
    headers = {
        name: value
        for name, value in (request.headers or {}).items()
        if name in HEADERS or not name.startswith("orders_")
    }
    kept = {name: options[name] for name in OPTIONS if options.get(name)}
    return exact_json.dumps({"task": task, "kwargs": request.kwargs, "options": kept, "headers": headers}, default=str)


def kept_publisher(app: Celery) -> Callable[[str, str], None]:
    """A function that publishes a kept message again, given the command's id.

    The function raises:
        OSError: the broker is away, or refuses the message.
        Exception: of any other kind; it is no kept message.
    """

    def publish(command_id: str, text: str) -> None:
        kept: dict[str, Any] = exact_json.loads(text)
        task = kept["task"]
        if task not in COMMANDS:
            raise ValueError("it is no command")
        options = {name: value for name, value in kept["options"].items() if name in OPTIONS}
        headers = {**kept["headers"], AGAIN_HEADER: True}
        try:
            app.send_task(
                task, kwargs=kept["kwargs"], task_id=command_id, queue=task, headers=headers, retry=False, **options
            )
        except EncodeError:
            raise  # no OSError, because the broker is there: this message alone is bad
        except KombuError as error:
            raise OSError(str(error)) from error

    return publish
