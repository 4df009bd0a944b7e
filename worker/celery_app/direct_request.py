"""A plain command on its direct way (:mod:`worker.celery_app.direct`): its request, and its execution in a thread."""

import logging
import os
from collections.abc import Callable
from functools import partial
from time import monotonic, time
from typing import Any

from celery import signals, states
from celery.app import trace
from celery.utils.saferepr import saferepr
from celery.worker.state import task_accepted, task_ready
from kombu.utils.encoding import safe_repr

from producers.errors import OrderError
from producers.redaction import REDACTED, hidden_values, shown_arguments
from producers.report import Report
from worker.broker.messages import enqueued_at_ms
from worker.celery_app.kept_messages import kept_message
from worker.celery_app.parked import can_park
from worker.celery_app.request import END_KEY, OrderRequest
from worker.celery_app.tasks import report_of, result_or_error
from worker.execution.context import Envelope
from worker.execution.parking import PROGRESS_HEADER, SINCE_HEADER
from worker.execution.policy.producer_auth import Authority

logger = logging.getLogger("orders.request")
accepted_log = logging.getLogger("celery.worker.request")
ended_log = logging.getLogger("celery.app.trace")

HEARD = (
    *(signals.task_received, signals.task_prerun, signals.task_postrun),
    *(signals.task_success, signals.task_failure),
)
"""Celery's signals that are sent of every task; the direct way sends none."""


def is_watched(consumer: Any) -> bool:
    """Whether somebody listens to what only Celery's way tells: events or signals of tasks."""
    dispatcher = consumer.event_dispatcher
    if dispatcher is not None and dispatcher.enabled and (not dispatcher.groups or "task" in dispatcher.groups):
        return True
    return any(signal.receivers for signal in HEARD)


