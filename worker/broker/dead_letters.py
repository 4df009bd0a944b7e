"""Dead letters: messages that no worker can execute, kept on the list ``<queue>.dead`` and never dropped.

They are put there by ``take.lua`` (what breaks the rules of ``worker/broker/envelope_check.py``), by
``worker/broker/take.py`` (what can't be read) and by ``worker/celery_app/consumer.py`` (what can't be executed).
``worker/broker/restore.py`` puts messages that it can't put back on ``unacked.dead``, each as a JSON list of message,
exchange and routing key. Every list is in the broker's database, newest message first.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import redis

from producers.exact_json import check_bounds
from worker.broker.envelope_check import MAX_MESSAGE_BYTES, rejection_reason
from worker.broker.scripts import DEAD_LETTERS, DEAD_REMOVE

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
    """Its index in the list when it was looked at."""
    size: int
    """In bytes."""
    task: str | None
    command_id: str | None
    beginning: str
    """The first characters of a message that names no task; else empty."""
    why: str
    """Why it was not executed, where the envelope shows it; else empty: the worker's log has the reason."""
    digest: str = ""
    """By what it is recognised: 40 hexadecimal digits (``dead_digest.lua``)."""

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


def dead_letters(broker: redis.Redis, limit: int = 200) -> Iterator[tuple[str, int, list[DeadLetter]]]:
    """Yield each queue with dead letters: its name, how many there are, and the newest ``limit`` of them.

    ``broker`` must not decode replies, because a dead letter may be no text.

    Raises:
        redis.RedisError, OSError: the broker can't be asked.
    """
    for queue, key in dead_queues(broker):
        count = broker.llen(cast("str", key))
        yield queue, count, [letter for letter, _ in read_letters(broker, queue, 0, limit, key)]


def dead_queues(broker: redis.Redis) -> list[tuple[str, bytes]]:
    """The queues with dead letters, and the key of each list; raises as :func:`dead_letters` does."""
    keys = sorted(cast("Iterator[bytes]", broker.scan_iter(match=f"*{DEAD_SUFFIX}", count=1000, _type="LIST")))
    return [(key.decode("utf-8", "replace").removesuffix(DEAD_SUFFIX), key) for key in keys]


def read_letters(
    broker: redis.Redis, queue: str, first: int, count: int, key: bytes | None = None
) -> list[tuple[DeadLetter, bytes]]:
    """Dead letters of a queue from an index on, each with its bytes, or the first of one that is longer than
    :data:`READ_BYTES`; raises as :func:`dead_letters` does."""
    arguments = key or queue + DEAD_SUFFIX, count, READ_BYTES, SHOWN_CHARS, first
    rows = cast("list[Any]", broker.eval(DEAD_LETTERS.source, 0, *arguments))
    each = zip(rows[0::3], rows[1::3], rows[2::3], strict=True)
    return [
        (replace(describe(queue, index, raw, size), digest=digest.decode("ascii")), raw)
        for index, (size, raw, digest) in enumerate(each, first)
    ]


def remove_letter(broker: redis.Redis, letter: DeadLetter, to_queue: str = "") -> bool:
    """Remove exactly this dead letter, and put it on a queue in the same step, if one is named; False when it is not
    there any more.

    Raises:
        redis.RedisError, OSError: the broker can't be asked, or refuses; nothing was changed if it refuses.
    """
    keys = [letter.queue + DEAD_SUFFIX, *([to_queue] if to_queue else [])]
    arguments = letter.digest, letter.index, READ_BYTES
    return int(cast("int", broker.eval(DEAD_REMOVE.source, len(keys), *keys, *arguments))) == 1


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
