"""What Celery does beside storing a report never keeps a command's message."""

from typing import Any

import pytest
import redis
from celery.app.task import Context

from worker import report_backend
from worker.report_backend import _Reports


class Server:
    """A backend whose server is away at first."""

    def __init__(self) -> None:
        self.told = [redis.ConnectionError(), redis.TimeoutError(), None]
        self.asked = 0

    def on_chord_part_return(self, *_: Any, **__: Any) -> None:
        """Counts."""
        self.asked += 1
        error = self.told[self.asked - 1]
        if error is not None:
            raise error


class Backend(_Reports, Server):
    """Ours over it."""


def test_a_chord_is_told_when_the_server_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A raised error left the message unacknowledged, and its slot taken for as long as the worker lived."""
    monkeypatch.setattr(report_backend, "AGAIN_SECONDS", 0)
    backend = Backend()
    backend.on_chord_part_return(Context(id="id"), "SUCCESS", {})
    assert backend.asked == 3
