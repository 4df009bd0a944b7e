"""Log lines as JSON objects, one a line: ours and everybody else's, Celery's too.

Why not a library: structlog and python-json-logger, the two that are well kept, write down whatever a record was given
as ``extra``, and Celery gives its task records the command's arguments and its whole result. Here it is the other way
round: what is not named below is not written.
"""

import copy
import json
import logging
import time
from functools import lru_cache
from typing import Any

from producers.printable import printable
from worker.observability.log_lines import LogEvent

MAX_TEXT_CHARACTERS = 10_000
"""Characters of a message, whoever made it, and of a traceback, of which the end tells most."""


def write_json(logger: logging.Logger, wanted: str) -> None:
    """Let a logger's handlers write JSON: all of them, none (``console``), or those that no person reads (``auto``).
    The others write what a terminal can be shown."""
    for handler in logger.handlers:
        stream = getattr(handler, "stream", None)
        if wanted == "json" or (wanted == "auto" and not (stream is not None and stream.isatty())):
            handler.setFormatter(JsonFormatter())
        elif not isinstance(handler.formatter, LineFormatter):
            handler.setFormatter(LineFormatter(handler.formatter))


class LineFormatter(logging.Formatter):
    """Formats a record as another formatter does, with nothing in it that forges a line or moves a terminal's cursor:
    what a sender, a venue or a server says may hold line breaks, escape sequences and marks of direction."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback's below it."""
        shown = copy.copy(record)
        shown.msg, shown.args = printable(record.getMessage(), MAX_TEXT_CHARACTERS), ()
        if record.exc_info:
            lines = self._inner.formatException(record.exc_info)[-MAX_TEXT_CHARACTERS:].splitlines()
            shown.exc_text = "\n".join(" " * (len(line) - len(line.lstrip(" "))) + printable(line) for line in lines)
        return self._inner.format(shown)


class JsonFormatter(logging.Formatter):
    """Formats a record as ``{"time", "level", "logger", "message", …}``.

    ``time`` is ISO 8601 in UTC. A line of ours has ``event`` and its fields, ``command_id``, ``account`` and
    ``attempt`` among them; one of Celery's about a task has ``command_id`` and ``task``. ``traceback`` is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the record holds."""
        shown: dict[str, Any] = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage()[:MAX_TEXT_CHARACTERS],
            **_fields(record),
        }
        if record.exc_info:
            shown["traceback"] = self.formatException(record.exc_info)[-MAX_TEXT_CHARACTERS:]
        return _encode(shown)


# Made once: `json.dumps` makes an encoder for each call that wants anything but its defaults.
_encode = json.JSONEncoder(default=str).encode


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    if isinstance(record.msg, LogEvent):
        return {"event": record.msg.event, **record.msg.fields}
    # celery/app/trace.py and celery/worker/strategy.py: id, name, args, kwargs, return_value and more of a task.
    data = getattr(record, "data", None)
    if isinstance(data, dict) and "id" in data and "name" in data:
        return {"command_id": str(data["id"]), "task": str(data["name"])}
    return {}
