"""What happens around a worker's run: its tuning at the start, the work beside its tasks, and its restart by SIGHUP."""

import ctypes
import gc
import logging
import os
import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from celery import platforms, signals
from celery.apps import worker as celery_worker

logger = logging.getLogger("orders.app")

GARBAGE_THRESHOLD = 20_000
"""How many objects are created before Python collects its youngest generation; its default is 700
(``gc.set_threshold``)."""


def run_with_worker(on_ready: Sequence[Callable[[], object]], *on_shutdown: Callable[[], object]) -> None:
    """Have ``on_ready`` called when a worker of this process is ready, and ``on_shutdown`` when it begins to shut down.
    In a client that only imports the app they are not called."""

    def start(**_: object) -> None:
        for call in on_ready:
            call()

    def stop(**_: object) -> None:
        for call in on_shutdown:
            call()

    signals.worker_ready.connect(start, weak=False)
    signals.worker_shutting_down.connect(stop, weak=False)


def refuse_to_start_if(problem: Callable[[], str]) -> None:
    """End a worker of this process before it connects, with the ``problem`` as its last line, unless that is empty. A
    client that only imports the app goes on."""

    def check(**_: object) -> None:
        if words := problem():
            raise SystemExit(f"the worker does not start: {words}")

    signals.worker_init.connect(check, weak=False)


M_ARENA_MAX = -8
"""The option of glibc's ``mallopt(3)``."""


def freeze_startup_objects() -> None:
    """Keep the garbage collector from looking again and again at the objects that a worker starts with, which stay.

    Its youngest generation is made larger, because a command leaves some thousand short-lived objects and no cycle
    worth a pause.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, *gc.get_threshold()[1:])


def share_arena(**_: object) -> None:
    """Have all threads allocate from the same memory, because they take turns in one interpreter; by default each has
    its own, which takes 0.1 MB more a thread. A receiver of ``worker_init``: it has no effect once threads run."""
    with suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


PR_SET_DUMPABLE = 4
"""The option of Linux' ``prctl(2)``."""


def keep_memory_private(**_: object) -> None:
    """Have the kernel write no core dump of this process, and, on Linux, let no other process of this user read its
    memory: API keys are in it. A debugger then needs root (``CAP_SYS_PTRACE``). Children of the pool inherit both.

    A receiver of ``worker_init``.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # A limit does not hold for dumps that the kernel pipes to a program (core(5)); this does.
        if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    except (OSError, ValueError, AttributeError) as error:
        logger.warning("core dumps of this process can't be switched off (%s): keep them off this machine", error)


def restart_on_sighup() -> None:
    """Have SIGHUP start this program again with the arguments that the interpreter was given.

    Celery restarts by ``sys.argv``, whose first word, under ``python -m celery``, is a file inside of Celery's own
    package. Run as a program it finds that package's modules in the place of others, and ends with an ``ImportError``.
    """
    celery_worker._reload_current_worker = _restart  # noqa: SLF001 - Celery looks it up when SIGHUP comes


def _restart() -> None:
    command = [sys.executable, *sys.orig_argv[1:]]
    logger.warning("SIGHUP received: starting again")
    platforms.close_open_fds([sys.__stdin__, sys.__stdout__, sys.__stderr__])
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter, no shell
