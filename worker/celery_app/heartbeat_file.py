"""A file that is touched while the worker consumes, so that a health check need only look at its age.

Celery sends a heartbeat every 2 s from the same loop that takes messages, and none while it is not connected to the
broker. A loop that hangs, a lost server and an ended process therefore all let the file grow old. ``celery inspect
ping`` would show the same, but starts a Python with all of Celery for each check.
"""

import logging
from pathlib import Path

from celery import signals

logger = logging.getLogger("orders.alive")


def touch_on_heartbeat(path: Path) -> None:
    """Touch ``path`` with every heartbeat that a worker of this process sends. An error is logged once until touching
    succeeds again."""
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
