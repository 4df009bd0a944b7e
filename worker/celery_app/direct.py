"""The direct way of a plain command: from its message to a thread of the pool, and from its report to its ack.

Celery makes a request, two promises, a context and a tracer for each task, for callbacks, time limits and signals. A
plain command has none of these, and nobody listens: its report is stored and its message acknowledged without them.
What a message needs beyond that (:meth:`DirectWay.take`), and every other end than a stored report, goes Celery's way.
What anybody sees is the same on both: logs, results, events, ``inspect``, the numbers of tasks.
"""

import logging
from typing import Any

import celery
from celery.app import trace
from celery.worker.state import task_reserved

from producers import message_json
from producers.commands import COMMANDS
from producers.lanes import LANE_HEADER
from producers.printable import is_command_id
from worker.broker.taken import TakenMessage
from worker.celery_app import task_events
from worker.celery_app.direct_request import DirectRequest, are_signals_heard
from worker.celery_app.pool import TaskPool
from worker.celery_app.request import MAX_NESTING, authority_of, count_for, expires_at_ms

logger = logging.getLogger("orders.request")
received_log = logging.getLogger("celery.worker.strategy")

FOLLOWED_BY = frozenset({"callbacks", "errbacks", "chain", "chord"})
"""The keys of the third part of a message's body."""
TESTED_CELERY = "5.7."
CONSUMERS_PRIVATE_PART = "_maximum_prefetch_restored"
"""Whether Celery takes as many messages as there are threads: after a lost connection it takes fewer for a time."""


def is_tested(consumer: Any, version: str = celery.__version__) -> bool:
    """Whether the private parts of Celery that the direct way stands in for are those that it was tested with."""
    return version.startswith(TESTED_CELERY) and hasattr(consumer, CONSUMERS_PRIVATE_PART)


class DirectWay:
    """Takes the plain commands among a consumer's messages."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._pool: TaskPool = consumer.pool
        self._tasks = {name: task for name, task in consumer.app.tasks.items() if name in COMMANDS}

    @classmethod
    def of(cls, consumer: Any) -> "DirectWay | None":
        """The direct way of a consumer; None where its pool is another than ours, or Celery another than the tested."""
        if not isinstance(consumer.pool, TaskPool):
            return None
        if not is_tested(consumer):
            logger.warning(
                "Celery %s is not one that the direct way was tested with: it is not used", celery.__version__
            )
            return None
        return cls(consumer)

    def take(self, message: Any) -> bool:
        """Have a plain command executed; False, and nothing is done, for a message that is to go Celery's way.

        Raises:
            NotTrusted: the message must not be executed.
        """
        consumer = self._consumer
        if are_signals_heard() or consumer.on_task_message or not consumer._maximum_prefetch_restored:  # noqa: SLF001
            return False
        request = self._request(message)
        if request is None:
            return False
        is_logged, are_read = received_log.isEnabledFor(logging.INFO), task_events.are_read(consumer)
        if is_logged or are_read:
            shown = request.shown()
            if is_logged:
                context = {"id": request.id, "name": request.name, **shown, "eta": None}
                received_log.info(trace.LOG_RECEIVED, context, extra={"data": context})
            if are_read:
                request.note_received(shown)
        task_reserved(request)
        self._pool.submit(request.run, request.give_back)
        return True

    def _request(self, message: Any) -> DirectRequest | None:
        try:
            headers, task = message.headers, self._tasks.get(message.source_queue)
            if (
                task is None
                or self._consumer.task_buckets[task.name] is not None
                or not isinstance(message, TakenMessage)
                or message.lane is not None
                or message.content_type != "application/json"
                or not is_command_id(headers["id"])
                or headers.get("eta") is not None
                or headers.get("group") is not None
                or headers.get(LANE_HEADER) is not None
            ):
                return None
            # Past kombu's registry, which finds the same function.
            positional, arguments, embed = message_json.loads(message.body)
            if not (isinstance(positional, list) and isinstance(arguments, dict) and _ends_alone(embed)):
                return None
            if _brackets(message.raw_bytes) + _brackets(message.body) > MAX_NESTING:
                return None  # it may be nested too deeply
            redelivered = bool(message.delivery_info.get("redelivered"))
            expires_at = expires_at_ms(headers.get("expires"))
        except Exception:  # noqa: BLE001 - it is malformed: Celery's way says how
            return None
        count_for(message, arguments.get("account"))
        authority = authority_of(task, headers["id"], (positional, arguments), headers, redelivered=redelivered)
        return DirectRequest(self._consumer, task, message, (positional, arguments), authority, redelivered, expires_at)


def _brackets(text: bytes) -> int:
    """How many lists and objects are in a JSON text, at most: it can't be nested more deeply."""
    return text.count(b"[") + text.count(b"{")


def _ends_alone(embed: Any) -> bool:
    """Whether nothing follows a command, by the third part of its message's body."""
    return not embed or (isinstance(embed, dict) and embed.keys() <= FOLLOWED_BY and not any(embed.values()))
