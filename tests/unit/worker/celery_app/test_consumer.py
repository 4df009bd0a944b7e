"""What becomes of a message that raises while it is taken up, and of one that RabbitMQ delivers."""

import bz2
from types import SimpleNamespace
from typing import Any

import amqp
import pytest
import redis
from kombu.exceptions import OperationalError

from tests.unit.worker.celery_app.test_reconnect import consumer  # noqa: F401 - a fixture
from worker.broker import amqp as ours
from worker.broker.envelope_check import rejection_reason
from worker.celery_app.config import broker_transport
from worker.celery_app.consumer import OrderConsumer
from worker.settings import WorkerSettings

HEADERS = {"task": "orders.cancel", "id": "1"}
FAULTS = [
    *(OverflowError("x"), RecursionError(), MemoryError(), KeyError("x"), ZeroDivisionError(), AssertionError()),
    *(UnicodeDecodeError("utf-8", b"", 0, 1, "x"), RuntimeError("x"), StopIteration(), Exception("x")),
]


def message(**changes: Any) -> Any:
    """A command's message as the consumer gets it."""
    fields = {
        "headers": HEADERS,
        "body": b"[]",
        "content_encoding": "utf-8",
        "delivery_info": {"routing_key": "orders.cancel"},
        "properties": {},
        "ack_log_error": lambda *_: None,
        "reject_log_error": lambda *_: None,
    }
    return SimpleNamespace(**{**fields, **changes})


@pytest.fixture
def kept(consumer: OrderConsumer, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: F811
    """The queues on whose lists of dead messages something was put."""
    queues: list[str] = []
    monkeypatch.setattr(consumer, "_push_to_dead", lambda _, queue: queues.append(queue))
    return queues


def strategy(error: Exception) -> Any:
    """What Celery calls with a message of the task."""

    def take_up(*_: Any) -> None:
        raise error

    return take_up


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_whatever_a_message_raises_costs_that_message(
    consumer: OrderConsumer,  # noqa: F811
    kept: list[str],
    fault: Exception,
) -> None:
    """It is kept with the dead, and the loop goes on."""
    consumer.strategies["orders.cancel"] = strategy(fault)
    consumer.create_task_handler()(message())
    assert kept == ["orders.cancel.dead"]


@pytest.mark.parametrize("trouble", [redis.ConnectionError(), OSError(), OperationalError()], ids=repr)
def test_a_server_in_trouble_costs_no_message(
    consumer: OrderConsumer,  # noqa: F811
    kept: list[str],
    trouble: Exception,
) -> None:
    """The loop connects again, and the message comes again."""
    consumer.strategies["orders.cancel"] = strategy(trouble)
    with pytest.raises(type(trouble)):
        consumer.create_task_handler()(message())
    assert kept == []


def test_a_pool_that_takes_nothing_costs_no_message(consumer: OrderConsumer, kept: list[str]) -> None:  # noqa: F811
    """No thread can be started, say: that is no fault of the message's."""

    def full(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    made = OrderConsumer(full, app=consumer.app, timer=consumer.timer, controller=consumer.controller)
    made.strategies["orders.cancel"] = lambda *_: made.on_task_request(None)
    with pytest.raises(RuntimeError, match="new thread"):
        made.create_task_handler()(message())
    assert kept == []


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": {"task": "celery.accumulate", "id": "1"}},
        {"headers": {**HEADERS, "compression": "bzip2"}},
        {"body": b"x" * 70_000},
        {"delivery_info": {"routing_key": "orders.withdraw"}},
        {"delivery_info": {"routing_key": "orders.cancel", "consumer_tag": "2"}},
        {"content_encoding": "zlib"},
    ],
    ids=str,
)
def test_what_no_server_has_looked_at_goes_through_the_gate_here(
    consumer: OrderConsumer,  # noqa: F811
    kept: list[str],
    changes: dict[str, Any],
) -> None:
    """RabbitMQ hands out what it is given; the queue is the one that is consumed, whatever the sender wrote."""
    consumer.task_consumer = SimpleNamespace(_active_tags={"orders.withdraw": "2"})
    consumer.strategies["orders.cancel"] = consumer.strategies["celery.accumulate"] = strategy(RuntimeError("taken up"))
    consumer.create_task_handler()(message(**changes))
    assert len(kept) == 1
    assert kept[0] in ("orders.cancel.dead", "orders.withdraw.dead")


def test_no_strategy_but_a_commands(
    consumer: OrderConsumer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
    made = ours.Message(raw)
    assert made.body == small
    assert made.errors == []
    assert rejection_reason("orders.cancel", made.headers, made.content_encoding, len(made.body)) == "it is compressed"


@pytest.mark.parametrize(("scheme", "name"), [("amqp", "Transport"), ("amqps", "SSLTransport")])
def test_rabbitmq_is_consumed_from_by_that_transport(scheme: str, name: str) -> None:
    """Also with TLS."""
    settings = WorkerSettings(broker_url=f"{scheme}://127.0.0.1:1//")
    assert broker_transport(settings) == f"worker.broker.amqp:{name}"
    assert getattr(ours, name).Connection.Channel.Message is ours.Message
