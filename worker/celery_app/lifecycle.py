"""`kill -HUP` of a worker: it ends what it has begun, and starts again as it was started.

Celery does so as well, by ``sys.argv``: whose first word, under ``python -m celery``, is a file inside of Celery's own
package. Run as a program it finds that package's modules in the place of others, and ends with an ``ImportError``.
"""

import logging
import os
import sys

from celery import platforms
from celery.apps import worker as celery_worker

logger = logging.getLogger("orders.app")


def restart_properly() -> None:
    """Have SIGHUP start this program again by the words that the interpreter was given."""
    celery_worker._reload_current_worker = _start_again  # noqa: SLF001 - Celery looks it up when it is asked to


def _start_again() -> None:
    command = [sys.executable, *sys.orig_argv[1:]]
    logger.warning("asked by SIGHUP: starting again")
    platforms.close_open_fds([sys.__stdin__, sys.__stdout__, sys.__stderr__])
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter, no shell
