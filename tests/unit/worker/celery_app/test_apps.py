"""The client's and the worker's Celery apps, without a server."""

import logging
import sys

import kombu.transport
import pytest

from producers.client import OrderClient
from producers.settings import QueueSettings
from worker import bootstrap as worker_app
from worker.bootstrap import build_app, warn_about_accounts
from worker.settings import WorkerSettings


@pytest.mark.parametrize(
    "name", ["CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND"]
)
def test_the_environment_of_another_celery_program_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands go to the broker of our own settings, and reports to our own backend."""
    monkeypatch.setenv(name, "redis://10.9.9.9:1/7")
    settings = WorkerSettings(redis_url="redis://127.0.0.1:7")
    app = build_app(settings)
    with OrderClient(QueueSettings(redis_url="redis://127.0.0.1:7")) as client:
        writers = [app.connection_for_write(), client._app.connection_for_write(), app.connection_for_read()]
        assert all(connection.as_uri().endswith("127.0.0.1:7/0") for connection in writers)
    assert app.backend.as_uri() == "redis://127.0.0.1:7/1"


def test_a_worker_without_accounts_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Started, healthy, and refusing every command: whoever forgot the accounts would look elsewhere."""
    some = {"main": {"venue": "everstrike", "api_key": "k", "secret_key": "s"}}
    with caplog.at_level(logging.WARNING):
        warn_about_accounts(WorkerSettings.model_validate({"accounts": some}))
        assert not caplog.records
        warn_about_accounts(WorkerSettings())
    assert "every command is refused" in caplog.text


def test_a_worker_names_accounts_that_share_a_key_but_not_its_limits(caplog: pytest.LogCaptureFixture) -> None:
    """Their commands are counted together, which whoever wrote the limits should know."""
    keys = {"venue": "everstrike", "api_key": "hunter2-key", "secret_key": "hunter2-secret"}
    accounts = {"main": keys, "second": {**keys, "rate_limits": "9/1s"}}
    with caplog.at_level(logging.WARNING):
        warn_about_accounts(WorkerSettings.model_validate({"accounts": accounts}))
    assert "main (10/1s 50/20s 500/200s), second (9/1s) have one key" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("url", "name", "ours"),
    [
        ("redis://127.0.0.1:7", "redis", "worker.broker.transport:Transport"),
        ("rediss://127.0.0.1:7", "rediss", "worker.broker.transport:Transport"),
        ("sentinel://127.0.0.1:7/0?master=orders", "sentinel", "worker.broker.transport:SentinelTransport"),
    ],
)
def test_flowers_transport_is_ours_by_a_stock_name(
    monkeypatch: pytest.MonkeyPatch, url: str, name: str, ours: str
) -> None:
    """Flower's page of queues knows stock names alone; the stock transport would sweep what workers hold."""
    monkeypatch.setattr(sys, "argv", ["celery", "-A", "worker", "flower"])
    monkeypatch.setattr(worker_app, "prepare_flower", lambda *_: None)
    monkeypatch.setattr(kombu.transport, "_transport_cache", {})
    monkeypatch.setitem(kombu.transport.TRANSPORT_ALIASES, name, "nobody's")
    connection = build_app(WorkerSettings(redis_url=url)).connection()
    assert connection.as_uri().startswith(f"{name}://")
    assert kombu.transport.TRANSPORT_ALIASES[name] == ours
    assert connection.transport_cls == name
