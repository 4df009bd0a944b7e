"""Reading a command's result key: its report, the mark that it was never sent, or neither.

For Celery, a link of a chain or the body of a chord that was never sent ends in FAILURE. Workers store that as
:class:`producers.errors.ChainBroken`, whose one argument is the report of the command before it. The mark is deleted
when the command is sent after all.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1
from typing import TYPE_CHECKING, Any, overload

import redis

from producers import exact_json
from producers.printable import printable
from producers.redis.direct import DirectClient
from producers.report import REPORTED, Report, report_from_result
from producers.report_signature import ReportKeys
from producers.signing import SigningError

if TYPE_CHECKING:
    from producers.redis.asynchronous import AsyncDirectClient  # asyncio, which a synchronous program does not need

logger = logging.getLogger("orders.results")

RESULT_KEY = "celery-task-meta-{}"
"""Where Celery's Redis backend stores a result, and the channel on which it announces it."""

RECORD_KEY = "orders:command:{}"
"""Where the ledger stores a command's record."""

MAX_RESULT_BYTES = 32 * 1024 * 1024
"""A report holds a response of a venue, which has at most 2 MiB (the upper limit of `ORDERS_HTTP__MAX_ANSWER_BYTES`),
and three times as much in JSON; and 50,000 positions of 350 bytes at most, in which its names occur again."""
MAX_RESULT_CONTAINERS = 2 * exact_json.MAX_CONTAINERS + 100
"""Lists and objects in a result: those of the venue's response, and as many positions."""

MAX_ERROR_LENGTH = 300
"""Characters of another task's error that are shown."""

_FORGET = """
-- KEYS  results of commands that are being sent
local marker = '{"status": "FAILURE", "result": {"exc_type": "ChainBroken",'
local deleted = 0
for _, key in ipairs(KEYS) do
  local head = redis.pcall('GETRANGE', key, 0, #marker - 1)
  if head == marker then deleted = deleted + redis.call('DEL', key) end
end
return deleted
"""
_FORGET_SHA = sha1(_FORGET.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class NeverSent:
    """A command that was never sent, because the task before it failed."""

    report: Mapping[str, Any]
    """The report of the command before it; only a ``message`` where that task was not one of our commands."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """Something that is stored as the end of a command, and is not signed as a report of it."""

    why: str


@overload
def read_result(raw: str | bytes | None, command_id: str) -> Report | NeverSent | None: ...


@overload
def read_result(
    raw: str | bytes | None, command_id: str, keys: ReportKeys | None
) -> Report | NeverSent | Unverified | None: ...


def read_result(
    raw: str | bytes | None, command_id: str, keys: ReportKeys | None = None
) -> Report | NeverSent | Unverified | None:
    """Interpret a stored result; None when there is none, or when it is not a result that Celery stores.

    With ``keys`` only a report that one of them has signed is believed. The mark that a command was never sent is not
    signed, and a signature would prove nothing: it stops being true when the command is sent after all.
    """
    try:
        exact_json.check_bounds(raw or "", MAX_RESULT_BYTES, MAX_RESULT_CONTAINERS)
        if raw and keys is not None:
            return _verified(exact_json.loads(raw if isinstance(raw, str) else raw.decode("utf-8")), command_id, keys)
        meta = json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return None
    report = report_from_result(meta)
    if report is not None:
        # Stock Celery stores the failure of a chain's link as the result of every link after it as well.
        return report if report.command_id == command_id else NeverSent(report.to_json())
    if not isinstance(meta, Mapping) or meta.get("status") != "FAILURE":
        return None
    error = meta.get("result")
    kind = error.get("exc_type") if isinstance(error, Mapping) else None
    if not isinstance(error, Mapping) or not isinstance(kind, str) or kind in REPORTED:
        return None
    arguments = error.get("exc_message", "")
    first = arguments[0] if isinstance(arguments, list) and len(arguments) == 1 else arguments
    if kind == "ChainBroken" and isinstance(first, Mapping):
        return NeverSent(first)
    # Our workers store no such error: a chain or a chord failed at another service's worker.
    return NeverSent({"message": task_error_text(kind, str(first))})


def _verified(meta: Any, command_id: str, keys: ReportKeys) -> Report | Unverified | None:
    if not isinstance(meta, Mapping) or meta.get("status") not in ("SUCCESS", "FAILURE"):
        return None
    try:
        report = report_from_result(meta, keys.verified)
    except SigningError as error:
        return Unverified(str(error))
    if report is None:
        return Unverified("it is no report; that a command was never sent is seen by the report of the one before it")
    return report if report.command_id == command_id else Unverified("it is the report of another command")


def task_error_text(kind: str, text: str) -> str:
    """Another task's error on one line, of limited length, without invisible characters."""
    return printable(f"{kind}: {text}", MAX_ERROR_LENGTH)


def forget_never_sent(results: DirectClient, keys: Sequence[str]) -> None:
    """Delete the mark that commands were never sent, because they are being sent now. Reports stay."""
    with _forgetting():
        if keys:
            results.script(_FORGET, _FORGET_SHA, keys, [])


async def forget_never_sent_async(results: "AsyncDirectClient", keys: Sequence[str]) -> None:
    """As :func:`forget_never_sent`."""
    with _forgetting():
        if keys:
            await results.script(_FORGET, _FORGET_SHA, keys, [])


@contextmanager
def _forgetting() -> Iterator[None]:
    """Tolerate it when the mark can't be deleted: a failure does not stop the sending, and a user may lack the right;
    the worker that takes a command deletes it too."""
    try:
        yield
    except redis.exceptions.NoPermissionError:
        return
    except (redis.RedisError, OSError) as error:
        logger.warning(
            "results can't be reached (%s); a command that is sent now and was a link of a broken chain is shown as "
            "never sent until a worker takes it",
            type(error).__name__,
        )


def stored_results(results: redis.Redis, command_ids: Sequence[str]) -> list[bytes | None]:
    """The stored results of these ids, read in one round trip; None where there is none, or none that can be read.

    Raises:
        redis.RedisError, OSError: the results cannot be reached.
    """
    with results.pipeline(transaction=False) as pipe:
        ask_for_results(pipe, command_ids)
        return readable_results(pipe.execute(raise_on_error=False))


def ask_for_results(pipe: Any, command_ids: Sequence[str]) -> None:
    """Put into a pipeline, of redis-py's synchronous or asyncio client, what reads these results."""
    for command_id in command_ids:
        # GETRANGE includes its end: a result of one byte too many is recognised by that byte.
        pipe.getrange(RESULT_KEY.format(command_id), 0, MAX_RESULT_BYTES)


def readable_results(replies: Sequence[Any]) -> list[bytes | None]:
    """The results that a server has sent, see :func:`stored_results`.

    Raises:
        redis.ResponseError: the server refuses to tell.
    """
    for each in replies:
        # A key of another type cannot be read. Any other error is the server's.
        if isinstance(each, Exception) and not str(each).startswith("WRONGTYPE"):
            raise each
    return [each if isinstance(each, bytes) and len(each) <= MAX_RESULT_BYTES else None for each in replies]
