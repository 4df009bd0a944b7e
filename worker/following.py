"""What a sender wants sent after a command: its ``link``, the rest of its ``chain``, its ``link_error``.

Stock Celery sends it while it ends the task, and what goes wrong with that becomes the task's end: ``OperationalError``
in the place of the report of an order that was executed, and the rest of the chain is gone. A ``link_error`` that can't
be sent even keeps the message unacknowledged and its slot taken for as long as the worker lives. Here it is sent before
the end. While the broker takes nothing, the message goes back: the ledger knows the command's report, and what follows
has an id of its own, so that sending it twice does no harm. What can never be sent is told in the log, and the report
stands.
"""

import logging
from collections.abc import Callable
from typing import Any

import redis
from celery import Task
from celery.canvas import signature
from celery.exceptions import Reject
from kombu.exceptions import ConnectionError, OperationalError  # noqa: A004 - AMQP's

logger = logging.getLogger("orders.following")

PASSING = (
    *(OperationalError, ConnectionError, OSError, redis.ConnectionError, redis.TimeoutError),
    *(redis.OutOfMemoryError, redis.ReadOnlyError),
)
"""The broker is away, full, or a replica for now. Not what kombu's transports call errors of the connection: for Redis
``KeyError`` is among them, as for a queue that there isn't, and the message would go round without a rest."""


def send_next(task: Task, result: Any) -> None:
    """Send what follows an accepted command, in Celery's place.

    Raises:
        Reject: the broker takes nothing for now.
    """
    request = task.request
    ids = {"parent_id": request.id, "root_id": request.root_id or request.id}

    def send() -> None:
        for link in request.callbacks or ():
            signature(link, app=task.app).apply_async((result,), **ids)
        if request.chain:
            signature(request.chain[-1], app=task.app).apply_async((result,), chain=request.chain[:-1], **ids)

    _send(task, send)
    request.callbacks = request.chain = None


def send_errbacks(task: Task, error: Exception) -> None:
    """The same for a command that was not accepted. The rest of its chain is told of it by Celery."""
    if task.request.errbacks:
        _send(task, lambda: task.backend._call_task_errbacks(task.request, error, None))  # noqa: SLF001 - no other way
        task.request.errbacks = None


def _send(task: Task, send: Callable[[], None]) -> None:
    try:
        send()
    except PASSING as error:
        raise Reject(f"what follows can't be sent for now ({type(error).__name__})", requeue=True) from None
    except Exception as error:  # noqa: BLE001 - a sender may ask for anything, and the command has ended
        # Its text may quote arguments.
        logger.error(  # noqa: TRY400
            "what was to follow id=%s task=%s can't be sent (%s); its report stands",
            task.request.id,
            task.name,
            type(error).__name__,
        )
