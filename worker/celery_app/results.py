"""Result backends in which a command's result is its report, and only a report that is more certain replaces it.

Celery stores other results by itself: the failure of a chain's link under every later link, ``ChordError`` under a
chord's body, ``REVOKED``, custom states. Of these, only one is stored under a command's id: that it was never sent
(:class:`producers.errors.ChainBroken`), and only while no report is stored there. Stock Celery reads the stored result
before it writes one that is no SUCCESS: three commands in two round trips, between which another worker may write. Here
one script does it in one round trip, because a worker that gives up another one's command may store its report after
the other has stored the true one. What is stored and published has Celery's format, so that every Celery client reads
it. Results of other tasks are stored as by Celery.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis
from celery import Celery, states
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.canvas import group
from celery.contrib.abortable import ABORTED
from celery.exceptions import BackendStoreError

from producers import message_json
from producers.commands import COMMANDS
from producers.errors import OrderError
from producers.publishing import WithoutSubscription
from producers.report import Report, error_for
from producers.results import MAX_RESULT_BYTES
from worker.broker.base import Refused
from worker.broker.scripts import read_script
from worker.celery_app.callbacks import commands_in, resend_chord_body
from worker.celery_app.ranks import chain_broken, is_report, rank_of
from worker.celery_app.seals import Sign, signed_result

logger = logging.getLogger("orders.results")

STORE = read_script("worker.celery_app", "store_result.lua")

MALFORMED_CHAIN_ERRORS = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""Errors that Celery raises for a malformed chain in a message."""
WAS_SENT_ATTRIBUTE, SIGN_ATTRIBUTE = "was_sent", "sign_report"
"""The app's attributes that :func:`use_report_backends` sets."""
RETRY_SECONDS = 1.0
"""Between two tries to report the end of a part to its chord while the server is away."""


