"""Celery's events of tasks, which Flower and other monitors read: threads only note them, and the loop sends them.

Stock Celery has the thread that notes the 24th event send them all, while every other thread waits; and it keeps what
it could not send, without a bound. Here no thread waits for the server, a message of events leaves at most twenty times
a second, and what is noted beyond :data:`MAX_NOTED` while the server takes none is dropped with a warning in the log:
events are for monitors, and no command depends on them.
"""

import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from celery.events import dispatcher
from celery.events.event import group_from

logger = logging.getLogger("orders.events")

TASK_EVENTS = "task"
"""The group of the events of tasks, which monitors switch on and off."""
MAX_NOTED = 2000
"""How many events of tasks may wait for the loop: more than all threads note in a second."""
MAX_UNSENT = 10
"""How many messages of events are kept that could not be sent."""
FLUSH_SECONDS = 0.05
"""How long an event waits for others, so that they leave in one message."""
WARN_SECONDS = 60.0
"""How often it is logged that events are dropped."""


class EventDispatcher(dispatcher.EventDispatcher):
    """Celery's, with bounds, which never sends in the thread that notes an event of a task."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "buffer_limit": MAX_NOTED + 1})
        self._outbound_buffer: deque[Any] = _Unsent(self._warn_of_dropped)
        self._warned_at = float("-inf")

    def send(self, type: str, *args: Any, **fields: Any) -> Any:  # noqa: A002 - Celery's name
        """Celery's own, which drops what is too much."""
        group = group_from(type)
        if group in self.buffer_group and len(self._group_buffer[group]) >= MAX_NOTED:
            self._warn_of_dropped()
            return None
        return super().send(type, *args, **fields)

    def _warn_of_dropped(self) -> None:
        if monotonic() - self._warned_at >= WARN_SECONDS:
            self._warned_at = monotonic()
            logger.warning("the broker takes no events: some are dropped, and monitors miss them; commands go on")


class _Unsent(deque[Any]):
    """Messages of events that could not be sent; the oldest gives way."""

    def __init__(self, warn: Callable[[], object]) -> None:
        super().__init__(maxlen=MAX_UNSENT)
        self._warn = warn

    def append(self, message: Any) -> None:
        if len(self) == self.maxlen:
            self._warn()
        super().append(message)


def are_read(consumer: Any) -> bool:
    """Whether a monitor has asked for the events of tasks."""
    events = consumer.event_dispatcher
    return events is not None and bool(events.enabled) and (not events.groups or TASK_EVENTS in events.groups)


def note(consumer: Any, kind: str, command_id: str, **fields: Any) -> None:
    """Note an event of a command. Nothing is raised: a command does not depend on its events."""
    try:
        consumer.event_dispatcher.send(kind, uuid=command_id, **fields)
    except Exception as error:  # noqa: BLE001 - whatever it is; a lost connection takes the dispatcher away
        logger.warning("no event %s of id=%s: %s", kind, command_id, type(error).__name__)
