"""The consumer's tries to connect: at an even pace, told now and then, ended by a worker that is told to stop."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import WorkerShutdown
from celery.utils.imports import instantiate
from celery.utils.timer2 import Timer
from celery.worker import state
from celery.worker.consumer.mingle import Mingle
from kombu import Connection

from worker.celery_app import consumer as consumer_module
from worker.celery_app.config import SENTINEL_SILENCE_SECONDS, broker_options, celery_config
from worker.celery_app.consumer import RECONNECT_SECONDS, OrderConsumer
from worker.settings import WorkerSettings

Waits = list[float]


@pytest.fixture
def consumer() -> OrderConsumer:
    """The one that a worker would use."""
    app = Celery("reconnecting", set_as_current=False)
    app.conf.update(celery_config(WorkerSettings(redis_url="redis://127.0.0.1:1")))
    controller = SimpleNamespace(use_eventloop=False, state=None, semaphore=None)
    made = instantiate(app.conf.worker_consumer, print, app=app, timer=Timer(), controller=controller)
    assert isinstance(made, OrderConsumer)
    return made


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """The seconds waited between two tries; nothing waits for real."""
    slept: Waits = []
    monkeypatch.setattr("kombu.utils.functional.sleep", slept.append)
    return slept


def broker(url: str, refusals: int, pipelined: Callable[[], None] = lambda: None) -> Connection:
    """A connection that is refused so many times."""
    connection = Connection(url)
    connect, left = connection._connection_factory, [refusals]

    def refuse_first() -> Any:
        if left[0]:
            left[0] -= 1
            pipelined()
            raise ConnectionRefusedError("Connection refused")
        return connect()

    connection._connection_factory = refuse_first
    return connection


@pytest.fixture(autouse=True)
def refused_is_an_error_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport in memory knows none."""
    monkeypatch.setattr("kombu.transport.memory.Transport.connection_errors", (ConnectionRefusedError,))


@pytest.mark.parametrize("url", ["memory://a", "memory://a;memory://b;memory://c"], ids=["one server", "Sentinels"])
def test_tries_come_at_an_even_pace(consumer: OrderConsumer, waits: Waits, url: str) -> None:
    """Stock Celery would wait for 2, 4, 6 … s, and sleep on when the server is back. Of several Sentinels each is asked
    before there is a wait."""
    hosts = url.count("memory")
    assert consumer.ensure_connected(broker(url, 40 * hosts)).connected
    assert [wait for wait in waits if wait] == [RECONNECT_SECONDS] * 40
    assert RECONNECT_SECONDS <= 1


def test_the_log_is_told_now_and_then(
    consumer: OrderConsumer, waits: Waits, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines a second for a whole night would bury what matters."""
    monkeypatch.setattr(consumer_module, "monotonic", lambda: sum(waits))
    with caplog.at_level(logging.ERROR, "celery.worker.consumer.consumer"):
        consumer.ensure_connected(broker("memory://a", 121))  # a minute
    assert [record.message.count("Connection refused") for record in caplog.records] == [1] * 7
    assert sum(waits) == pytest.approx(60.5)


def test_a_worker_that_is_told_to_stop_does_not_wait_for_its_broker(
    consumer: OrderConsumer, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at every try."""
    monkeypatch.setattr(state, "should_stop", None)
    connection = broker("memory://a", 100, pipelined=lambda: setattr(state, "should_stop", 0))
    with pytest.raises(WorkerShutdown):
        consumer.ensure_connected(connection)
    assert waits == []


def test_no_second_is_spent_on_asking_for_revoked_tasks(consumer: OrderConsumer) -> None:
    """Stock Celery asks the other workers at every connect, and waits for their answers."""
    assert consumer.steps
    assert not [step for step in consumer.steps if isinstance(step, Mingle)]


def test_a_broker_that_hangs_is_given_up_sooner_when_it_has_a_successor() -> None:
    """The loop that takes commands waits for each answer, of a sweep, a heartbeat, an ack: with 10 s each a worker was
    back 40 s after its master was frozen, and another had been master for 38 of them."""
    behind = broker_options(WorkerSettings(redis_url="sentinel://h1:1,h2:2?master=orders"))
    alone = broker_options(WorkerSettings(redis_url="redis://h1:1"))
    names = ("socket_timeout", "socket_connect_timeout", "health_check_interval")
    assert [behind[name] for name in names] == [SENTINEL_SILENCE_SECONDS] * 3
    assert all(alone[name] > SENTINEL_SILENCE_SECONDS for name in names)