class _ReportStore(WithoutSubscription):
    """A mixin for Celery's Redis backends."""

    _ending_request: Any = None
    """The request whose own failure is being stored, as opposed to that of its callbacks."""
    _unsent_ids: frozenset[str] = frozenset()
    """Ids of the commands in the body of a chord that has failed."""

    def store_result(
        self: Any, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """Store a result as Celery does. Of what Celery stores by itself, a failure under a command's id becomes
        ``ChainBroken``, and what would answer for a command that was sent is dropped."""
        if state == states.REVOKED and _task_name(request) in ("", *COMMANDS):
            # Not an error: raised into the loop that takes messages, it would end this worker, and then the next.
            logger.warning("%s is not stored for id=%s: a command ends in its report", state, task_id)
            return self.encode_result(result, state)
        if state != ABORTED and not is_report(result, state, task_id):
            if isinstance(result, Exception) and state in states.PROPAGATE_STATES:
                if request is None or request is not self._ending_request:
                    # Celery would store the report of the command before as the error of a task that has none.
                    if isinstance(result, OrderError) or task_id in self._unsent_ids or _task_name(request) in COMMANDS:
                        result = chain_broken(result)
                elif _task_name(request) in COMMANDS:
                    logger.error("%s is no report of id=%s, and is not stored", type(result).__name__, task_id)
                    return self.encode_result(result, state)
            # The sender of a chain, or of a reconcile, chooses ids: the result must not answer for another's command.
            if self._was_sent(task_id):
                logger.info("id=%s gets no result but its report: it is a command's that was sent", task_id)
                return self.encode_result(result, state)
        return super().store_result(task_id, result, state, traceback, request, **kwargs)  # type: ignore[misc]

    def _was_sent(self: Any, task_id: str) -> bool:
        """Whether the ledger knows the command, although its report may not be stored yet."""
        was_sent: Callable[[str], bool] = getattr(self.app, WAS_SENT_ATTRIBUTE, _no_ledger)
        try:
            return was_sent(task_id)
        except (redis.RedisError, OSError):
            return False

    def _store_result(
        self: Any, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        """Store a result by the script. It raises what Celery's own method raises, so that
        `result_backend_always_retry` stores it again.

        Raises:
            Refused: the state is ``ABORTED``, which ``AbortableAsyncResult.abort`` stores.
        """
        if state == ABORTED:
            raise Refused(
                f"refused: {state} is not stored for {task_id}: its result is its report. A command can't be taken "
                "back; `orders halt` keeps what has not begun from being sent"
            )
        arguments = self.store_arguments(task_id, result, state, traceback, request)
        if not self.ensure(self._store, arguments):
            logger.info("%s is not stored for id=%s: a report of a higher rank is stored already", state, task_id)
        return result

    def store_arguments(
        self: Any, task_id: str, result: Any, state: str, traceback: Any, request: Any, encode: Any = None
    ) -> tuple[object, ...]:
        """The key and the arguments of the script that stores a result. A report is stored without a traceback, which
        would show this program's own lines. ``encode`` takes the place of Celery's method.

        Raises:
            BackendStoreError: the result is too large.
        """
        rank = rank_of(result, state, task_id)
        sign = getattr(self.app, SIGN_ATTRIBUTE, None) if rank else None
        result = signed_result(sign, result, state) if sign else result
        if rank:
            meta = self._report_meta(result, state, request)
        else:
            meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        meta["task_id"] = task_id = task_id.decode() if isinstance(task_id, bytes) else task_id
        value = (encode or self.encode)(meta)
        if len(value) > self._MAX_STR_VALUE_SIZE:
            raise BackendStoreError("value too large for Redis backend", state=state, task_id=task_id)
        expires = self.failure_expires if state == states.FAILURE else self.expires
        key, signed = self.get_key_for_task(task_id), int(sign is not None)
        return key, value, int(expires or 0), rank, json.dumps(task_id), signed

    def _report_meta(self: Any, result: Any, state: str, request: Any) -> dict[str, Any]:
        """What Celery's ``_get_result_meta`` makes of a report without a traceback. That takes half of the time of
        storing it: it looks up settings that ours do not have."""
        children = self.current_task_children(request)
        meta = {"status": state, "result": result, "traceback": None, "children": children}
        meta["date_done"] = datetime.now(UTC).isoformat()
        if group_id := getattr(request, "group", None):
            meta["group_id"] = group_id
        if parent_id := getattr(request, "parent_id", None):
            meta["parent_id"] = parent_id
        return meta

    def exception_safe_to_retry(self: Any, exc: Exception) -> bool:
        """Whether to store a result again after this error: after every error of the server, so that a report is stored
        once the server can take it, be it full, a replica or without permission now. Storing twice does no harm. Celery
        itself tries again only after a failed connection; any other error loses the report, whose message it
        acknowledges."""
        return isinstance(exc, redis.RedisError | OSError)

    def mark_as_done(
        self: Any, task_id: str, result: Any, request: Any = None, store_result: bool = True, **kwargs: Any
    ) -> None:
        """Celery's own, but a command's report is stored even if its sender has set ``ignore_result``."""
        if request is not None and rank_of(result, states.SUCCESS, task_id):
            request.ignore_result, store_result = False, True
        super().mark_as_done(task_id, result, request, store_result, **kwargs)  # type: ignore[misc] # of Celery's

    def mark_as_failure(
        self: Any,
        task_id: str,
        exc: Exception,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        **kwargs: Any,
    ) -> None:
        """Celery's own, which also fails the rest of a chain. A malformed chain must not raise here: the message would
        stay unacknowledged, and its slot taken for as long as the worker lives."""
        previous, self._ending_request = self._ending_request, request
        try:
            super().mark_as_failure(  # type: ignore[misc] # of Celery's backends
                task_id, exc, traceback, request, store_result or is_report(exc, states.FAILURE, task_id), **kwargs
            )
        except MALFORMED_CHAIN_ERRORS as error:
            logger.error(  # noqa: TRY400 - its text may quote the message
                "a callback of id=%s is malformed (%s), so no result says that it failed", task_id, type(error).__name__
            )
        finally:
            self._ending_request = previous

    def _call_task_errbacks(self: Any, request: Any, exc: Exception, traceback: Any) -> None:  # noqa: ARG002
        """Send each error callback of a chord's body as a message, see ``send_errbacks``."""
        for errback in request.errbacks:
            group([self.app.signature(errback)], app=self.app).apply_async(
                (request.id,), parent_id=request.id, root_id=request.root_id or request.id
            )

    def chord_error_from_stack(self: Any, callback: Any, exc: Any = None) -> Any:
        """Celery's own, called for a chord whose body is not sent; every command in the body gets a result."""
        raised = sys.exc_info()[1]
        if isinstance(exc, Exception) and exc.__cause__ is None and isinstance(raised, OrderError):
            # Celery passes on only the text of a nested header's failure.
            exc.__cause__ = raised
        previous, self._unsent_ids = self._unsent_ids, frozenset(commands_in(callback))
        try:
            for command_id in self._unsent_ids:
                # Celery stores a result only for the first task of a chain.
                self.store_result(command_id, exc or raised, states.FAILURE)
            return super().chord_error_from_stack(callback, exc)  # type: ignore[misc] # of Celery's backends
        finally:
            self._unsent_ids = previous

    def on_chord_part_return(self: Any, request: Any, state: str, result: Any, *args: Any, **kwargs: Any) -> None:
        """Celery's own, but it never raises, because the message would stay unacknowledged and its slot taken. A part
        is counted once, however often it is reported."""
        while True:
            try:
                with resend_chord_body(self, request):
                    super().on_chord_part_return(request, state, result, *args, **kwargs)  # type: ignore[misc]
            except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
                logger.warning("the chord of id=%s is notified of its end later (%s)", request.id, type(error).__name__)
                time.sleep(RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 - a sender may write anything, and the command has ended
                logger.error(  # noqa: TRY400 - its text may quote the message
                    "the chord of id=%s can't be notified of its end (%s); its report is stored all the same",
                    request.id,
                    type(error).__name__,
                )
                return
            else:
                return

    def _store(self: Any, key: Any, *arguments: Any) -> Any:
        return self.direct_client().script(*STORE, [key], arguments)

    def get(self: Any, key: Any) -> Any:
        """The stored result as bytes; None when there is none, or one that is too long to be a report's."""
        stored = self.direct_client().call("GETRANGE", key, 0, MAX_RESULT_BYTES)
        return stored if stored and len(stored) <= MAX_RESULT_BYTES else None


class ReportBackend(_ReportStore, RedisBackend):
    """Celery's Redis backend."""


class SentinelReportBackend(_ReportStore, SentinelBackend):
    """Celery's Redis backend behind Sentinels."""


def use_report_backends(app: Celery, was_sent: Callable[[str], bool] | None = None, sign: Sign | None = None) -> None:
    """Use these backends for ``redis://``, ``rediss://`` and ``sentinel://`` in this app. ``was_sent`` says whether the
    command of an id was begun or is enqueued; ``sign`` signs each report that is stored."""
    setattr(app, WAS_SENT_ATTRIBUTE, was_sent or _no_ledger)
    setattr(app, SIGN_ATTRIBUTE, sign)
    app.loader.override_backends = {
        **app.loader.override_backends,
        "redis": f"{__name__}:ReportBackend",
        "rediss": f"{__name__}:ReportBackend",
        "sentinel": f"{__name__}:SentinelReportBackend",
    }


def _no_ledger(_: str) -> bool:
    return False


def _task_name(request: Any) -> str:
    """The task's name, of a request in Celery's loop, in its tracer, or made from a signature."""
    task = getattr(request, "task", None)
    name = task if isinstance(task, str) else getattr(task, "name", None)
    return name if isinstance(name, str) else ""


def store_arguments(backend: Any, report: Report, request: Any = None) -> tuple[object, ...]:
    """The key and the arguments by which ``store_result.lua`` stores a report as the task of this request would: as
    SUCCESS, or as FAILURE with the outcome's error."""
    error = error_for(report)
    result, state = (report.to_json(), states.SUCCESS) if error is None else (error, states.FAILURE)
    # Past kombu's layers, which find the same encoder.
    arguments: tuple[object, ...] = backend.store_arguments(
        report.command_id, backend.encode_result(result, state), state, None, request, message_json.dumps
    )
    return arguments


def result_publisher(app: Celery) -> Callable[[Report], None]:
    """A function that stores a settled report as its task would: as SUCCESS, or as FAILURE with the outcome's
    error. It replaces an ``unknown``, and no report of a higher rank.

    The function raises:
        redis.RedisError, OSError, kombu.exceptions.KombuError: the backend can't be reached.
    """

    def publish(report: Report) -> None:
        error = error_for(report)
        if error is None:
            app.backend.store_result(report.command_id, report.to_json(), states.SUCCESS)
        else:
            app.backend.mark_as_failure(report.command_id, error)

    return publish
