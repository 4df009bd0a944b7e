"""Four thin tasks: decode the message, execute, hand the report to Celery."""

import json
from collections.abc import Callable
from typing import Any

import redis
from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from producers.commands import COMMANDS, Positions
from producers.errors import OrderError, error_for
from producers.report import Report, report_in
from worker.execution.claims import GaveUpWaiting
from worker.execution.executor import Executor
from worker.execution.intake import Envelope


class OrderTask(Task):
    """A command's task. A report that is not ``accepted`` is raised as its :class:`OrderError`."""

    abstract = True
    # An expected end of a command, not a fault: logged in one line, without a traceback.
    throws = (OrderError,)
    # A report is of any size; its first fields (id, command, account, outcome, reason, message) are what logs and
    # Flower show of it.
    resultrepr_maxsize = 240
    # Arguments are checked by the command's model, whose refusal becomes a report.
    typing = False


def register(app: Celery, executor: Callable[[], Executor]) -> None:
    """Register the task of every command; ``executor`` is asked for at the first execution."""

    def run(task: OrderTask, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return finish(_execute(task, executor(), args, kwargs))

    for name in COMMANDS:
        app.task(run, bind=True, base=OrderTask, name=name, acks_late=True)


def _execute(task: OrderTask, executor: Executor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Report | None:
    stored = _stored_query(task)
    if stored is not None:
        return stored
    envelope = Envelope(
        command_id=task.request.id,
        task=task.name,
        arguments=kwargs,
        positional=len(args),
        enqueued_at=_enqueued_at(task.request.headers),
        redelivered=bool((task.request.delivery_info or {}).get("redelivered")),
    )
    try:
        return executor.execute(envelope)
    except GaveUpWaiting as reason:
        raise Reject(str(reason), requeue=True) from None


def finish(report: Report | None) -> dict[str, Any]:
    """The report as Celery's result, or raised as its error.

    Raises:
        OrderError: ``rejected``, ``not_sent`` and ``unknown``.
        Ignore: the id belongs to another command that has no report yet; nothing is stored over its answer.
    """
    if report is None:
        raise Ignore
    error = error_for(report)
    if error is not None:
        raise error
    return report.to_json()


def _stored_query(task: OrderTask) -> Report | None:
    """The report of a query that has this id: queries cost the ledger nothing, so their stored result is their memory.

    It answers the same query again, and it keeps a mutating command from taking a query's id. A result backend that is
    away is no reason not to go on.
    """
    try:
        raw = task.backend.client.get(task.backend.get_key_for_task(task.request.id))
    except (redis.RedisError, OSError):
        return None
    report = report_in(json.loads(raw)) if raw else None
    if report is None or report.command_id != task.request.id or report.command != Positions.name:
        return None
    return report.as_replay()


def _enqueued_at(headers: Any) -> int | None:
    value = headers.get("enqueued_at") if isinstance(headers, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**15 else None
