"""A file that is young while the worker consumes: a health check for the price of looking at it.

Celery sends a heartbeat every 2 s from the same loop that takes messages, and none while it is not connected to the
broker. A loop that hangs, a lost server and an ended process therefore all let the file grow old. Asking through the
broker (``celery inspect ping``) would tell the same, and start a Python with all of Celery for each look.
"""

import logging
from pathlib import Path

from celery import signals

logger = logging.getLogger("orders.alive")


def touch_on_heartbeat(path: Path) -> None:
    """Touch ``path`` with every heartbeat that a worker of this process sends. A disk that refuses ends no worker."""
    last_error: list[str] = []

    def touch(**_: object) -> None:
        try:
            path.touch()
            last_error.clear()
        except OSError as error:
            if not last_error:
                logger.warning("%s can't be touched (%s): a health check will find it too old", path, error.strerror)
            last_error[:] = [str(error)]

    signals.heartbeat_sent.connect(touch, weak=False)
