"""Dead letters: messages that no worker can execute, kept on the list ``<queue>.dead`` and never dropped.

They are put there by ``take.lua`` (what breaks the rules of ``worker/broker/envelope_check.py``), by
``worker/broker/take.py`` (what can't be read) and by ``worker/celery_app/consumer.py`` (what can't be executed).
``worker/broker/restore.py`` puts messages that it can't put back on ``unacked.dead``, each as a JSON list of message,
exchange and routing key. Every list is in the broker's database, newest message first.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis

from producers.exact_json import check_bounds
from worker.broker.envelope_check import MAX_MESSAGE_BYTES, rejection_reason
from worker.broker.scripts import DEAD_LETTERS

DEAD_SUFFIX = ".dead"
READ_BYTES = 2 * MAX_MESSAGE_BYTES
"""How long a dead letter may be to be read: an unacked message has its exchange and its routing key beside it."""
SHOWN_CHARS = 48
"""How many characters are shown of a message that can't be read at all: enough to recognise its kind."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What may be shown of one message. Its arguments are left out, because they may hold secrets."""

    queue: str
    index: int
    """Its index in the list, for ``LINDEX`` and ``LREM`` by hand."""
    size: int
    """In bytes."""
    task: str | None
    command_id: str | None
    beginning: str
    """The first characters of a message that names no task; else empty."""
    why: str
    """Why it was not executed, where the envelope shows it; else empty: the worker's log has the reason."""

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


def dead_letters(broker: redis.Redis, limit: int = 200) -> Iterator[tuple[str, int, list[DeadLetter]]]:
    """Yield each queue with dead letters: its name, how many there are, and the newest ``limit`` of them.

    ``broker`` must not decode replies, because a dead letter may be no text.

    Raises:
        redis.RedisError, OSError: the broker can't be asked.
    """
    keys = sorted(cast("Iterator[bytes]", broker.scan_iter(match=f"*{DEAD_SUFFIX}", count=1000, _type="LIST")))
    for key in keys:
        queue = key.decode("utf-8", "replace").removesuffix(DEAD_SUFFIX)
        rows = cast("list[Any]", broker.eval(DEAD_LETTERS.source, 0, key, limit, READ_BYTES, SHOWN_CHARS))
        count = broker.llen(cast("str", key))
        sized = zip(rows[0::2], rows[1::2], strict=True)
        yield queue, count, [describe(queue, index, raw, size) for index, (size, raw) in enumerate(sized)]


def describe(queue: str, index: int, raw: bytes, size: int | None = None) -> DeadLetter:
    """What may be shown of a dead letter; ``raw`` is only its beginning where ``size`` says more."""
    size = len(raw) if size is None else size
    task, command_id, why = _read(queue, raw, size)
    return DeadLetter(
        queue=queue,
        index=index,
        size=size,
        task=task[:100] if isinstance(task, str) else None,
        command_id=command_id[:255] if isinstance(command_id, str) else None,
        beginning="" if isinstance(task, str) else _beginning(raw),
        why=why,
    )


def _read(queue: str, raw: bytes, size: int) -> tuple[Any, Any, str]:
    """Task, id, and why the message was not executed."""
    try:
        check_bounds(raw, READ_BYTES)
        message = json.loads(raw)
        if isinstance(message, list):  # in the form of the unacked messages
            message, _, queue = message
        headers = message["headers"]
        why = rejection_reason(queue, headers, message.get("content-encoding"), size) or ""
        return headers.get("task"), headers.get("id"), why
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None, None, rejection_reason(queue, {"task": queue}, None, size) or "it can't be read"


def _beginning(raw: bytes) -> str:
    """The first characters, or the first bytes in hex. Of a JSON object only the names of its fields: its body may hold
    secrets."""
    try:
        check_bounds(raw, READ_BYTES)
        value = json.loads(raw)
        if isinstance(value, dict):
            return f"JSON object of {', '.join(sorted(map(str, value)))}"[: 2 * SHOWN_CHARS]
        if isinstance(value, list):
            return f"JSON list of {len(value)}"
        text = raw[:SHOWN_CHARS].decode("ascii")
    except (ValueError, RecursionError):
        text = raw[:SHOWN_CHARS].decode("ascii", "replace")
    return text if text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text else raw[: SHOWN_CHARS // 2].hex(" ")
