"""A plain command on its direct way (:mod:`worker.celery_app.direct`): its request, and its execution in a thread."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic, time
from typing import Any

from celery import signals, states
from celery.app import trace
from celery.utils.saferepr import saferepr
from celery.worker.state import task_accepted, task_ready
from kombu.utils.encoding import safe_repr

from producers.errors import OrderError
from producers.redaction import REDACTED, shown_arguments
from producers.report import Report
from worker.broker.messages import enqueued_at_ms
from worker.celery_app import task_events
from worker.celery_app.kept_messages import kept_message
from worker.celery_app.parked import can_park
from worker.celery_app.request import END_KEY, OrderRequest, parse_utc, redacted
from worker.celery_app.results import store_arguments
from worker.celery_app.tasks import error_of, report_of, result_or_error
from worker.execution.context import Envelope
from worker.execution.parking import PROGRESS_HEADER, SINCE_HEADER
from worker.execution.policy.producer_auth import Authority
from worker.ledger.base import Following

logger = logging.getLogger("orders.request")
accepted_log = logging.getLogger("celery.worker.request")
ended_log = logging.getLogger("celery.app.trace")

HEARD = (
    *(signals.task_received, signals.task_prerun, signals.task_postrun),
    *(signals.task_success, signals.task_failure),
)
"""Celery's signals that are sent of every task; the direct way sends none."""


def are_signals_heard() -> bool:
    """Whether somebody listens to what only Celery's way tells."""
    for signal in HEARD:  # noqa: SIM110 - a generator takes longer than the five looks
        if signal.receivers:
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Told:
    """What a stored result tells of its command's request."""

    parent_id: object
    children: tuple[()] = ()
    group: None = None


