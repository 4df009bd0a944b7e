"""What a person is told when a worker was asked to reconcile."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from celery import Celery

from producers.errors import BrokerUnavailable
from worker.celery_app.queues import RECONCILE
from worker.celery_app.reconcile_task import register_reconcile
from worker.ledger.base import StillOpen
from worker.operations import reconcile as reconcile_run
from worker.settings import WorkerSettings


class _Asked:
    """An app, and the result it gives: this error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def send_task(self, *_: Any, **__: Any) -> "_Asked":
        return self

    def get(self, **_: Any) -> Any:
        raise self._error


def _ask(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    @contextmanager
    def app(*_: Any) -> Iterator[_Asked]:
        yield _Asked(error)

    monkeypatch.setattr(reconcile_run, "operator_app", app)
    reconcile_run.run_by_worker(WorkerSettings(), "x", 1)


def test_the_worker_says_that_it_is_being_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an error that every Celery client can read."""
    with pytest.raises(StillOpen, match="x is being executed"):
        _ask(monkeypatch, RuntimeError("x is being executed"))


@pytest.mark.parametrize("command_id", ["", "a\nb", "x" * 300, "a\u200b", ["x"], 7])
def test_an_id_that_no_command_has_is_not_looked_for(command_id: Any) -> None:
    """It came in a message, and would be in the result and in the log."""
    app = Celery("test", set_as_current=False)
    register_reconcile(app, lambda: pytest.fail("nothing is looked for"))
    with pytest.raises(LookupError, match="no command has such an id"):
        app.tasks[RECONCILE](command_id)


def test_results_that_can_not_be_reached_are_no_word_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery then raises the same kind of error, and advises to restart the application."""
    lost = RuntimeError("Retry limit exceeded while trying to reconnect. The Celery application must be restarted.")
    lost.__cause__ = redis.ConnectionError("refused")
    with pytest.raises(BrokerUnavailable, match="results can't be reached"):
        _ask(monkeypatch, lost)
