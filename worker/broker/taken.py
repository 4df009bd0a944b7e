"""A message that `take.lua` has handed out, and recorded as unacked."""

from __future__ import annotations

from typing import Any

from kombu.transport import virtual

from worker.broker.groups import group_of
from worker.broker.lanes import lane_of_tag

__all__ = ["TakenMessage"]


class TakenMessage(virtual.Message):
    """kombu's message, with what the take says of it."""

    def __init__(self, payload: dict[str, Any], channel: Any, queue: str, raw: bytes) -> None:
        super().__init__(payload, channel)
        self.source_queue = queue
        """The queue that it was taken from, whatever its sender wrote into it."""
        self.raw_bytes = raw
        """The message as it was in that queue."""
        self.lane = lane_of_tag(self.delivery_tag)
        """The lane that it has entered."""
        self._group = ""

    @property
    def group(self) -> str:
        """The group whose place it takes: found in its text, until somebody who has read its command sets it."""
        return self._group or group_of(self.raw_bytes, self.channel.accounts)

    @group.setter
    def group(self, group: str) -> None:
        self._group = group
