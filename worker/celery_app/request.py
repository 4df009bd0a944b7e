"""The request of a command: a worker never discards it, and logs, events and ``inspect`` show only what they may.

Stock Celery drops a message whose id was revoked, or whose ``expires`` has passed, and acknowledges it: the command
would be lost without a report. Here revocations are ignored, however the worker learnt of them (remote control, another
worker's greeting at its start, a state file), and an expired command ends in the report ``not_sent/expired``. A command
whose envelope can't be honoured ends in ``not_sent/invalid``: its ``eta`` can't be read or is more than a day from now,
or it was sent to Celery's default queue.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.app.task import Context
from celery.exceptions import Reject
from celery.worker.request import Request
from celery.worker.state import task_ready

from producers.errors import OrderError
from producers.lanes import UNKNOWN_HEADER
from producers.printable import is_command_id
from producers.redaction import REDACTED, hidden_values, redact_text, shown_arguments
from producers.report import Outcome
from producers.seal import HEADER
from worker.broker.envelope_check import DEFAULT_QUEUE
from worker.broker.groups import OTHERS
from worker.broker.lanes import Fate, lane_refusal
from worker.celery_app.parked import AGAIN_HEADER, ParkRejected, can_park, park
from worker.execution.policy.producer_auth import UNCHECKED, Authority, NotTrusted, ProducerAuth

logger = logging.getLogger("orders.request")

REQUEST = f"{__name__}:OrderRequest"
"""What the task of a command sets as its ``Request``."""
MAX_ETA_DELAY = timedelta(days=1)
"""How far in the future a command's ``eta`` may be."""
MAX_NESTING = 100
"""How deeply lists and objects may be nested in a message. Pickle takes some hundred levels; a command is flat."""
REFUSAL_KEY = "orders_refusal"
"""The key in a task's request under which the reason is, where its envelope makes it end in a refusal."""
AUTHORITY_KEY = "orders_authority"
"""The key in a task's request under which is what its seal allows."""
PARKS_KEY = "orders_parks"
"""The key in a task's request under which is whether its message can be parked."""
END_KEY = "orders_end"
"""The key in a task's request under which is its end, where it was executed already (:mod:`worker.celery_app.direct`):
a function that returns its result or raises."""

