"""One message on RabbitMQ, whatever is in it: it ends no worker, fills none, and keeps none from the next command."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import amqp
import pytest
from kombu import Connection

from producers.client import OrderClient
from producers.settings import QueueSettings
from tests.ha.conftest import MakeWorker, withdrawal
from tests.ha.rabbitmq import RabbitNode, installed
from tests.support.node import running
from tests.support.servers import Server
from tests.support.waiting import until

PEAK_BYTES = 200_000_000
"""More than twice of what a worker takes that does nothing."""
CANCEL = {"account": "main", "order_id": "no"}


class RawMessage(amqp.Message):  # type: ignore[misc] # amqp publishes no types
    """A message with these bytes for properties."""

    def __init__(self, body: bytes, properties: bytes) -> None:
        super().__init__(body)
        self._raw = properties

    def _serialize_properties(self) -> bytes:
        return self._raw


def nested_table(levels: int) -> bytes:
    """A header table whose one field is a table whose one field is a table, and so on."""
    inner = b""
    for _ in range(levels):
        inner = b"\x01a" + b"F" + struct.pack(">I", len(inner)) + inner
    return struct.pack(">I", len(inner)) + inner


HEADERS_ALONE, CONTENT_TYPE_ALONE = struct.pack(">H", 1 << 13), struct.pack(">H", 1 << 15)


def command(**embed: Any) -> bytes:
    return json.dumps(
        [[], CANCEL, {"callbacks": None, "errbacks": None, "chain": None, "chord": None, **embed}]
    ).encode()


def plain(body: bytes, **headers: Any) -> Callable[[str], amqp.Message]:
    return lambda command_id: amqp.Message(
        body,
        content_type="application/json",
        content_encoding="utf-8",
        application_headers={"task": "orders.cancel", "id": command_id, **headers},
    )


def raw(properties: bytes) -> Callable[[str], amqp.Message]:
    return lambda _: RawMessage(command(), properties)


def link_error(**options: Any) -> Callable[[str], amqp.Message]:
    link = {"task": "orders.cancel", "args": [], "kwargs": {}, "options": options, "immutable": True}
    return plain(command(errbacks=[link]))


DEAD: dict[str, Callable[[str], amqp.Message]] = {
    "100 MB": plain(b"x" * 100_000_000),
    "a byte too many": plain(b" " * 65_537),
    "headers 10,000 deep": raw(HEADERS_ALONE + nested_table(10_000)),
    "a content type that is no text": raw(CONTENT_TYPE_ALONE + b"\x02\xff\xfe"),
    "headers 300 deep": raw(HEADERS_ALONE + nested_table(300)),
    "compressed": plain(b"BZh", compression="application/x-bz2"),
    "no task": plain(command(), task=None),
    "a built-in task": plain(command(), task="celery.accumulate"),
    "an id of 40,000 characters": plain(command(), id="x" * 40_000),
    "24,000 levels": plain(b"[" * 24_000),
}
ENDED: dict[str, Callable[[str], amqp.Message]] = {
    "an error callback to a queue with too long a name": link_error(queue="q" * 300),
    "a priority that takes minutes to write out": plain(
        command(errbacks=[{"task": "x", "options": {"priority": "?"}}]).replace(b'"?"', b"1e999999999")
    ),
    "a callback that is tried for ever": link_error(queue="q" * 300, retry_policy={"max_retries": None}),
}


@pytest.fixture(scope="module")
def rabbit(
    require_service: Callable[[str, object], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitNode]:
    """A broker."""
    require_service("rabbitmq-server", installed())
    with running(RabbitNode(tmp_path_factory.mktemp("rabbit"))) as (node,):
        yield node


def peak_memory(pid: int) -> int:
    """The most that a process ever held in memory, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_a_message_costs_itself(rabbit: RabbitNode, make_worker: MakeWorker) -> None:
    """What is no command is kept with the dead, a command ends in its report, and the next command is executed."""
    with Server() as server:
        urls = {"ORDERS_REDIS_URL": server.url(), "ORDERS_BROKER_URL": rabbit.url}
        worker = make_worker("--concurrency", "2", **urls)
        settings = QueueSettings(redis_url=server.url(), broker_url=rabbit.url)
        with OrderClient(settings) as client, Connection(rabbit.url) as connection:
            channel = connection.default_channel
            for number, make in enumerate((*DEAD.values(), *ENDED.values())):
                channel.basic_publish(make(f"id-{number}"), exchange="", routing_key="orders.cancel")
            for number in range(len(DEAD), len(DEAD) + len(ENDED)):
                assert client.wait(f"id-{number}", 60).outcome.value == "rejected"
            until(
                lambda: rabbit.waiting("orders.cancel.dead") == len(DEAD),
                lambda: f"{rabbit.waiting('orders.cancel.dead')} of {len(DEAD)} kept\n{worker.tail()}",
            )
            assert client.wait(client.enqueue(withdrawal()), 60).outcome.value == "accepted"
        assert rabbit.waiting("orders.cancel") == 0
        assert peak_memory(worker.pid) < PEAK_BYTES
        assert worker.status == "running"
