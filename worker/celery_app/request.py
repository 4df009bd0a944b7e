"""A command's message inside a worker: what logs, events and ``inspect`` may show of it, and that nobody discards it.

Stock Celery drops a message whose id was revoked, or whose ``expires`` has passed, and acknowledges it: the command
would be gone without a report. Here a revocation has no meaning, whichever way the worker learnt of it (remote control,
another worker's greeting at the start, a state file), and what has expired is executed as far as its refusal:
``not_sent/expired``. So is what can't be executed as its envelope asks: due at no time that anybody can tell, or more
than a day from now, or sent to no queue of its own: ``not_sent/invalid``.
"""

# Celery publishes no types.
# mypy: disallow-subclassing-any=False

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.worker.request import Request

from producers.printable import is_command_id
from producers.redaction import REDACTED, hidden_values, redact_text, shown_arguments
from worker.broker.envelope_check import DEFAULT_QUEUE

logger = logging.getLogger("orders.request")

REQUEST = f"{__name__}:OrderRequest"
"""What a task names as its ``Request`` to be a command's."""
LATEST = timedelta(days=1)
"""How far from now a command may be due: a worker holds it in its memory until then."""
DEEPEST = 100
"""Of lists and objects within one another in a message. Pickle takes some hundreds, a command is flat."""
REFUSAL = "orders_refusal"
"""In a task's request: why its envelope lets it end in a refusal, in words; else absent."""

BOUNDS = "what bounds it is ORDERS_RETRY__BUDGET_SECONDS and ORDERS_HTTP__READ_TIMEOUT_SECONDS"

NOT_HEEDED = {
    "time_limit": f"it would end a command in the middle of a send; {BOUNDS}",
    "soft_time_limit": f"it would end a command in the middle of a send; {BOUNDS}",
    "autoscale": "it may end a command in the middle of a send, and threads can't be scaled; the number of slots is "
    "--concurrency, start more workers for more",
}
"""Options of Celery's worker that no worker of commands may follow, and why."""


def guard_options(sender: Any, **_: Any) -> None:
    """For the signal ``worker_init``, which comes before the pool is made."""
    for name, why in NOT_HEEDED.items():
        if getattr(sender, name, None) or sender.options.get(name):
            logger.warning("--%s is not heeded: %s", name.replace("_", "-"), why)
            setattr(sender, name, None)
            sender.options[name] = None


def heeded(headers: dict[str, Any], now: datetime) -> str | None:
    """Change ``eta`` and ``expires`` in a message's headers into what Celery can read, or into nothing.

    Returns why they can't be heeded, None when they can. Dates are ISO 8601; without a zone they are UTC.
    """
    refusal = None
    for name in ("eta", "expires"):
        given = headers.get(name)
        if given is None:
            continue
        try:
            at = utc(given)
        except (ValueError, OverflowError):
            headers[name], refusal = None, refusal or f"its {name} is no date in ISO 8601 that UTC knows"
            continue
        headers[name] = at.isoformat()
        if name == "eta" and at <= now:
            headers[name] = None
        elif name == "eta" and at > now + LATEST:
            headers[name], refusal = None, f"its eta is more than {LATEST.days * 24} h from now; send it later"
    return refusal


def utc(given: Any) -> datetime:
    """A date as Celery writes it.

    Raises:
        ValueError, OverflowError: it is none, or outside of the years 1 to 9999.
    """
    if not isinstance(given, str):
        raise ValueError("no text")  # noqa: TRY004 - it is read from JSON, and no caller's mistake
    at = datetime.fromisoformat(given)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _nested(value: Any, left: int) -> bool:
    """Whether lists and objects are more than so many deep."""
    if not isinstance(value, dict | list | tuple):
        return False
    return left == 0 or any(_nested(each, left - 1) for each in (value.values() if isinstance(value, dict) else value))


class OrderRequest(Request):
    """Use it as a task's ``Request``; the task says by ``hidden`` which arguments must not be seen."""

    def __init__(self, message: Any, *args: Any, headers: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        asked = dict(message.headers if headers is None else headers)
        asked.pop(REFUSAL, None)
        refusal = heeded(asked, datetime.now(UTC))
        if getattr(message, "taken_from", None) == DEFAULT_QUEUE:
            refusal = f"name the queue: it came by Celery's default queue, and belongs on {asked.get('task')}"
            asked["eta"] = None
        super().__init__(message, *args, headers=asked, **kwargs)
        if refusal:
            self._request_dict[REFUSAL] = refusal
        if not is_command_id(self._request_dict["id"]):
            # No result can be stored under it: Celery would never acknowledge it, and lose a slot each time it comes.
            raise ValueError("its id is no word")
        arguments, named, follows = self._payload
        if not (isinstance(arguments, list) and isinstance(named, dict) and isinstance(follows or {}, dict)):
            # The pool would fail at it outside of the task: the message would be gone without an end, or its slot lost.
            raise TypeError("its parts are no list, object and object")
        if _nested(self._request_dict, DEEPEST) or _nested(follows, DEEPEST):
            # The pipe to a child of a pool of processes takes nothing so deep, and its slot would be lost.
            raise ValueError("it is nested too deeply")
        # A sender may call its task anything; whoever watches should see what it is.
        self.name = self._type
        # What the sender calls fit to be seen is not what counts here.
        self._argsrepr = f"({REDACTED})" if self._args else "()"
        self._kwargsrepr = shown_arguments(self._type, self._kwargs, self._task.hidden)
        self._request_dict.update(argsrepr=self._argsrepr, kwargsrepr=self._kwargsrepr, shadow=None)
        # A pool of processes would kill a child in the middle of a send, and call that the end of the command.
        self.time_limits = (None, None)

    def revoked(self) -> bool:
        """Never: a command ends in a report and in nothing else."""
        return False

    def terminate(self, pool: Any, signal: Any = None) -> None:  # noqa: ARG002 - Celery's signature
        """Not done: whatever was being sent would be unknown for ever."""
        logger.warning("not terminated id=%s task=%s: a command is never ended halfway", self.id, self._type)

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: ARG002 - Celery's signature
        """What ``inspect active``, ``reserved``, ``scheduled`` and ``query_task`` tell: always the shown arguments."""
        told: dict[str, Any] = super().info(safe=True)
        return told

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Celery's own, with hidden values struck out of the words of an error, which may be the venue's."""
        for name in ("exception", "traceback"):
            if isinstance(fields.get(name), str):
                fields[name] = redact_text(fields[name], hidden_values(self._kwargs, self._task.hidden))
        super().send_event(type, **fields)
