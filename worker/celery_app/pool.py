"""The pool of threads (``--pool threads``): plain threads over one queue, in the place of Celery's own over
``concurrent.futures``, which makes a future with a lock of its own for each command, and whose threads keep a process
from ending.

A warm shutdown waits for what runs, however long that takes; each step of a command is bounded. A cold one waits
:data:`COLD_SECONDS`, because a result backend that is away can hold a thread for ever; the ledger knows what has begun.
"""

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import concurrency
from celery.concurrency.base import BasePool, apply_target
from celery.exceptions import WorkerLostError
from celery.worker import state

logger = logging.getLogger("orders.pool")

COLD_SECONDS = 25.0
"""How long a cold shutdown waits for the commands that run: as long as they take with the default settings
(``docs/celery.md``)."""

Job = Callable[[], object]
OnLost = Callable[[ExceptionInfo], object]
"""Called when a job raises, with Celery's error for a worker that was lost: its message goes back to its queue."""


class TaskPool(BasePool):
    """A fixed number of threads. The name is the one that Celery gives its pools."""

    body_can_be_buffer = True
    signal_safe = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._jobs: SimpleQueue[tuple[Job, OnLost | None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._deadline: float | None = None

    def on_start(self) -> None:
        """Start every thread: where one can't be started, the worker does not start."""
        for number in range(self.limit):
            # Daemons, so that a thread that is stuck does not keep the process from its end; on_stop waits for them.
            thread = threading.Thread(target=self._work, name=f"command-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(self, job: Job, on_lost: OnLost | None) -> None:
        """Have a thread call this job as soon as one is free."""
        self._jobs.put((job, on_lost))

    def on_apply(
        self,
        target: Any,
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        error_callback: OnLost | None = None,
        **_: Any,
    ) -> None:
        """Celery's way to have a task executed. There is nothing to wait for or to cancel by, so nothing is
        returned."""
        self.submit(lambda: apply_target(target, args, kwargs, callback, accept_callback), error_callback)

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Do nothing: a thread can't be ended, and no command is. Celery asks for it at a cold shutdown."""

    def on_stop(self) -> None:
        """Wait for the jobs that run. What has not begun is dropped: its message goes back to its queue with the
        connection. A cold shutdown stops the pool, too, in the handler of its signal."""
        try:
            while True:
                self._jobs.get_nowait()
        except Empty:
            pass
        threads, self._threads = self._threads, []
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            self._join(thread)

    on_terminate = on_stop

    def _join(self, thread: threading.Thread) -> None:
        # In steps, because what is warm may become cold by a second signal.
        while thread.is_alive():
            if is_asked_for(state.should_terminate):
                if self._deadline is None:
                    self._deadline = monotonic() + COLD_SECONDS
                if monotonic() > self._deadline:
                    logger.error("%s has not ended, and is left; its command is decided by the ledger", thread.name)
                    return
            thread.join(0.1)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _run(*job)
            del job  # the message would stay in sight until the next comes

    def _get_info(self) -> dict[str, Any]:
        return {**super()._get_info(), "threads": len(self._threads)}


def _run(job: Job, on_lost: OnLost | None) -> None:
    """Call a job. Whatever it raises, the thread goes on, and its command's message keeps no slot."""
    try:
        job()
    except BaseException as error:  # noqa: BLE001 - an error that ended the thread would take a slot
        logger.critical("a thread could not end its command: %s", type(error).__name__)
        try:
            if on_lost is not None:
                on_lost(_lost(error))
        except BaseException as further:  # noqa: BLE001 - the same
            logger.critical("nor give its message back, which comes again in time: %s", type(further).__name__)


def _lost(error: BaseException) -> ExceptionInfo:
    # Only the error's class: its text and traceback may quote a message.
    try:
        raise WorkerLostError(f"a thread could not end its command ({type(error).__name__})") from None
    except WorkerLostError:
        return ExceptionInfo()


def is_asked_for(flag: object) -> bool:
    """Whether Celery's ``should_stop`` or ``should_terminate`` is set: to an exit code, which may be 0. None and False
    mean that the worker goes on."""
    return flag is not None and flag is not False


def use_own_threads() -> None:
    """Have Celery use this pool wherever ``threads`` is asked for: by a setting, or on the command line."""
    concurrency.ALIASES["threads"] = f"{__name__}:{TaskPool.__name__}"
