"""Log lines as JSON objects, one object a line, of every logger.

Why no library: structlog and python-json-logger, the two that are well maintained, write whatever a record was given as
``extra``, and Celery adds a command's arguments and its whole result to the records of a task. Here only the fields
that are named below are written.
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
"""How many characters are written of a message and of a traceback, of which the end is kept."""


def write_json(logger: logging.Logger, log_format: str) -> None:
    """Set the formatters of a logger's handlers, by ``ORDERS_LOG__FORMAT``: JSON for all (``json``), for none
    (``console``), or for those that do not write to a terminal (``auto``).

    The other handlers write lines that are safe for a terminal.
    """
    for handler in logger.handlers:
        stream = getattr(handler, "stream", None)
        if log_format == "json" or (log_format == "auto" and not (stream is not None and stream.isatty())):
            handler.setFormatter(JsonFormatter())
        elif not isinstance(handler.formatter, LineFormatter):
            handler.setFormatter(LineFormatter(handler.formatter))


class LineFormatter(logging.Formatter):
    """Formats a record as another formatter does, without characters that could forge a line or control a terminal:
    texts of a sender, a venue or a server may hold line breaks, escape sequences and marks of direction."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """One line, followed by those of a traceback."""
        shown = copy.copy(record)
        shown.msg, shown.args = printable(record.getMessage(), MAX_TEXT_CHARACTERS), ()
        if record.exc_info:
            lines = self._inner.formatException(record.exc_info)[-MAX_TEXT_CHARACTERS:].splitlines()
            shown.exc_text = "\n".join(" " * (len(line) - len(line.lstrip(" "))) + printable(line) for line in lines)
        return self._inner.format(shown)


class JsonFormatter(logging.Formatter):
    """Formats a record as ``{"time", "level", "logger", "message", …}``.

    ``time`` is ISO 8601 in UTC. Our own events have ``event`` and their fields, ``command_id``, ``account`` and
    ``attempt`` among them; a record of Celery about a task has ``command_id`` and ``task``. ``traceback`` is there when
    the record has an exception.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON, whatever the record holds."""
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


# Created once: `json.dumps` creates an encoder for each call with an option.
_encode = json.JSONEncoder(default=str).encode


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    if isinstance(record.msg, LogEvent):
        return {"event": record.msg.event, **record.msg.fields}
    # Set by celery/app/trace.py and celery/worker/strategy.py: id, name, args, kwargs, return_value and more of a task.
    data = getattr(record, "data", None)
    if isinstance(data, dict) and "id" in data and "name" in data:
        return {"command_id": str(data["id"]), "task": str(data["name"])}
    return {}
