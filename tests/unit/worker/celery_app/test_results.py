"""What Celery does beside storing a report never keeps a command's message."""

from typing import Any

import pytest
import redis
from celery import Celery
from celery.app.task import Context
from celery.canvas import Signature
from kombu.exceptions import OperationalError

from worker.celery_app import callbacks, results
from worker.celery_app.results import _ReportStore


class Stock:
    """Celery's backend, of a chord that is complete; its server is away at first."""

    app = Celery("test", broker="memory://", set_as_current=False)

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def on_chord_part_return(self, request: Context, *_: Any, **__: Any) -> None:
        """Sends the body, as Celery's does."""
        if self.errors:
            raise self.errors.pop(0)
        request.chord.delay([])


class Backend(_ReportStore, Stock):
    """Ours over it."""


def test_a_chord_is_told_when_server_and_broker_are_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the server left the message unacknowledged, and its slot taken for as long as the worker lived. The
    body Celery gave up after some tries, and told it as failed, though one of them may have come through."""
    tries = []

    def away_at_first(*_: Any, **__: Any) -> None:
        tries.append(1)
        if len(tries) < 8:
            raise OperationalError("away")

    monkeypatch.setattr(results, "RETRY_SECONDS", 0)
    monkeypatch.setattr(callbacks, "RESEND_SECONDS", 0)
    monkeypatch.setattr(Signature, "apply_async", away_at_first)
    body = {"task": "orders.close", "args": [], "kwargs": {}, "options": {"task_id": "body"}}
    request = Context(id="part", chord=body)
    backend = Backend(redis.ConnectionError(), redis.TimeoutError())
    backend.on_chord_part_return(request, "SUCCESS", {})
    assert (backend.errors, len(tries)) == ([], 8)
    assert request.chord is body
