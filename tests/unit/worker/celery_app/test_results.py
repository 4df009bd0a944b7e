"""What Celery does beside storing a report never keeps a command's message."""

from typing import Any

import pytest
import redis
from celery import Celery
from celery.app.task import Context
from celery.canvas import Signature
from kombu.exceptions import OperationalError

from worker.celery_app import callbacks
from worker.celery_app import results as report_backend
from worker.celery_app.results import _ReportStore


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


class Backend(_ReportStore, Server):
    """Ours over it."""


def test_a_chord_is_told_when_the_server_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A raised error left the message unacknowledged, and its slot taken for as long as the worker lived."""
    monkeypatch.setattr(report_backend, "RETRY_SECONDS", 0)
    backend = Backend()
    backend.on_chord_part_return(Context(id="id"), "SUCCESS", {})
    assert backend.asked == 3


class Publishing:
    """A backend whose chord is complete."""

    app = Celery("test", broker="memory://", set_as_current=False)

    def on_chord_part_return(self, request: Context, *_: Any, **__: Any) -> None:
        """Sends the body, as Celery's does."""
        request.chord.delay([])


class Complete(_ReportStore, Publishing):
    """Ours over it."""


def test_a_chords_body_is_sent_when_the_broker_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery gave it up after some tries, and told it as failed, though one of them may have come through."""
    tries = []

    def away_at_first(*_: Any, **__: Any) -> None:
        tries.append(1)
        if len(tries) < 8:
            raise OperationalError("away")

    monkeypatch.setattr(callbacks, "RESEND_SECONDS", 0)
    monkeypatch.setattr(Signature, "apply_async", away_at_first)
    body = {"task": "orders.close", "args": [], "kwargs": {}, "options": {"task_id": "body"}}
    request = Context(id="part", chord=body)
    Complete().on_chord_part_return(request, "SUCCESS", {})
    assert len(tries) == 8
    assert request.chord is body
