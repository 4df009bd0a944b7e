"""What stands under a command's result key: its report, word that it was never sent, or neither.

A link of a chain, or the body of a chord, that was never sent ends for Celery in FAILURE. Workers store that as
:class:`producers.errors.ChainBroken`, whose one argument is the report of the command that came before it. It goes when
the command is sent after all, and its own report takes its place.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

import redis

from producers.printable import printable
from producers.redis.direct import DirectClient
from producers.report import REPORTED, Report, report_from_result

logger = logging.getLogger("orders.results")

RESULT_KEY = "celery-task-meta-{}"
"""Where Celery's Redis backend keeps a result, and the channel it announces it on."""

RECORD_KEY = "orders:command:{}"
"""Where the ledger keeps a command's record."""

LONGEST_RESULT = 64 * 1024 * 1024
"""Bytes of a result that are read. A report holds a venue's answer of at most 4 MiB, three times as long in JSON."""

LONGEST_WORDS = 300
"""Characters of another task's error that are told."""

_FORGET = """
-- KEYS  results of commands that are being sent
local marker = '{"status": "FAILURE", "result": {"exc_type": "ChainBroken",'
local gone = 0
for _, key in ipairs(KEYS) do
  local head = redis.pcall('GETRANGE', key, 0, #marker - 1)
  if head == marker then gone = gone + redis.call('DEL', key) end
end
return gone
"""
_FORGET_SHA = sha1(_FORGET.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class NeverSent:
    """A command that was not sent for what came before it."""

    report: Mapping[str, Any]
    """The report of the command before it. Where that is no command of ours, ``message`` alone: its error in words."""


def read_result(raw: str | bytes | None, command_id: str) -> Report | NeverSent | None:
    """What a stored result says of this command; None for nothing, and for what is no result of Celery's."""
    try:
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
    # No worker of commands ends one so: a chain, or a chord, failed at another service's worker.
    return NeverSent({"message": task_error_text(kind, str(first))})


def task_error_text(kind: str, text: str) -> str:
    """Another task's error on one line, bounded and of characters that a person can see."""
    return printable(f"{kind}: {text}", LONGEST_WORDS)


def forget_never_sent(results: DirectClient, keys: list[Any]) -> None:
    """Drop the word that these were never sent, for they are being sent. A report stays.

    It keeps nothing from being sent, and a login may have no right to it: the worker that takes a command does it, too.
    """
    try:
        if keys:
            results.script(_FORGET, _FORGET_SHA, keys, [])
    except redis.exceptions.NoPermissionError:
        return
    except (redis.RedisError, OSError) as error:
        logger.warning("results can't be reached (%s)", type(error).__name__)


def stored_results(results: redis.Redis, command_ids: list[str]) -> list[bytes | None]:
    """What is stored under these ids, in one round trip; None where there is nothing that can be read.

    Raises:
        redis.RedisError, OSError: the results can't be reached.
    """
    with results.pipeline(transaction=False) as pipe:
        for command_id in command_ids:
            # One byte more than may be read: what has it is too long.
            pipe.getrange(RESULT_KEY.format(command_id), 0, LONGEST_RESULT)
        found = pipe.execute(raise_on_error=False)
    for each in found:
        # Of another type, say: not readable. Anything else is the server's.
        if isinstance(each, Exception) and not str(each).startswith("WRONGTYPE"):
            raise each
    return [each if isinstance(each, bytes) and len(each) <= LONGEST_RESULT else None for each in found]