class DirectRequest:
    """What Celery keeps of a command while it is reserved and active. The whole request is made when somebody looks."""

    __slots__ = (
        "__dict__",  # Celery sets the eventer of its requests when it has connected again
        *(
            "__weakref__",
            "_authority",
            "_arguments",
            "_expires_at",
            "_following",
            "_positional",
            "_redelivered",
            "_consumer",
            "_told",
        ),
        *("acknowledged", "id", "message", "name", "task", "time_start", "worker_pid"),
    )

    def __init__(
        self,
        consumer: Any,
        task: Any,
        message: Any,
        arguments: tuple[list[Any], dict[str, Any]],
        authority: Authority,
        redelivered: bool,
        expires_at: int | None,
    ) -> None:
        """``arguments`` are the positional and the keyword arguments."""
        self._consumer, self.task, self.message, self._authority = consumer, task, message, authority
        self._redelivered, self._expires_at = redelivered, expires_at
        self._positional, self._arguments = arguments
        self.id: str = message.headers["id"]
        self.name: str = task.name
        self.acknowledged = False
        # Nothing in it refers to this request, which would then stay in memory until Python looks for cycles.
        self._told = told = _Told(message.headers.get("parent_id"))
        self._following = Following(
            # The backend is that of the thread which calls this.
            lambda report: store_arguments(task.backend, report, told),
            # A lane, which an unknown outcome would keep, is none of a plain command's.
            lambda _: message.channel.qos.ack_arguments(message.delivery_tag),
        )
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
        return {
            "args": f"({REDACTED})" if self._positional else "()",
            "kwargs": shown_arguments(self.name, self._arguments, self.task.hidden),
        }

    def note_received(self, shown: dict[str, str]) -> None:
        """Tell monitors of the command; ``shown`` are its arguments as they may be shown."""
        headers = self.message.headers
        expires = headers.get("expires")
        task_events.note(
            self._consumer,
            "task-received",
            self.id,
            name=self.name,
            args=shown["args"],
            kwargs=shown["kwargs"],
            root_id=headers.get("root_id"),
            parent_id=headers.get("parent_id"),
            retries=headers.get("retries", 0),
            eta=None,
            expires=expires and parse_utc(expires).isoformat(),
        )

    terminate = OrderRequest.terminate

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Do not cancel. Celery calls this at a cold shutdown."""

    # -- in a thread of the pool ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Execute the command, store its report and acknowledge its message."""
        started = monotonic()
        self.time_start, self.worker_pid = time(), os.getpid()
        task_accepted(self)
        if task_events.are_read(self._consumer):
            task_events.note(self._consumer, "task-started", self.id)
        if accepted_log.isEnabledFor(logging.DEBUG):
            accepted_log.debug("Task accepted: %s[%s] pid:%r", self.name, self.id, self.worker_pid)
        try:
            report = report_of(self.task.find_executor(), self._envelope())
            if report is not None and not are_signals_heard():
                self._end(report, started)
                return
            end: Callable[[], Any] = partial(result_or_error, report, self._arguments, self.task.hidden)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - Celery decides what becomes of it
            end = partial(_raise, error)
        self._end_by_celery(end, started)

    def _envelope(self) -> Envelope:
        headers = self.message.headers
        return Envelope(
            command_id=self.id,
            task=self.name,
            arguments=self._arguments,
            positional=len(self._positional),
            enqueued_at=enqueued_at_ms(headers),
            redelivered=self._redelivered,
            expires_at=self._expires_at,
            kept_message=lambda: kept_message(self.name, self.whole()._context),  # noqa: SLF001 - Celery's context
            parks=can_park(self.message),
            following=self._following,
            waits_since=headers.get(SINCE_HEADER),
            progress=headers.get(PROGRESS_HEADER),
            **self._authority.to_json(),
        )

    def _end(self, report: Report, started: float) -> None:
        """Store the report as Celery does, log the end in its words, acknowledge the message, and tell monitors: what
        of that has not followed the command's end at the server."""
        is_logged, are_read = ended_log.isEnabledFor(logging.INFO), task_events.are_read(self._consumer)
        if not (is_logged or are_read or not self._following.stored):
            self._release()
            return
        error = error_of(report, self._arguments, self.task.hidden)
        result: Any = report.to_json() if error is None else error
        if not self._following.stored:
            status = states.SUCCESS if error is None else states.FAILURE
            self.task.backend.store_result(self.id, result, status, request=self._told)
        seconds = monotonic() - started
        shown = saferepr(result, self.task.resultrepr_maxsize) if error is None else safe_repr(error)
        if is_logged:
            self._log_end(error, shown, seconds)
        self._release()
        if are_read:
            self._note_end(error, shown, seconds)

    def _log_end(self, error: OrderError | None, shown: str, seconds: float) -> None:
        context: dict[str, Any] = {"id": self.id, "name": self.name, **self.shown()}
        if error is None:
            words = trace.LOG_SUCCESS
            context |= {"return_value": shown, "runtime": seconds}
        else:
            policy = trace.log_policy_expected
            words = policy.format
            context |= {"description": policy.description, "exc": shown}
            context |= {"hostname": self._consumer.hostname, "traceback": "", "internal": False}
        ended_log.info(words.strip(), context, extra={"data": context})

    def _note_end(self, error: OrderError | None, shown: str, seconds: float) -> None:
        if error is None:
            task_events.note(self._consumer, "task-succeeded", self.id, result=shown, runtime=seconds)
            return
        text = redacted(shown, self._arguments, self.task.hidden)
        task_events.note(self._consumer, "task-failed", self.id, exception=text, traceback="")

    def _release(self) -> None:
        task_ready(self)
        if not self.acknowledged:
            self.acknowledged = True
            if self._following.acked:
                self.message.channel.qos.acked_at_server(self.message.delivery_tag)
            else:
                self._soon(self.message.ack_log_error)

    def _end_by_celery(self, end: Callable[[], Any], started: float) -> None:
        """Have Celery's tracer and request make of an end what they always make of it: the task is told its end, in
        place of executing the command."""
        app, whole = self._consumer.app, self.whole()
        tracer = trace.fast_trace_task if app.use_fast_trace_task else trace.trace_task_ret
        request = {**whole.request_dict, END_KEY: end}
        try:
            failed, value, _ = tracer(self.name, self.id, request, self.message.payload, None, None, app=app)
            whole.acknowledged = self._following.acked
            whole.on_success((failed, value, monotonic() - started))
        finally:
            # What the server has acknowledged still has its place here.
            self.acknowledged = whole.acknowledged and not self._following.acked
        self.give_back()

    def give_back(self, *_: Any) -> None:
        """Put the message back on its queue, where the thread could not end the command."""
        if self.acknowledged or self._following.acked:
            self._release()
            return
        task_ready(self)
        self.acknowledged = True
        self._soon(self.message.reject_log_error, True)

    def _soon(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Have the loop call the message's ``ack_log_error`` or ``reject_log_error``."""
        self._consumer.call_soon_ack(call, logger, self._consumer.connection_errors, *arguments)


def _raise(error: Exception) -> None:
    raise error
