"""Publishes the messages of held commands again, once somebody has decided or the time of the hold is over.

A held command's message is kept in its record, and the broker has it no more. The workers that execute withdrawals look
for those that are due, one worker at a time; the executor then begins them or ends them. What was published and is
still held after :data:`AGAIN_MS` is published again: its message may have been lost."""

import logging
from collections.abc import Callable

from worker.ledger.held_queue import DueCommand, HeldQueue

logger = logging.getLogger("orders.held")

AGAIN_MS = 60_000
"""After how long a message is published once more."""
UNREADABLE_MS = 3_600_000
"""After how long a message that can't be published is tried again."""


class HeldCommandPublisher:
    """Publishes what is due."""

    def __init__(self, queue: HeldQueue, publish: Callable[[str, str], None], interval_seconds: float) -> None:
        """``publish`` is given the command's id and its kept message; it raises OSError while the broker is away, and
        anything else for a message that it can't publish."""
        self._queue = queue
        self._publish = publish
        self._lock_ms = max(100, int(interval_seconds * 500))

    def publish_due(self) -> int:
        """Publish a page of what is due and return how many; none while another worker does.

        Raises:
            LedgerUnavailable, OSError: the ledger or the broker is away; the next call publishes what this one did not.
        """
        if not self._queue.lock(self._lock_ms):
            return 0
        now_ms = self._queue.now_ms()
        return sum(self._publish_one(each, now_ms) for each in self._queue.due(now_ms))

    def _publish_one(self, due: DueCommand, now_ms: int) -> bool:
        # Before it is published: the worker that takes the message may postpone it further.
        self._queue.postpone(due.command_id, now_ms + AGAIN_MS)
        try:
            self._publish(due.command_id, due.message)
        except OSError:
            self._queue.postpone(due.command_id, now_ms)
            raise
        except Exception as fault:  # noqa: BLE001 - one bad message must not stop the others
            self._queue.postpone(due.command_id, now_ms + UNREADABLE_MS)
            logger.error(  # noqa: TRY400 - its text may quote the message
                "id=%s is held, and its message can't be published again (%s): send the same command again",
                due.command_id,
                type(fault).__name__,
            )
            return False
        logger.info("published again id=%s: it was held for approval", due.command_id)
        return True
