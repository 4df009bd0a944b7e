"""Result backends in which a command's result is its report, and nothing else is ever stored.

Celery and Flower can store ``REVOKED`` and ``ABORTED`` as the result of any id, over a report that stands there. And
Celery reads what is stored before it writes, unless that is a SUCCESS: three commands in two round trips, between which
another worker may write. Here one script does it, in one round trip, and a SUCCESS is never written over, nor any end
of a command by ``unknown``: a worker that declares another dead may be slower to store it than that one its report.
What is stored and published is the same, so every Celery client reads it.
"""

# Celery publishes no types.
# mypy: disallow-subclassing-any=False

import logging
import time
from hashlib import sha1
from typing import Any

import redis
from celery import Celery, states
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.contrib.abortable import ABORTED
from celery.exceptions import BackendStoreError

from producers.direct import Direct
from producers.errors import OrderUnknown
from worker.remote_control import Refused

logger = logging.getLogger("orders.results")

STORE = """
-- KEYS[1]  the result's key, which is also the channel on which whoever waits for it listens
-- ARGV[1]  the result, as Celery encodes it
-- ARGV[2]  how long it is kept, seconds; 0: for ever
-- ARGV[3]  the command's id when the result says that it is unknown, else empty
-- Returns 1, or 0 where what stands is the better word.
local stored = redis.call('GET', KEYS[1])
if stored then
  local read, meta = true, nil
  -- Celery writes the status first; only what somebody else has written need be read.
  local status = stored:match('^{"status": "(%u+)"')
  if not status then
    read, meta = pcall(cjson.decode, stored)
    status = read and type(meta) == 'table' and meta.status
  end
  if status == 'SUCCESS' then return 0 end
  if ARGV[3] ~= '' then
    read, meta = pcall(cjson.decode, stored)
    local error = read and type(meta) == 'table' and type(meta.result) == 'table' and meta.result or {}
    local report = type(error.exc_message) == 'table' and error.exc_message[1]
    local ended = error.exc_type == 'OrderRejected' or error.exc_type == 'OrderNotSent'
    if ended and type(report) == 'table' and report.command_id == ARGV[3] then return 0 end
  end
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

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What Celery ends in that takes for granted that a chain is well made."""
AGAIN_SECONDS = 1.0
"""Between two tries while the server is away."""
NO_REPORT = frozenset({states.REVOKED, ABORTED})


class _Reports:
    """Over Celery's Redis backends."""

    _direct: Direct | None = None

    def _store_result(
        self: Any, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        """As Celery's: raises what it raises, so that `result_backend_always_retry` stores it again."""
        if state in NO_REPORT:
            raise Refused(
                f"refused: {state} is not stored for {task_id}: its result is its report. A command can't be taken "
                "back; `orders halt` keeps what has not begun from being sent"
            )
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        meta["task_id"] = task_id.decode() if isinstance(task_id, bytes) else task_id
        value = self.encode(meta)
        if len(value) > self._MAX_STR_VALUE_SIZE:
            raise BackendStoreError("value too large for Redis backend", state=state, task_id=task_id)
        expires = self.failure_expires if state == states.FAILURE else self.expires
        unknown = isinstance(result, dict) and result.get("exc_type") == OrderUnknown.__name__
        arguments = (value, int(expires or 0), meta["task_id"] if unknown else "")
        self.ensure(self._store, (self.get_key_for_task(task_id), *arguments))
        return result

    def mark_as_failure(self: Any, task_id: str, exc: Exception, *args: Any, **named: Any) -> None:
        """As Celery's, which also tells the rest of a chain. A malformed one must not raise here: the message would
        stay unacknowledged, and its slot taken for as long as the worker lives."""
        try:
            super().mark_as_failure(task_id, exc, *args, **named)  # type: ignore[misc] # of Celery's backends
        except MALFORMED as error:
            logger.error(  # noqa: TRY400 - its text may quote the message
                "what was to follow id=%s is malformed (%s), and not told that it failed", task_id, type(error).__name__
            )

    def on_chord_part_return(self: Any, request: Any, state: str, result: Any, *args: Any, **named: Any) -> None:
        """As Celery's, and never raises, for the same reason. A part is counted once, however often it is told."""
        while True:
            try:
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

    def _store(self: Any, key: Any, *arguments: Any) -> None:
        self._directly().script(STORE, SHA, [key], arguments)

    def get(self: Any, key: Any) -> Any:
        """What is stored."""
        return self._directly().call("GET", key)

    def _directly(self: Any) -> Direct:
        direct: Direct | None = self._direct
        if direct is None or direct.client is not self.client:
            direct = self._direct = Direct(self.client)
        return direct


class ReportBackend(_Reports, RedisBackend):
    """Celery's Redis backend."""


class SentinelReportBackend(_Reports, SentinelBackend):
    """Celery's Redis backend behind Sentinels."""


def use_report_backends(app: Celery) -> None:
    """Let ``redis://``, ``rediss://`` and ``sentinel://`` mean the ones above in this app."""
    app.loader.override_backends = {
        **app.loader.override_backends,
        "redis": f"{__name__}:ReportBackend",
        "rediss": f"{__name__}:ReportBackend",
        "sentinel": f"{__name__}:SentinelReportBackend",
    }
