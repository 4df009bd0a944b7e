"""A file that is young while the worker consumes: a health check for the price of looking at it.

Celery sends a heartbeat every 2 s from the same loop that takes messages, and none while it is not connected to the
broker. A loop that hangs, a lost server and an ended process therefore all let the file grow old. Asking through the
broker (``celery inspect ping``) would tell the same, and start a Python with all of Celery for each look.
"""

import logging
from pathlib import Path

from celery import signals

logger = logging.getLogger("orders.alive")


def show(path: Path) -> None:
    """Touch ``path`` with every heartbeat that a worker of this process sends. A disk that refuses ends no worker."""
    trouble: list[str] = []

    def touch(**_: object) -> None:
        try:
            path.touch()
            trouble.clear()
        except OSError as error:
            if not trouble:
                logger.warning("%s can't be touched (%s): a health check will find it too old", path, error.strerror)
            trouble[:] = [str(error)]

    signals.heartbeat_sent.connect(touch, weak=False)
