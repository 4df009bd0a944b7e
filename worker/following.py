"""What a sender wants sent after a command: its ``link``, the rest of its ``chain``, its ``link_error``.

Stock Celery sends it while it ends the task, and what goes wrong with that becomes the task's end: ``OperationalError``
in the place of the report of an order that was executed, and the rest of the chain is gone. A ``link_error`` that can't
be sent even keeps the message unacknowledged and its slot taken for as long as the worker lives. Here it is sent before
the end. While the broker takes nothing, the message goes back: the ledger knows the command's report, and what follows
has the same id each time, so that sending it twice does no harm. What can never be sent is told in the log; the report
stands, and whatever else was to follow is sent.
"""

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import NAMESPACE_OID, uuid5

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

    def send(link: Any, place: str, **more: Any) -> None:
        signature(named(link, f"{request.id}/{place}"), app=task.app).apply_async((result,), **more, **ids)

    for place, link in enumerate(_listed(request.callbacks)):
        _send(task, partial(send, link, f"link/{place}"))
    if request.chain:
        _send(task, lambda: send(request.chain[-1], "chain", chain=request.chain[:-1]))
    request.callbacks = request.chain = None


def send_errbacks(task: Task, error: Exception) -> None:
    """The same for a command that was not accepted. The rest of its chain is told of it by Celery."""
    request = task.request

    def send(link: Any, place: str) -> None:
        request.errbacks = [named(link, f"{request.id}/{place}")]
        task.backend._call_task_errbacks(request, error, None)  # noqa: SLF001 - no other way

    for place, link in enumerate(_listed(request.errbacks)):
        _send(task, partial(send, link, f"link_error/{place}"))
    request.errbacks = None


def named(link: Any, seed: str) -> Any:
    """The same signature with an id for each task in it that has none, made of ``seed`` and of what it asks for.

    Celery would make a new one each time that it sends it: a command that is delivered twice, or sent again by a sender
    who wants to be sure, would have what follows it executed twice.
    """
    if not isinstance(link, Mapping):
        return link
    arguments, options = link.get("kwargs") or {}, link.get("options") or {}
    parts = ("tasks", "header", "body") if link.get("subtask_type") in ("chain", "group", "chord") else ()
    inner = {name: _all_named(arguments[name], f"{seed}/{name}") for name in parts if name in arguments}
    if inner:
        return {**link, "kwargs": {**arguments, **inner}}
    asked = json.dumps([seed, link.get("task"), link.get("args"), arguments], sort_keys=True, default=str)
    return {**link, "options": {"task_id": str(uuid5(NAMESPACE_OID, asked)), **options}}


def _all_named(links: Any, seed: str) -> Any:
    if isinstance(links, list | tuple):
        return [named(each, f"{seed}/{place}") for place, each in enumerate(links)]
    return named(links, seed)


def _listed(links: Any) -> list[Any]:
    return list(links) if isinstance(links, list | tuple) else [links] if links else []


def _passes(error: Exception) -> bool:
    """Whether the same may be sent in a while. kombu calls whatever Redis refuses operational, what it always will
    refuse as well."""
    why = error.__cause__
    never = isinstance(why, redis.exceptions.NoPermissionError) or str(why).startswith("WRONGTYPE")
    return isinstance(error, PASSING) and not never


def _send(task: Task, send: Callable[[], None]) -> None:
    try:
        send()
    except Exception as error:  # noqa: BLE001 - a sender may ask for anything, and the command has ended
        if _passes(error):
            raise Reject(f"what follows can't be sent for now ({type(error).__name__})", requeue=True) from None
        # Its text may quote arguments.
        logger.error(  # noqa: TRY400
            "what was to follow id=%s task=%s can't be sent (%s); its report stands",
            task.request.id,
            task.name,
            type(error).__name__,
        )
