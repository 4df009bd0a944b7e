"""The consumer: a message that raises is kept, one of RabbitMQ passes the gate, and tries to connect come evenly."""

import bz2
import gc
import logging
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import amqp
import pytest
import redis
from celery import Celery
from celery.exceptions import WorkerShutdown
from celery.utils.imports import instantiate
from celery.utils.timer2 import Timer
from celery.worker import state
from celery.worker.consumer.gossip import Gossip
from celery.worker.consumer.mingle import Mingle
from kombu import Connection
from kombu.exceptions import OperationalError

from worker.broker import amqp as amqp_transport
from worker.broker.envelope_check import rejection_reason
from worker.celery_app import consumer as consumer_module
from worker.celery_app import eta
from worker.celery_app.config import SENTINEL_TIMEOUT_SECONDS, broker_options, broker_transport, celery_config
from worker.celery_app.consumer import RECONNECT_SECONDS, OrderConsumer
from worker.settings import WorkerSettings

HEADERS = {"task": "orders.cancel", "id": "1"}
FAULTS = [
    *(OverflowError("x"), RecursionError(), MemoryError(), KeyError("x"), ZeroDivisionError(), AssertionError()),
    *(UnicodeDecodeError("utf-8", b"", 0, 1, "x"), RuntimeError("x"), StopIteration(), Exception("x")),
]
OUTAGES = [redis.ConnectionError(), OSError(), OperationalError()]


@pytest.fixture
def consumer() -> OrderConsumer:
    """The one that a worker would use."""
    app = Celery("consuming", set_as_current=False)
    app.conf.update(celery_config(WorkerSettings(redis_url="redis://127.0.0.1:1")))
    controller = SimpleNamespace(use_eventloop=False, state=None, semaphore=None)
    made = instantiate(app.conf.worker_consumer, print, app=app, timer=Timer(), controller=controller)
    assert isinstance(made, OrderConsumer)
    return made