PROTOCOL_HEADERS = {
    *("lang", "task", "id", "root_id", "parent_id", "group", "group_index", "shadow", "eta", "expires", "retries"),
    *("timelimit", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting"),
    *("stamped_headers", "stamps"),
}
"""The headers of Celery's message protocol (``celery/app/amqp.py``, ``as_task_v2``)."""
NOT_A_SENDERS = frozenset({*dir(Context), REFUSAL_KEY, AUTHORITY_KEY, PARKS_KEY, END_KEY} - PROTOCOL_HEADERS)
"""Headers that are left out: Celery makes each header an attribute of the task's request, in the place of methods and
private attributes too. One named ``get`` or ``_children`` kept a command's report from being stored."""

BOUNDS = "what bounds it is ORDERS_RETRY__BUDGET_SECONDS and ORDERS_HTTP__READ_TIMEOUT_SECONDS"

IGNORED_OPTIONS = {
    "time_limit": f"it would end a command in the middle of a send; {BOUNDS}",
    "soft_time_limit": f"it would end a command in the middle of a send; {BOUNDS}",
    "autoscale": "it may end a command in the middle of a send, and threads can't be scaled; the number of slots is "
    "--concurrency, start more workers for more",
}
"""Options of Celery's worker that are ignored, and why."""


def ignore_unsafe_options(sender: Any, **_: Any) -> None:
    """Remove :data:`IGNORED_OPTIONS` from a worker's options; a receiver of ``worker_init``, which is sent before the
    pool is created."""
    for name, why in IGNORED_OPTIONS.items():
        if getattr(sender, name, None) or sender.options.get(name):
            logger.warning("--%s is not heeded: %s", name.replace("_", "-"), why)
            setattr(sender, name, None)
            sender.options[name] = None


def normalize_dates(headers: dict[str, Any], now: datetime) -> str | None:
    """Change ``eta`` and ``expires`` in a message's headers into dates that Celery can read, or remove them.

    Returns why they can't be honoured, None when they can. Dates are ISO 8601; without a zone they are UTC.
    """
    refusal = None
    for name in ("eta", "expires"):
        given = headers.get(name)
        if given is None:
            continue
        try:
            at = parse_utc(given)
        except (ValueError, OverflowError):
            headers[name], refusal = None, refusal or f"its {name} is no date in ISO 8601 that UTC knows"
            continue
        headers[name] = at.isoformat()
        if name == "eta" and at <= now:
            headers[name] = None
        elif name == "eta" and at > now + MAX_ETA_DELAY:
            headers[name], refusal = None, f"its eta is more than {MAX_ETA_DELAY.days * 24} h from now; send it later"
    return refusal


def parse_utc(given: Any) -> datetime:
    """Read a date as Celery writes it.

    Raises:
        ValueError, OverflowError: it is no date, or outside of the years 1 to 9999.
    """
    if not isinstance(given, str):
        raise ValueError("it is no string")  # noqa: TRY004 - it is read from JSON, and no caller's mistake
    at = datetime.fromisoformat(given)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def expires_at_ms(expires: Any) -> int | None:
    """When a message expires (UNIX ms); None when it does not say.

    Raises:
        ValueError, OverflowError: as :func:`parse_utc`.
    """
    return None if expires is None else int(parse_utc(expires).timestamp() * 1000)


def _is_nested_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects in a value are nested more than ``levels`` deep."""
    layer = [value] if isinstance(value, dict | list | tuple) else []
    for _ in range(levels):
        parts = (each.values() if isinstance(each, dict) else each for each in layer)
        layer = [each for part in parts for each in part if isinstance(each, dict | list | tuple)]
        if not layer:
            return False
    return bool(layer)


def authority_of(
    task: Any, command_id: str, arguments: tuple[Any, Any], headers: Any, *, redelivered: Any
) -> Authority:
    """What the seal of a command allows, by its positional and keyword arguments; see :class:`ProducerAuth`.

    Raises:
        NotTrusted: the message must not be executed.
    """
    auth: ProducerAuth | None = getattr(task, "producer_auth", None)
    if auth is None:
        return UNCHECKED
    headers = headers if isinstance(headers, dict) else {}
    # Anybody can write that a message comes again: it costs a look into the ledger, and begins nothing.
    again = bool(redelivered or headers.get(AGAIN_HEADER))
    return auth.check(task.name, command_id, arguments, headers.get(HEADER), again=again)


def count_for(message: Any, account: object) -> None:
    """Have the message take its place from the account that its command names. Its body may name another first, as one
    with two members of that name does: that one's commands would have to wait for it."""
    accounts = getattr(message.channel, "accounts", None)
    if accounts is not None:  # our transport's
        name = str(account).lower()
        message.group = name if name in accounts else OTHERS


def _envelope_refusal(message: Any, headers: dict[str, Any]) -> str | None:
    """Why the command of a message ends in a refusal; its ``headers`` are changed into ones that Celery can read."""
    refusal = normalize_dates(headers, datetime.now(UTC))
    if getattr(message, "refusal", None):
        headers["eta"], refusal = None, message.refusal
    if getattr(message, "source_queue", None) == DEFAULT_QUEUE:
        headers["eta"] = None
        refusal = f"name the queue: it came by Celery's default queue, and belongs on {headers.get('task')}"
    return refusal


def redacted(text: str, arguments: object, hidden: frozenset[str]) -> str:
    """An event's text without the values of hidden arguments."""
    return redact_text(text, hidden_values(arguments, hidden))


class SentAway(Exception):
    """Raised for a message that waits for its time at the server, in its lane."""


class OrderRequest(Request):
    """The ``Request`` of a command's task, whose attribute ``hidden`` names the arguments that must not be shown."""

    def __init__(
        self,
        message: Any,
        *args: Any,
        headers: Mapping[str, Any] | None = None,
        authority: Authority | None = None,
        **kwargs: Any,
    ) -> None:
        """``authority`` is what its seal allows, where that was checked before (else it may raise NotTrusted)."""
        given = message.headers if headers is None else headers
        given_headers = {name: value for name, value in given.items() if name not in NOT_A_SENDERS}
        refusal = _envelope_refusal(message, given_headers)
        if kwargs.get("decoded"):
            # Celery reads such a body's own ``eta`` and the like, which nothing here has looked at.
            raise ValueError("its body is that of another version of the message protocol")
        super().__init__(message, *args, headers=given_headers, **kwargs)
        self._check_form()
        count_for(message, self._kwargs.get("account"))
        lane = getattr(message, "lane", None)
        refusal = refusal or lane_refusal(given_headers, lane, self._kwargs.get("account"))
        if refusal:
            self._request_dict[REFUSAL_KEY], self._eta = refusal, None
        again = self.delivery_info["redelivered"]
        arguments = self._args, self._kwargs
        self._authority = authority or authority_of(self._task, self.id, arguments, message.headers, redelivered=again)
        self._request_dict[AUTHORITY_KEY] = self._authority.to_json()
        self._request_dict[PARKS_KEY] = can_park(message)
        if lane and not refusal and message.send_away(message):
            raise SentAway
        self._hide_arguments()
        # A pool of processes would kill a child in the middle of a send, and take that for the end of the command.
        self.time_limits = (None, None)
        self._request_dict["timelimit"] = None  # whatever a sender wrote, for those who read it again

    def _hide_arguments(self) -> None:
        # A sender may set another name for display (``shadow``); monitors are to show the real one.
        self.name = self._type
        # Replaces the representations that the sender wrote into the message.
        self._argsrepr = f"({REDACTED})" if self._args else "()"
        self._kwargsrepr = shown_arguments(self._type, self._kwargs, self._task.hidden)
        self._request_dict.update(argsrepr=self._argsrepr, kwargsrepr=self._kwargsrepr, shadow=None)

    def _check_form(self) -> None:
        """Check what Celery would fail at later, outside of the task.

        Raises:
            ValueError, TypeError: the message is malformed.
        """
        if not is_command_id(self._request_dict["id"]):
            # No result can be stored under such an id: Celery would never acknowledge the message, and lose a slot each
            # time that it is delivered.
            raise ValueError("its id is no command id")
        positional, keywords, embed = self._payload
        if not (isinstance(positional, list) and isinstance(keywords, dict) and isinstance(embed or {}, dict)):
            # The pool would fail outside of the task: the message would be lost without a report, or its slot taken.
            raise TypeError("its body is not a list of a list, an object and an object")
        if _is_nested_deeper(self._request_dict, MAX_NESTING) or _is_nested_deeper(embed, MAX_NESTING):
            # The pipe to a child process of the pool can't take it, and its slot would be lost.
            raise ValueError("it is nested too deeply")

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """Celery's own, but a message that is to be parked is parked; and one that its task rejected for good becomes a
        dead letter, where Celery would store a failure and drop it. The command keeps its lane where this is not its
        end."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, ParkRejected):
            self._park(error)
            return None
        passes = (self._message.headers or {}).get(UNKNOWN_HEADER) == "pass"
        outcome = error.report["outcome"] if isinstance(error, OrderError) else None
        if outcome is None or (outcome == Outcome.UNKNOWN and not passes):
            self._message.fate = Fate.KEPT
        if outcome is not None:
            exc_info.traceback = ""  # the event's, which would show this program's own lines
        if not isinstance(error, Reject) or error.requeue:
            return super().on_failure(exc_info, *args, **kwargs)
        task_ready(self)
        refused = self._authority.refused or NotTrusted("late", self._authority.sealed_by, self._authority.sealed_by)
        self._task.producer_auth.refuse(self._type, self.id, refused)
        move_to_dead: Callable[[Any, str], bool] = self._message.move_to_dead
        self.acknowledged = move_to_dead(self._message, str(refused))
        return None

    def _park(self, waits: ParkRejected) -> None:
        """Park the message. If that fails, it is delivered again after its visibility timeout; the ledger knows what of
        its command has begun."""
        task_ready(self)
        self.acknowledged = True
        try:
            park(self._message, waits.parking)
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop goes on
            logger.error("not parked id=%s task=%s: %s", self.id, self._type, type(error).__name__)  # noqa: TRY400
        # Monitors then show that it is tried again, where "rejected" would say that it is dropped.
        self.send_event("task-retried", exception=repr(waits), traceback="")

    def revoked(self) -> bool:
        """Always False: a command ends in a report and in nothing else."""
        return False

    def terminate(self, pool: Any, signal: Any = None) -> None:  # noqa: ARG002 - Celery's signature
        """Do not terminate: whether a request in progress was executed would stay unknown."""
        logger.warning("not terminated id=%s task=%s: a command is never ended halfway", self.id, self._type)

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: ARG002 - Celery's signature
        """What ``inspect active``, ``reserved``, ``scheduled`` and ``query_task`` show, with redacted arguments."""
        shown: dict[str, Any] = super().info(safe=True)
        return shown

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Celery's own, with hidden values redacted in an error's text, which may be the venue's."""
        for name in ("exception", "traceback"):
            if isinstance(fields.get(name), str):
                fields[name] = redacted(fields[name], self._kwargs, self._task.hidden)
        super().send_event(type, **fields)
