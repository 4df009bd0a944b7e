"""Which messages a worker takes up, decided by the envelope alone, before a body is read.

The same rules are in ``worker/broker/take.lua``, for the server to apply while it hands a message out; here they are
for RabbitMQ, for what only Python can read, and for whoever looks at dead messages.
"""

from collections.abc import Mapping
from typing import Any

from producers.commands import COMMANDS

DEFAULT_QUEUE = "celery"
"""Where a Celery client sends what it names no queue for. A command that arrives there is answered, not executed."""
MAX_MESSAGE_BYTES = 64 * 1024
"""Of a message as it lies in its queue, body and envelope."""
ENCODINGS = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})
"""Of content. Python would take others for compressed (``bz2``, ``zlib``)."""


def rejection_reason(queue: str, headers: Any, content_encoding: Any, size: int) -> str | None:
    """Why a message on this queue is not taken up, in words that quote nothing of it; None when it is.

    ``headers`` and ``content_encoding`` are the envelope's, of whatever type they came as; ``size`` is in bytes.
    """
    named = headers if isinstance(headers, Mapping) else {}
    task = named.get("task")
    if size > MAX_MESSAGE_BYTES:
        return f"it is longer than {MAX_MESSAGE_BYTES} bytes"
    if named.get("compression") not in (None, ""):
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