class DirectRequest:
    """What Celery keeps of a command while it is reserved and active. The whole request is made when somebody looks."""

    __slots__ = (
        *("__weakref__", "_authority", "_expires_at", "_redelivered", "_consumer"),
        *("acknowledged", "id", "message", "name", "parent_id", "task", "time_start", "worker_pid"),
    )
    # Read by the result backend, which would make the whole request for them.
    children, group = (), None

    def __init__(
        self, consumer: Any, task: Any, message: Any, authority: Authority, redelivered: bool, expires_at: int | None
    ) -> None:
        self._consumer, self.task, self.message, self._authority = consumer, task, message, authority
        self._redelivered, self._expires_at = redelivered, expires_at
        self.id: str = message.headers["id"]
        self.name: str = task.name
        self.parent_id = message.headers.get("parent_id")
        self.acknowledged = False
        self.time_start: float | None = None
        self.worker_pid: int | None = None

    # -- for those who look ------------------------------------------------------------------------------------------

    def whole(self) -> OrderRequest:
        """A whole request of this command, for somebody who looks or for an end that Celery makes of it."""
        consumer, message = self._consumer, self.message
        whole = OrderRequest(
            message,
            on_ack=lambda *_: self._soon(message.ack_log_error),
            on_reject=lambda _, __, requeue: self._soon(message.reject_log_error, requeue),
            app=consumer.app,
            hostname=consumer.hostname,
            eventer=consumer.event_dispatcher,
            task=self.task,
            connection_errors=consumer.connection_errors,
            utc=consumer.app.uses_utc_timezone(),
            authority=self._authority,
        )
        whole.time_start, whole.worker_pid, whole.acknowledged = self.time_start, self.worker_pid, self.acknowledged
        return whole

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.whole(), name)

    def __str__(self) -> str:
        return str(self.whole())

    def shown(self) -> dict[str, str]:
        """The arguments as logs show them."""
        positional, arguments, _ = self.message.payload
        return {
            "args": f"({REDACTED})" if positional else "()",
            "kwargs": shown_arguments(self.name, arguments, self.task.hidden),
        }

    def terminate(self, pool: Any, signal: Any = None) -> None:  # noqa: ARG002 - Celery's signature
        """Do not terminate, as :meth:`OrderRequest.terminate`."""
        logger.warning("not terminated id=%s task=%s: a command is never ended halfway", self.id, self.name)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Do not cancel. Celery calls this at a cold shutdown."""

    # -- in a thread of the pool -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Execute the command, store its report and acknowledge its message."""
        started = monotonic()
        self.time_start, self.worker_pid = time(), os.getpid()
        task_accepted(self)
        if accepted_log.isEnabledFor(logging.DEBUG):
            accepted_log.debug("Task accepted: %s[%s] pid:%r", self.name, self.id, self.worker_pid)
        try:
            report = report_of(self.task.find_executor(), self._envelope(), self.task.backend)
            if is_watched(self._consumer):
                end: Callable[[], Any] = partial(result_or_error, report, self._hidden_values())
            else:
                self._store(report, started)
                self._release()
                return
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - Celery decides what becomes of it
            end = partial(_raise, error)
        self._end_by_celery(end, started)

    def _envelope(self) -> Envelope:
        headers = self.message.headers
        positional, arguments, _ = self.message.payload
        return Envelope(
            command_id=self.id,
            task=self.name,
            arguments=arguments,
            positional=len(positional),
            enqueued_at=enqueued_at_ms(headers),
            redelivered=self._redelivered,
            expires_at=self._expires_at,
            kept_message=lambda: kept_message(self.name, self.whole()._context),  # noqa: SLF001 - Celery's context
            parks=can_park(self.message),
            waits_since=headers.get(SINCE_HEADER),
            progress=headers.get(PROGRESS_HEADER),
            **self._authority.to_json(),
        )

    def _hidden_values(self) -> list[str]:
        return hidden_values(self.message.payload[1], self.task.hidden)

    def _store(self, report: Report | None, started: float) -> None:
        """Store the report as Celery does, and log the end in its words."""
        status: str = states.SUCCESS
        try:
            result: Any = result_or_error(report, self._hidden_values())
        except OrderError as error:
            status, result = states.FAILURE, error
        self.task.backend.store_result(self.id, result, status, request=self)
        if not ended_log.isEnabledFor(logging.INFO):
            return
        context: dict[str, Any] = {"id": self.id, "name": self.name, **self.shown()}
        if status == states.SUCCESS:
            shown, seconds = saferepr(result, self.task.resultrepr_maxsize), monotonic() - started
            words, more = trace.LOG_SUCCESS, {"return_value": shown, "runtime": seconds}
        else:
            policy = trace.log_policy_expected
            words, more = policy.format, {"description": policy.description, "exc": safe_repr(result)}
            more |= {"hostname": self._consumer.hostname, "traceback": "", "internal": False}
        ended_log.info(words.strip(), {**context, **more}, extra={"data": {**context, **more}})

    def _release(self) -> None:
        task_ready(self)
        self.acknowledged = True
        self._soon(self.message.ack_log_error)

    def _end_by_celery(self, end: Callable[[], Any], started: float) -> None:
        """Have Celery's tracer and request make of an end what they always make of it: the task is told its end, in
        place of executing the command."""
        whole = self.whole()
        app = self._consumer.app
        tracer = trace.fast_trace_task if app.use_fast_trace_task else trace.trace_task_ret
        request = {**whole.request_dict, END_KEY: end}
        try:
            failed, value, _ = tracer(
                self.name, self.id, request, self.message.payload, None, None, app=self._consumer.app
            )
            whole.on_success((failed, value, monotonic() - started))
        finally:
            self.acknowledged = whole.acknowledged
        task_ready(self)

    def _soon(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Have the loop call the message's ``ack_log_error`` or ``reject_log_error``."""
        self._consumer.call_soon_ack(call, logger, self._consumer.connection_errors, *arguments)

    def give_back(self, *_: Any) -> None:
        """Put the message back on its queue, because the thread could not end the command."""
        task_ready(self)
        if not self.acknowledged:
            self.acknowledged = True
            self._soon(self.message.reject_log_error, True)


def _raise(error: Exception) -> None:
    raise error