@pytest.fixture
def dead(consumer: OrderConsumer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lists of dead letters on which something was put."""
    lists: list[str] = []
    monkeypatch.setattr(consumer, "_push_to_dead", lambda _, name: lists.append(name))
    return lists


def receive(consumer: OrderConsumer, error: Exception | None, **changes: Any) -> None:
    """Have a command's message received, and this error raised while it is taken up."""

    def strategy(*_: Any) -> None:
        if error is not None:
            raise error
        consumer.on_task_request(None)

    consumer.strategies["orders.cancel"] = consumer.strategies["celery.accumulate"] = strategy
    fields = {
        "headers": HEADERS,
        "body": b"[]",
        "content_encoding": "utf-8",
        "delivery_info": {"routing_key": "orders.cancel"},
        "properties": {},
        "ack_log_error": lambda *_: None,
        "reject_log_error": lambda *_: None,
    }
    consumer.create_task_handler()(SimpleNamespace(**{**fields, **changes}))


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_whatever_a_message_raises_costs_that_message(
    consumer: OrderConsumer, dead: list[str], fault: Exception
) -> None:
    """It is kept with the dead, and the loop goes on."""
    receive(consumer, fault)
    assert dead == ["orders.cancel.dead"]


@pytest.mark.parametrize("outage", OUTAGES, ids=repr)
def test_a_server_in_trouble_costs_no_message(consumer: OrderConsumer, dead: list[str], outage: Exception) -> None:
    """The loop connects again, and the message comes again."""
    with pytest.raises(type(outage)):
        receive(consumer, outage)
    assert dead == []


def test_a_pool_that_takes_nothing_costs_no_message(consumer: OrderConsumer, dead: list[str]) -> None:
    """No thread can be started, say: that is no fault of the message's."""

    def full(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    made = OrderConsumer(full, app=consumer.app, timer=consumer.timer, controller=consumer.controller)
    with pytest.raises(RuntimeError, match="new thread"):
        receive(made, None)
    assert dead == []


@pytest.mark.parametrize(
    ("changes", "queue"),
    [
        ({"headers": {"task": "celery.accumulate", "id": "1"}}, "orders.cancel"),
        ({"headers": {**HEADERS, "compression": "bzip2"}}, "orders.cancel"),
        ({"body": b"x" * 70_000}, "orders.cancel"),
        ({"content_encoding": "zlib"}, "orders.cancel"),
        ({"delivery_info": {"routing_key": "orders.withdraw"}}, "orders.withdraw"),
        ({"delivery_info": {"routing_key": "orders.cancel", "consumer_tag": "2"}}, "orders.withdraw"),
    ],
    ids=str,
)
def test_what_no_server_has_looked_at_goes_through_the_gate_here(
    consumer: OrderConsumer, dead: list[str], changes: dict[str, Any], queue: str
) -> None:
    """RabbitMQ hands out what it is given; the queue is the one that is consumed, whatever the sender wrote."""
    consumer.task_consumer = SimpleNamespace(_active_tags={"orders.withdraw": "2"})
    receive(consumer, None, **changes)
    assert dead == [f"{queue}.dead"]


class Held(SimpleNamespace):
    """A message, as far as it is taken up."""

    __hash__ = object.__hash__


def test_a_message_that_is_done_with_leaves_the_memory_at_once(consumer: OrderConsumer, dead: list[str]) -> None:
    """A worker looks for cycles after twenty thousand objects: hundreds of messages, each of which may be long."""
    message = Held(
        headers={"task": "orders.nonsense"},
        body=b"[]",
        content_encoding="utf-8",
        delivery_info={"routing_key": "orders.cancel"},
        ack_log_error=lambda *_: None,
    )
    left = weakref.ref(message)
    gc.disable()
    try:
        consumer.create_task_handler()(message)
        del message
        assert left() is None
    finally:
        gc.enable()
    assert dead == ["orders.cancel.dead"]


def test_rabbitmq_has_no_place_for_more_than_a_worker_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds no room is refused with a report; a message without a time, or with one that is past, is not asked."""
    channel = SimpleNamespace(qos=None)
    hour = {"eta": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    for held, headers, refused in (
        (eta.MAX_HELD - 1, hour, False),
        (eta.MAX_HELD, hour, True),
        (eta.MAX_HELD, {}, False),
        (eta.MAX_HELD, {"eta": "2001-01-01T00:00:00"}, False),
    ):
        monkeypatch.setattr("celery.worker.state.scheduled_requests", range(held))
        message = SimpleNamespace(channel=channel, headers=headers, source_queue="orders.cancel")
        assert eta.send_away(message) is False
        assert hasattr(message, "refusal") is refused


def test_no_strategy_but_a_commands(consumer: OrderConsumer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's built-in tasks are in every app, for canvas; no message reaches one."""
    monkeypatch.setattr("celery.app.task.Task.start_strategy", lambda *_: print)
    consumer.update_strategies()
    assert not [name for name in consumer.strategies if name.startswith("celery.")]
    assert [name for name in consumer.app.tasks if name.startswith("celery.")]


def test_rabbitmqs_messages_are_not_opened_before_they_are_looked_at() -> None:
    """kombu decompresses while it makes the object; the headers go on saying that it is compressed."""
    small = bz2.compress(b"0" * 100_000)
    raw = amqp.Message(small, application_headers={**HEADERS, "compression": "application/x-bz2"})
    raw.delivery_info = {"delivery_tag": 1}
    made = amqp_transport.Message(raw)
    assert (made.body, made.errors) == (small, [])
    assert rejection_reason("orders.cancel", made.headers, made.content_encoding, len(made.body)) == "it is compressed"


@pytest.mark.parametrize(("scheme", "name"), [("amqp", "Transport"), ("amqps", "SSLTransport")])
def test_rabbitmq_is_consumed_from_by_that_transport(scheme: str, name: str) -> None:
    """Also with TLS."""
    settings = WorkerSettings(broker_url=f"{scheme}://127.0.0.1:1//")
    assert broker_transport(settings) == f"worker.broker.amqp:{name}"
    assert getattr(amqp_transport, name).Connection.Channel.Message is amqp_transport.Message


# -- tries to connect --------------------------------------------------------------------------------------------------


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds waited between two tries; nothing waits for real."""
    slept: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", slept.append)
    # The transport in memory knows no errors of connections.
    monkeypatch.setattr("kombu.transport.memory.Transport.connection_errors", (ConnectionRefusedError,))
    return slept


def broker(url: str, refusals: int, on_refusal: Callable[[], None] = lambda: None) -> Connection:
    """A connection that is refused so many times."""
    connection = Connection(url)
    connect, left = connection._connection_factory, [refusals]

    def refuse_first() -> Any:
        if left[0]:
            left[0] -= 1
            on_refusal()
            raise ConnectionRefusedError("Connection refused")
        return connect()

    connection._connection_factory = refuse_first
    return connection


@pytest.mark.parametrize("url", ["memory://a", "memory://a;memory://b;memory://c"], ids=["one server", "Sentinels"])
def test_tries_come_at_an_even_pace(consumer: OrderConsumer, waits: list[float], url: str) -> None:
    """Stock Celery would wait for 2, 4, 6 … s, and sleep on when the server is back. Of several Sentinels each is asked
    before there is a wait."""
    assert consumer.ensure_connected(broker(url, 40 * url.count("memory"))).connected
    assert [wait for wait in waits if wait] == [RECONNECT_SECONDS] * 40
    assert RECONNECT_SECONDS <= 1


def test_the_log_is_told_now_and_then(
    consumer: OrderConsumer, waits: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines a second for a whole night would bury what matters."""
    monkeypatch.setattr(consumer_module, "monotonic", lambda: sum(waits))
    with caplog.at_level(logging.ERROR, "celery.worker.consumer.consumer"):
        consumer.ensure_connected(broker("memory://a", 121))  # a minute
    assert [record.message.count("Connection refused") for record in caplog.records] == [1] * 7
    assert sum(waits) == pytest.approx(60.5)


def test_a_worker_that_is_told_to_stop_does_not_wait_for_its_broker(
    consumer: OrderConsumer, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at every try."""
    monkeypatch.setattr(state, "should_stop", None)
    with pytest.raises(WorkerShutdown):
        consumer.ensure_connected(broker("memory://a", 100, lambda: setattr(state, "should_stop", 0)))
    assert waits == []


def test_no_worker_listens_to_others(consumer: OrderConsumer) -> None:
    """Stock Celery asks the others for revoked tasks at every connect (mingle), and does what their events ask for
    (gossip), sending any task included."""
    assert consumer.steps
    assert not [step for step in consumer.steps if isinstance(step, Mingle | Gossip)]


def test_a_broker_that_hangs_is_given_up_sooner_when_it_has_a_successor() -> None:
    """The loop that takes commands waits for each answer, of a sweep, a heartbeat, an ack: with 10 s each a worker was
    back 40 s after its master was frozen, and another had been master for 38 of them."""
    behind = broker_options(WorkerSettings(redis_url="sentinel://h1:1,h2:2?master=orders"))
    alone = broker_options(WorkerSettings(redis_url="redis://h1:1"))
    names = ("socket_timeout", "socket_connect_timeout", "health_check_interval")
    assert [behind[name] for name in names] == [SENTINEL_TIMEOUT_SECONDS] * 3
    assert all(alone[name] > SENTINEL_TIMEOUT_SECONDS for name in names)
