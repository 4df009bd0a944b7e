"""Journal entries of commands that were refused for their seal, from a thread of its own and not without bound.

Whoever can write to a queue can have any number of commands refused: the loop that takes messages must not wait for the
ledger, and the journal must not be filled with refusals. So entries are written at a limited rate, and the next one
says how many were left out; the metric counts them all.
"""

import logging
import threading
from collections.abc import Callable
from queue import Queue
from time import monotonic, sleep
from typing import Any

from worker.execution.policy.token_bucket import TokenBucket
from worker.ledger.base import LedgerUnavailable

logger = logging.getLogger("orders.seals")

BURST = 60
"""How many entries are written at once."""
SECONDS_PER_ENTRY = 10.0
"""After these, one in so many seconds: in a day under 1 % of the entries that a journal keeps by default."""
RETRY_SECONDS = 2.0


class RefusalJournal:
    """Writes entries in the background, in the process that adds the first one."""

    def __init__(self, write: Callable[..., None], now: Callable[[], float] = monotonic) -> None:
        """``write`` is :meth:`worker.ledger.journal_writer.JournalWriter.write`."""
        self._write = write
        self._bucket = TokenBucket(BURST, SECONDS_PER_ENTRY, now)
        self._lock = threading.Lock()
        self._entries: Queue[tuple[str, str, dict[str, Any]]] = Queue(BURST)
        self._left_out = 0
        self._thread: threading.Thread | None = None

    def add(self, event: str, command_id: str, **more: str) -> None:
        """Have an entry written, or leave it out."""
        with self._lock:
            left_out = {"left_out": str(self._left_out)} if self._left_out else {}
            if self._entries.full() or not self._bucket.take():
                self._left_out += 1
                return
            self._entries.put_nowait((event, command_id, {**more, **left_out}))
            self._left_out = 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="orders-refusals", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            event, command_id, more = self._entries.get()
            while not self._written(event, command_id, **more):
                sleep(RETRY_SECONDS)

    def _written(self, event: str, command_id: str, **more: str) -> bool:
        try:
            self._write(event, command_id, **more)
        except LedgerUnavailable:
            return False
        except Exception:  # a fault must not end the thread; the entry is gone, and the metric has counted it
            logger.exception("an entry of a refused command could not be written")
        return True
