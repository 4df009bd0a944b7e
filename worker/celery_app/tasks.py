"""The tasks of the commands: decode the message, execute it, hand the report to Celery."""

from collections.abc import Callable
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from producers.commands import COMMANDS
from producers.errors import OrderError
from producers.redaction import HIDDEN, hidden_values, redact_text
from producers.report import Report, error_for
from worker.broker.messages import enqueued_at_ms
from worker.celery_app.callbacks import discard_callbacks, send_callbacks, send_errbacks
from worker.celery_app.kept_messages import kept_message
from worker.celery_app.parked import ParkRejected, log_no_parking
from worker.celery_app.request import AUTHORITY_KEY, END_KEY, PARKS_KEY, REFUSAL_KEY, REQUEST, expires_at_ms
from worker.execution.context import Envelope
from worker.execution.executor import Executor
from worker.execution.holding import HeldForApproval
from worker.execution.intake import fingerprint_of
from worker.execution.outage import RequeueMessage
from worker.execution.parking import PROGRESS_HEADER, SINCE_HEADER, ParkMessage
from worker.execution.policy.producer_auth import ProducerAuth
from worker.ledger.base import NeverBegun


class OrderTask(Task):
    """A command's task. A report that is not ``accepted`` is raised as its :class:`OrderError`."""

    abstract = True
    # These errors are ends of a command, not faults: Celery logs them in one line, without a traceback.
    throws = (OrderError,)
    # Logs and Flower show only the first fields of a report, and none of the venue's texts and amounts.
    resultrepr_maxsize = 100
    Request = REQUEST
    hidden: frozenset[str] = HIDDEN
    find_executor: Callable[[], Executor]
    """As given to :func:`register_commands`."""
    producer_auth: ProducerAuth | None = None
    """What checks seals; none where they are ignored."""
    # Arguments are validated by the command's model, whose refusal becomes a report.
    typing = False

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the task. Celery's own ``__call__`` can't pass an argument that is called ``self``."""
        return self.run(*args, **kwargs)


def register_commands(app: Celery, executor: Callable[[], Executor], hidden: frozenset[str] = HIDDEN) -> None:
    """Register the task of every command. ``executor`` is called at each execution; ``hidden`` names the arguments
    whose values are not shown."""

    def run(task: OrderTask, /, *args: Any, **kwargs: Any) -> Any:
        end: Callable[[], Any] | None = task.request.get(END_KEY)
        if end is not None:
            return end()
        report = _execute(task, executor(), args, kwargs)
        if report is None or (report.replayed and report.fingerprint != fingerprint_of(task.name, kwargs)):
            discard_callbacks(task, f"id {task.request.id} belongs to another command, so this one was not executed")
        try:
            result = result_or_error(report, kwargs, task.hidden)
        except OrderError:
            send_errbacks(task)
            raise
        send_callbacks(task, result)
        return result

    log_no_parking()
    for name in COMMANDS:
        options = {"hidden": hidden, "find_executor": staticmethod(executor)}
        app.task(run, bind=True, base=OrderTask, name=name, acks_late=True, shared=False, **options)


def _execute(task: OrderTask, executor: Executor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Report | None:
    headers = task.request.headers or {}
    envelope = Envelope(
        command_id=task.request.id,
        task=task.name,
        arguments=kwargs,
        positional=len(args),
        enqueued_at=enqueued_at_ms(headers),
        redelivered=bool((task.request.delivery_info or {}).get("redelivered")),
        # The message's body may say anything there.
        expires_at=expires_at_ms(expires) if isinstance(expires := task.request.expires, str) else None,
        refusal=task.request.get(REFUSAL_KEY),
        kept_message=lambda: kept_message(task.name, task.request),
        parks=task.request.get(PARKS_KEY) is True,
        waits_since=headers.get(SINCE_HEADER),
        progress=headers.get(PROGRESS_HEADER),
        **(task.request.get(AUTHORITY_KEY) or {}),
    )
    return report_of(executor, envelope)


def report_of(executor: Executor, envelope: Envelope) -> Report | None:
    """Execute a command and return its report; None when the id belongs to another command that has no report yet.

    Raises:
        Reject, Ignore: Celery's words for what becomes of its message, where there is no report.
    """
    try:
        return executor.execute(envelope)
    except RequeueMessage as reason:
        raise Reject(str(reason), requeue=True) from None
    except ParkMessage as waits:
        raise ParkRejected(waits.parking) from None
    except NeverBegun:
        raise Reject("it may only be ended, and the ledger does not have it", requeue=False) from None
    except HeldForApproval:
        raise Ignore from None  # the ledger keeps the message: nothing is stored, and nothing follows it yet


def result_or_error(report: Report | None, arguments: object, hidden: frozenset[str]) -> dict[str, Any]:
    """The report as Celery's result, or raised as its error; see :func:`error_of`.

    Raises:
        OrderError: ``rejected``, ``not_sent`` and ``unknown``.
        Ignore: the id belongs to another command that has no report yet, so that no result may be stored.
    """
    if report is None:
        raise Ignore
    error = error_of(report, arguments, hidden)
    if error is not None:
        raise error
    return report.to_json()


def error_of(report: Report, arguments: object, hidden: frozenset[str]) -> OrderError | None:
    """The error as which Celery stores a report, None for ``accepted``; with the values of hidden arguments redacted in
    its text."""
    error = error_for(report)
    if error is not None:
        # Only the text is redacted: the report itself, which is the error's argument, stays whole.
        error.report["message"] = redact_text(report.message, hidden_values(arguments, hidden))
    return error
