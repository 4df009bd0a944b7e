"""Result backends in which a command's result is its report, and nothing takes a report's place but a better one.

Celery stores results by itself: the failure of a chain's link under every link after it, ``ChordError`` under a chord's
body, ``REVOKED``, a state that somebody made up. Of those a command's id gets one: that it was never sent
(:class:`producers.errors.ChainBroken`), and that only while no report stands there. And Celery reads what is stored
before it writes, unless that is a SUCCESS: three commands in two round trips, between which another worker may write.
Here one script does it, in one round trip: a worker that declares another dead may be slower to store it than that one
its report. What is stored and published is the same, so every Celery client reads it; so are results of other tasks.
"""

# Celery publishes no types.
# mypy: disallow-subclassing-any=False

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha1
from typing import Any

import redis
from celery import Celery, states
from celery.app.task import Context
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.canvas import maybe_signature
from celery.contrib.abortable import ABORTED
from celery.exceptions import BackendStoreError

from producers.commands import COMMANDS, Positions
from producers.errors import ChainBroken, OrderError
from producers.publishing import WithoutSubscription
from producers.report import Report, error_for
from producers.results import task_error_text
from worker.broker.base import Refused
from worker.celery_app.callbacks import passes

logger = logging.getLogger("orders.results")

STORE = """
-- KEYS[1]  the result's key, which is also the channel on which whoever waits for it listens
-- ARGV[1]  the result, as Celery encodes it
-- ARGV[2]  how long it is kept, seconds; 0: for ever
-- ARGV[3]  how good a word on this command it is, see `worth`; 0: it is no report
-- ARGV[4]  the command's id as JSON
-- Returns 1, or 0 where what stands is the better word.
local RANK = {unknown = 1, not_sent = 2, rejected = 3, accepted = 4}
local RAISED = {OrderUnknown = 'unknown', OrderNotSent = 'not_sent', OrderRejected = 'rejected'}

local function worth(outcome, command)
  return RANK[outcome] + (command == 'positions' and 0 or 10)
end

local function standing(stored)
  -- What workers write begins so, and however long and deep it goes on, the rest need not be read.
  local mine = '{"command_id": ' .. ARGV[4] .. ', "command": "'
  local head = stored:sub(1, #mine + 200)
  local raised = head:match('^{"status": "FAILURE", "result": {"exc_type": "(Order%a+)", "exc_message": %[{')
  local from, to = head:find(mine, 1, true)
  local whole = from and head:sub(1, from - 1) == '{"status": "SUCCESS", "result": '
  if from and (RAISED[raised] or whole) then
    return worth(whole and 'accepted' or RAISED[raised], head:sub(to + 1):match('^%a*')), true
  end
  local read, meta = pcall(cjson.decode, stored)
  if not read or type(meta) ~= 'table' then return 0, false end
  local report, outcome = meta.result, meta.status == 'SUCCESS' and 'accepted'
  if meta.status == 'FAILURE' and type(report) == 'table' then
    outcome = RAISED[report.exc_type]
    report = type(report.exc_message) == 'table' and report.exc_message[1]
  end
  if not outcome or type(report) ~= 'table' or report.command_id ~= cjson.decode('[' .. ARGV[4] .. ']')[1]
    or report.outcome ~= outcome then
    return 0, meta.status == 'SUCCESS'
  end
  return worth(outcome, report.command), true
end

local stored, new = redis.pcall('GET', KEYS[1]), tonumber(ARGV[3])
if type(stored) == 'string' then
  local stands, ended = standing(stored)
  -- A SUCCESS is never written over by its like, a report's or not; any other report may be told again.
  if stands > new or (stands == new and ended and (new == 0 or new % 10 == RANK.accepted)) then return 0 end
end
if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
"""
SHA = sha1(STORE.encode(), usedforsecurity=False).hexdigest()

RANKS = {"unknown": 1, "not_sent": 2, "rejected": 3, "accepted": 4}
OF_A_COMMAND = 10
"""More than any report of a query: a command that changes something has the last word on its id."""

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What Celery ends in that takes for granted that a chain is well made."""
WAS_SENT = "was_sent"
"""The app's attribute that :func:`use_report_backends` sets."""
AGAIN_SECONDS = 1.0
"""Between two tries while the server is away."""


