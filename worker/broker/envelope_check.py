"""Which messages a worker executes, decided by the envelope alone, before a body is read.

``take.lua`` applies the same rules on the Redis server when a message is taken. They are repeated here for RabbitMQ,
for messages that only Python can read, and for showing dead letters.
"""

from typing import Any

from producers.commands import COMMANDS

DEFAULT_QUEUE = "celery"
"""Where a Celery client sends a task for which no queue is named. A command that arrives there is answered with a
refusal and not executed."""
MAX_MESSAGE_BYTES = 64 * 1024
"""How large a message in its queue may be, body and envelope together."""
ENCODINGS = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})
"""The content encodings that are accepted. Python knows others that decompress (``bz2``, ``zlib``)."""


def rejection_reason(queue: str, headers: Any, content_encoding: Any, size: int) -> str | None:
    """Why a message on this queue is not executed, in words that quote nothing of it; None when it is.

    ``headers`` and ``content_encoding`` are the envelope's and may be of any type; ``size`` is in bytes.
    """
    fields = headers if isinstance(headers, dict) else {}
    task = fields.get("task")
    if size > MAX_MESSAGE_BYTES:
        return f"it is longer than {MAX_MESSAGE_BYTES} bytes"
    if fields.get("compression") not in (None, ""):
        return "it is compressed"
    if content_encoding is not None and (
        not isinstance(content_encoding, str) or content_encoding.lower() not in ENCODINGS
    ):
        return "its content is encoded in another way than UTF-8"
    if task is None:
        return "it names no task"
    if queue == DEFAULT_QUEUE:
        return None if isinstance(task, str) and task in COMMANDS else "it is no command"
    return None if task == queue else "its task is not its queue's name"
