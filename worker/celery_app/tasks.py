"""Four thin tasks: decode the message, execute, hand the report to Celery."""

from collections.abc import Callable, Sequence
from typing import Any

import redis
from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from producers.commands import COMMANDS, Positions
from producers.errors import OrderError
from producers.redaction import HIDDEN, hidden_values, redact_text
from producers.report import Report, error_for
from producers.results import NeverSent, read_result
from worker.broker.messages import enqueued_at
from worker.celery_app.callbacks import give_up_next, send_errbacks, send_next
from worker.celery_app.request import REFUSAL, REQUEST, utc
from worker.execution.context import Envelope
from worker.execution.executor import Executor
from worker.execution.intake import fingerprint_of
from worker.execution.lease import RequeueMessage


class OrderTask(Task):
    """A command's task. A report that is not ``accepted`` is raised as its :class:`OrderError`."""

    abstract = True
    # An expected end of a command, not a fault: logged in one line, without a traceback.
    throws = (OrderError,)
    # What logs and Flower show of a report: its first fields, and never as far as the venue's own words and amounts.
    resultrepr_maxsize = 100
    Request = REQUEST
    hidden: frozenset[str] = HIDDEN
    # Arguments are checked by the command's model, whose refusal becomes a report.
    typing = False

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """As the worker calls it. Celery's own would take an argument called ``self`` for another thing."""
        return self.run(*args, **kwargs)


def register(app: Celery, executor: Callable[[], Executor], hidden: frozenset[str] = HIDDEN) -> None:
    """Register the task of every command; ``executor`` is asked for at the first execution. ``hidden`` names the
    arguments whose values are not shown."""

    def run(task: OrderTask, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        report = _execute(task, executor(), args, kwargs)
        if report is None or (report.replayed and report.fingerprint != fingerprint_of(task.name, kwargs)):
            give_up_next(task, f"id {task.request.id} belongs to another command, so this one was not executed")
        try:
            result = finish(report, hidden_values(kwargs, task.hidden))
        except OrderError as error:
            send_errbacks(task, error)
            raise
        send_next(task, result)
        return result

    for name in COMMANDS:
        app.task(run, bind=True, base=OrderTask, name=name, acks_late=True, hidden=hidden, shared=False)


def _execute(task: OrderTask, executor: Executor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Report | None:
    envelope = Envelope(
        command_id=task.request.id,
        task=task.name,
        arguments=kwargs,
        positional=len(args),
        enqueued_at=enqueued_at(task.request.headers),
        redelivered=bool((task.request.delivery_info or {}).get("redelivered")),
        expires_at=_milliseconds(task.request.expires),
        refusal=task.request.get(REFUSAL),
    )
    stored = _known_without_ledger(task)
    try:
        return executor.execute(envelope) if stored is None else executor.replay_report(envelope, stored)
    except RequeueMessage as reason:
        raise Reject(str(reason), requeue=True) from None


def finish(report: Report | None, unseen: Sequence[str] = ()) -> dict[str, Any]:
    """The report as Celery's result, or raised as its error, whose text shows none of the ``unseen`` values.

    Raises:
        OrderError: ``rejected``, ``not_sent`` and ``unknown``.
        Ignore: the id belongs to another command that has no report yet; nothing is stored over its answer.
    """
    if report is None:
        raise Ignore
    error = error_for(report)
    if error is not None:
        # The report itself, the error's argument, stays whole.
        error.report["message"] = redact_text(report.message, unseen)
        raise error
    return report.to_json()


def _known_without_ledger(task: OrderTask) -> Report | None:
    """The stored report of this id where a query has to do with it: queries leave nothing in the ledger, so results
    are their memory.

    It answers the same query again, keeps a mutating command from taking a query's id, and a query from writing over
    the report of a mutating command. A result backend that is away is no reason not to go on.
    """
    try:
        raw = task.backend.get(task.backend.get_key_for_task(task.request.id))
    except (redis.RedisError, OSError, ValueError):
        return None
    report = read_result(raw, task.request.id)
    if isinstance(report, NeverSent):
        # It was: whoever waits for it must not be told otherwise meanwhile.
        task.backend.forget_never_sent(task.request.id)
    if not isinstance(report, Report):
        return None
    return report if Positions.name in (report.command, task.name.removeprefix("orders.")) else None


def _milliseconds(expires: Any) -> int | None:
    """When a message expires, UNIX ms; None when it does not say."""
    return int(utc(expires).timestamp() * 1000) if isinstance(expires, str) else None