class _Reports(WithoutSubscription):
    """Over Celery's Redis backends."""

    _ending: Any = None
    """The request whose own end is being stored, as opposed to that of what was to follow it."""
    _unsent: frozenset[str] = frozenset()
    """Ids of the commands in a chord's body that is given up."""

    def store_result(
        self: Any, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **named: Any
    ) -> Any:
        """As Celery's. What it would store by itself under a command's id is told as never sent, or not at all."""
        if state == states.REVOKED and _task_name(request) in ("", *COMMANDS):
            # Raised into the loop that takes messages, it would end the worker, and the next one.
            logger.warning("%s is not stored for id=%s: a command ends in its report", state, task_id)
            return self.encode_result(result, state)
        if isinstance(result, Exception) and state in states.PROPAGATE_STATES and not _is_report(result, task_id):
            if request is not None and request is self._ending:
                if _task_name(request) in COMMANDS:
                    logger.error("%s is no report of id=%s, and not stored", type(result).__name__, task_id)
                    return self.encode_result(result, state)
            elif task_id in self._unsent or _task_name(request) in COMMANDS:
                result = _never_sent(result)
            if isinstance(result, ChainBroken) and self._was_sent(task_id):
                logger.info("id=%s is not told as never sent: it was, in another way", task_id)
                return self.encode_result(result, state)
        return super().store_result(task_id, result, state, traceback, request, **named)  # type: ignore[misc]

    def _was_sent(self: Any, task_id: str) -> bool:
        """Whether the ledger knows it, which may not have its report yet."""
        asked: Callable[[str], bool] = getattr(self.app, WAS_SENT, _unknown_after_fault)
        try:
            return asked(task_id)
        except (redis.RedisError, OSError):
            return False

    def _store_result(
        self: Any, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        """As Celery's: raises what it raises, so that `result_backend_always_retry` stores it again.

        Raises:
            Refused: a person wants the command aborted.
        """
        if state == ABORTED:
            raise Refused(
                f"refused: {state} is not stored for {task_id}: its result is its report. A command can't be taken "
                "back; `orders halt` keeps what has not begun from being sent"
            )
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        meta["task_id"] = task_id = task_id.decode() if isinstance(task_id, bytes) else task_id
        value = self.encode(meta)
        if len(value) > self._MAX_STR_VALUE_SIZE:
            raise BackendStoreError("value too large for Redis backend", state=state, task_id=task_id)
        expires = self.failure_expires if state == states.FAILURE else self.expires
        arguments = (value, int(expires or 0), _worth(result, state, task_id), json.dumps(task_id))
        if not self.ensure(self._store, (self.get_key_for_task(task_id), *arguments)):
            logger.info("%s is not stored for id=%s: what stands there is the better word", state, task_id)
        return result

    def exception_safe_to_retry(self: Any, exc: Exception) -> bool:
        """Whatever the server says or does not say: a report that it can't take now, be it full, a replica or without
        the right to, is stored when it can. Storing twice does no harm. Celery tries again only where it is not
        reached, and acknowledges the message of any other report, which would be lost."""
        return isinstance(exc, redis.RedisError | OSError)

    def mark_as_done(
        self: Any, task_id: str, result: Any, request: Any = None, store_result: bool = True, **named: Any
    ) -> None:
        """As Celery's. A command's report is stored although its sender means to ignore it."""
        if request is not None and _worth(result, states.SUCCESS, task_id):
            request.ignore_result, store_result = False, True
        super().mark_as_done(task_id, result, request, store_result, **named)  # type: ignore[misc] # of Celery's

    def mark_as_failure(
        self: Any,
        task_id: str,
        exc: Exception,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        **named: Any,
    ) -> None:
        """As Celery's, which also tells the rest of a chain. A malformed one must not raise here: the message would
        stay unacknowledged, and its slot taken for as long as the worker lives."""
        before, self._ending = self._ending, request
        try:
            super().mark_as_failure(  # type: ignore[misc] # of Celery's backends
                task_id, exc, traceback, request, store_result or _is_report(exc, task_id), **named
            )
        except MALFORMED as error:
            logger.error(  # noqa: TRY400 - its text may quote the message
                "what was to follow id=%s is malformed (%s), and not told that it failed", task_id, type(error).__name__
            )
        finally:
            self._ending = before

    def chord_error_from_stack(self: Any, callback: Any, exc: Any = None) -> Any:
        """As Celery's, for a chord whose body is not sent."""
        raised = sys.exc_info()[1]
        if isinstance(exc, Exception) and exc.__cause__ is None and isinstance(raised, OrderError):
            # Celery tells a nested header's failure in words alone.
            exc.__cause__ = raised
        before, self._unsent = self._unsent, frozenset(_commands_in(callback))
        try:
            for command_id in self._unsent:
                # Celery tells the first of a chain at most.
                self.store_result(command_id, exc or raised, states.FAILURE)
            return super().chord_error_from_stack(callback, exc)  # type: ignore[misc] # of Celery's backends
        finally:
            self._unsent = before

    def on_chord_part_return(self: Any, request: Any, state: str, result: Any, *args: Any, **named: Any) -> None:
        """As Celery's, and never raises, for the same reason. A part is counted once, however often it is told."""
        while True:
            try:
                with _patient(self, request):
                    super().on_chord_part_return(request, state, result, *args, **named)  # type: ignore[misc]
            except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
                logger.warning("the chord of id=%s is told of its end later (%s)", request.id, type(error).__name__)
                time.sleep(AGAIN_SECONDS)
            except Exception as error:  # noqa: BLE001 - a sender may ask for anything, and the command has ended
                logger.error(  # noqa: TRY400 - its text may quote the message
                    "the chord of id=%s can't be told of its end (%s); its report stands",
                    request.id,
                    type(error).__name__,
                )
                return
            else:
                return

    def _store(self: Any, key: Any, *arguments: Any) -> Any:
        return self.direct_client().script(STORE, SHA, [key], arguments)

    def get(self: Any, key: Any) -> Any:
        """What is stored."""
        return self.direct_client().call("GET", key)


class ReportBackend(_Reports, RedisBackend):
    """Celery's Redis backend."""


class SentinelReportBackend(_Reports, SentinelBackend):
    """Celery's Redis backend behind Sentinels."""


def use_report_backends(app: Celery, was_sent: Callable[[str], bool] | None = None) -> None:
    """Let ``redis://``, ``rediss://`` and ``sentinel://`` mean the ones above in this app. ``was_sent`` tells of an id
    whether its command was begun, or is enqueued."""
    setattr(app, WAS_SENT, was_sent or _unknown_after_fault)
    app.loader.override_backends = {
        **app.loader.override_backends,
        "redis": f"{__name__}:ReportBackend",
        "rediss": f"{__name__}:ReportBackend",
        "sentinel": f"{__name__}:SentinelReportBackend",
    }


def _unknown_after_fault(_: str) -> bool:
    return False


def _worth(result: Any, state: str, task_id: str) -> int:
    """How good a word on this command a result is; 0: none. As `worth` in the script."""
    report = result
    if state == states.FAILURE and isinstance(result, Mapping):
        arguments = result.get("exc_message")
        report = arguments[0] if isinstance(arguments, list | tuple) and len(arguments) == 1 else None
    if not isinstance(report, Mapping) or report.get("command_id") != task_id:
        return 0
    outcome = report.get("outcome")
    if (outcome == "accepted") is not (state == states.SUCCESS) or outcome not in RANKS:
        return 0
    return RANKS[outcome] + (0 if report.get("command") == Positions.name else OF_A_COMMAND)


def _is_report(error: Exception, task_id: str) -> bool:
    return isinstance(error, OrderError) and error.report.get("command_id") == task_id


def _never_sent(error: Exception) -> ChainBroken:
    """What is stored under the id of a command that is not sent because of this."""
    if isinstance(error, ChainBroken):
        return error
    cause = error if isinstance(error, OrderError) else error.__cause__
    if isinstance(cause, OrderError | ChainBroken):
        return ChainBroken(cause.report)
    return ChainBroken({"message": task_error_text(type(error).__name__, str(error))})


def _task_name(request: Any) -> str:
    """Of a request in Celery's loop, in its tracer, or made of a signature."""
    task = getattr(request, "task", None)
    name = task if isinstance(task, str) else getattr(task, "name", None)
    return name if isinstance(name, str) else ""


def _commands_in(link: Any) -> Iterator[str]:
    """Ids of the commands in a signature, however deep."""
    if not isinstance(link, Mapping):
        return
    arguments, options = link.get("kwargs") or {}, link.get("options") or {}
    if link.get("task") in COMMANDS and isinstance(options.get("task_id"), str):
        yield options["task_id"]
    if link.get("subtask_type") not in ("chain", "group", "chord"):
        return
    for part in ("tasks", "header", "body"):
        inner = arguments.get(part)
        for each in inner if isinstance(inner, list | tuple) else [inner]:
            yield from _commands_in(each)


@contextmanager
def _patient(backend: Any, request: Any) -> Iterator[None]:
    """Let the body of a chord be sent again while the broker takes nothing. Celery gives it up after some tries, though
    one of them may have come through, and every part is done."""
    chord = request.chord
    if isinstance(chord, Mapping) and isinstance(request, Context):
        request.chord = body = maybe_signature(dict(chord), app=backend.app)
        send = body.delay

        def delay(*args: Any, **named: Any) -> Any:
            while True:
                try:
                    return send(*args, **named)
                except Exception as error:
                    if not passes(error):
                        raise
                    logger.warning("the body of a chord is sent later (%s)", type(error).__name__)
                    time.sleep(AGAIN_SECONDS)

        body.delay = delay
    try:
        yield
    finally:
        if isinstance(request, Context):
            request.chord = chord


def result_publisher(app: Celery) -> Callable[[Report], None]:
    """Stores a settled report as its task would have: SUCCESS, or FAILURE with the outcome's error.

    An ``unknown`` becomes anything, and nothing takes the place of a better word (:mod:`worker.celery_app.results`).

    Raises, when called:
        redis.RedisError, OSError, kombu.exceptions.KombuError: the backend is away.
    """

    def publish(report: Report) -> None:
        error = error_for(report)
        if error is None:
            app.backend.store_result(report.command_id, report.to_json(), states.SUCCESS)
        else:
            app.backend.mark_as_failure(report.command_id, error)

    return publish
