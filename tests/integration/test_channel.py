"""Worker processes on our channel, against a server that crashes, hangs and cuts connections, and killed themselves.

Nothing here asserts how long something takes; every wait is for a condition, up to a deadline.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.channel_rig import ROOT, Broker, Fleet, crash, cut, freeze, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

POOLS = {"threads": ("-P", "threads", "-c", "4"), "solo": ("-P", "solo"), "prefork": ("-P", "prefork", "-c", "4")}


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A fresh durable server."""
    with Broker() as running:
        yield running


@pytest.fixture
def fleet(broker: Broker, tmp_path: Path) -> Iterator[Fleet]:
    """Workers that end with the test."""
    started = Fleet(broker, tmp_path)
    yield started
    started.stop()


@pytest.mark.parametrize("outage", [crash, freeze, cut])
@pytest.mark.parametrize("pool", POOLS)
def test_outage_with_all_slots_taken(
    fleet: Fleet, broker: Broker, pool: str, outage: Callable[[Broker], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same process lives on and works off the backlog; every result and every ack arrives."""
    worker = fleet.worker(*POOLS[pool]).ready()
    slots = 1 if pool == "solo" else 4
    ids = [fleet.send(number, 3.0) for number in range(slots)]
    until(lambda: len(broker.executed()) == slots, "the first tasks running")
    ids += [fleet.send(number, 0.05) for number in range(slots, slots + 20)]
    outage(broker)
    until(lambda: broker.done(ids), "every result", worker, 90)
    until(broker.settled, "every ack", worker)
    assert worker.alive, worker.said
    assert set(broker.executed()) == {str(number) for number in range(slots + 20)}
    again = {number: times for number, times in broker.executed().items() if times > 1}
    with capsys.disabled():
        print(f" executed more than once: {again or 'none'}", end=" ")


@pytest.mark.parametrize("outage", [crash, freeze, cut])
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_outage_with_a_slot_free(fleet: Fleet, broker: Broker, pool: str, outage: Callable[[Broker], None]) -> None:
    """A worker that runs one command and waits for the next lives on too, and what it ran is run once."""
    worker = fleet.worker(*POOLS[pool]).ready()
    first = fleet.send(0, 3.0)
    until(broker.executed, "the first task running")
    outage(broker)
    second = fleet.send(1)
    until(lambda: broker.done([first, second]), "both results", worker, 90)
    until(broker.settled, "every ack", worker)
    assert worker.alive, worker.said
    assert broker.executed() == {"0": 1, "1": 1}


def test_outage_ends_a_stock_worker(fleet: Fleet, broker: Broker) -> None:
    """Why `channel_loss` exists: if this fails, kombu or Celery has mended it and that module may go."""
    worker = fleet.worker(*POOLS["threads"], CHANNEL_TRANSPORT="stock").ready()
    for _ in range(5):  # now and then one survives: it depends on which connection is found dead first
        fleet.client.send_task("sleepy", (2.0,), queue="orders.close", ignore_result=True)
        until(lambda: not worker.alive or broker.db(0).hlen("unacked"), "the task running", worker)
        crash(broker)
        until(lambda: not worker.alive or broker.settled(), "the end of the worker, or the ack", worker)
        if not worker.alive:
            break
    assert worker.process.returncode == 1
    assert "'NoneType' object has no attribute 'hostname'" in worker.said


def test_ack_without_a_server_is_paid_later(fleet: Fleet, broker: Broker) -> None:
    """A command that ends while the broker is away says so in one line, and is acked when the broker is back."""
    worker = fleet.worker(*POOLS["solo"]).ready()
    fleet.client.send_task("sleepy", (2.0,), queue="orders.close", ignore_result=True)
    until(lambda: broker.db(0).hlen("unacked"), "the task running")
    crash(broker)
    until(broker.settled, "the ack", worker)
    assert worker.alive
    assert worker.said.count("received") == 1, worker.said
    assert worker.said.count("it may be delivered again, which is harmless") == 1, worker.said


@pytest.mark.parametrize("pool", POOLS)
def test_orderly_stop_gives_back_what_was_not_begun(fleet: Fleet, broker: Broker, pool: str) -> None:
    """SIGTERM lets the running command end; the rest is at once on its queue for the next worker."""
    worker = fleet.worker(*POOLS[pool]).ready()
    ids = [fleet.send(number, 1.0) for number in range(8)]
    until(broker.executed, "a task running")
    assert worker.stop() == 0, worker.said
    assert broker.db(0).hlen("unacked") == 0, worker.said
    assert sum(broker.executed().values()) + broker.db(0).llen("orders.close") == 8
    fleet.worker(*POOLS[pool]).ready()
    until(lambda: broker.done(ids), "the rest")


@pytest.mark.parametrize("transport", ["ours", "stock"])
def test_death_between_take_and_delivery(fleet: Fleet, broker: Broker, transport: str) -> None:
    """A worker killed right after the take: the next one runs the command; with the stock transport it is gone."""
    first = fleet.worker(*POOLS["threads"], CHANNEL_TRANSPORT=transport, CHANNEL_DIE="taken").ready()
    fleet.send(7)
    until(lambda: not first.alive, "the end of the first worker")
    if transport == "stock":
        assert not broker.db(0).exists("orders.close", "unacked"), "kombu no longer loses it: channel_take may go"
        return
    assert broker.db(0).hlen("unacked") == 1
    fleet.worker(*POOLS["threads"], CHANNEL_VISIBILITY="3").ready()
    until(lambda: broker.executed() == {"7": 1}, "the redelivery")
    until(broker.settled, "the ack")


def test_queues_are_served_in_the_order_listed(fleet: Fleet, broker: Broker) -> None:
    """Cancel goes before close before the rest, and the order is looked at anew for each take."""
    order = ["orders.cancel", "orders.close", "orders.withdraw", "orders.positions"]
    for number, queue in itertools.product(range(3), reversed(order)):
        fleet.send(order.index(queue) * 10 + number, queue=queue)
    fleet.send(99, 2.0, queue="orders.cancel")
    fleet.worker(*POOLS["solo"])
    until(lambda: "99" in broker.executed(), "the last of the first queue running")
    fleet.send(5, queue="orders.cancel")
    until(broker.settled, "everything done")
    ran = [int(number) for number in broker.db(2).lrange("executed", 0, -1)]
    # One message may have been taken before the late cancel came: the one that waits for the only slot.
    assert ran.index(5) <= ran.index(99) + 2
    ran.remove(5)
    assert ran == [0, 1, 2, 99, 10, 11, 12, 20, 21, 22, 30, 31, 32]


def test_unreadable_messages_are_set_aside(fleet: Fleet, broker: Broker) -> None:
    """What can't be read goes to `<queue>.dead` with a loud line, and the worker works on."""
    broken_body = {"properties": {"delivery_tag": "t1", "delivery_info": {}, "body_encoding": "base64"}, "body": 7}
    unreadable = ["not json", "[]", '{"properties": {}}', json.dumps(broken_body), "7", '{"properties": 3}']
    broker.db(0).lpush("orders.cancel", *unreadable)
    worker = fleet.worker(*POOLS["threads"]).ready()
    after = fleet.send(1, queue="orders.cancel")
    until(lambda: broker.done([after]), "work behind the unreadable ones", worker)
    assert sorted(broker.db(0).lrange("orders.cancel.dead", 0, -1)) == sorted(unreadable)
    assert worker.said.count("to orders.cancel.dead") == len(unreadable)
    broker.db(0).delete("orders.cancel.dead")
    until(broker.settled, "nothing left unacked")


def test_remote_control(fleet: Fleet, broker: Broker) -> None:
    """`celery inspect`, which Flower uses too, asks and is answered through the channel on both sides."""
    fleet.worker(*POOLS["threads"]).ready()
    fleet.worker(*POOLS["threads"], CHANNEL_TRANSPORT="stock").ready()
    fleet.send(1, 20.0)
    until(broker.executed, "the task running")
    for question, answer in (("ping", "pong"), ("active", "'name': 'work'"), ("active_queues", "orders.cancel")):
        asked = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "tests.integration.channel_app", "inspect", "-t", "10", question],
            cwd=ROOT,
            env={**os.environ, "CHANNEL_URL": broker.url()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer in asked.stdout, asked
        assert "2 nodes online" in asked.stdout, asked


def test_global_key_prefix(fleet: Fleet, broker: Broker) -> None:
    """With `global_keyprefix` every key of the channel carries the prefix."""
    fleet.client.conf.broker_transport_options = {"global_keyprefix": "p:"}
    worker = fleet.worker(*POOLS["threads"], CHANNEL_PREFIX="p:").ready()
    running, waiting = fleet.send(1, 6.0), fleet.send(2)
    until(lambda: broker.done([waiting]), "the first result", worker)
    assert broker.db(0).hlen("p:unacked") == broker.db(0).zcard("p:unacked_index") == 1
    until(lambda: broker.done([running]), "the results", worker)
    until(broker.settled, "the acks")
    assert not [key for key in broker.db(0).scan_iter() if not key.startswith("p:")]


def test_no_message_is_lost_when_workers_are_killed(fleet: Fleet, broker: Broker) -> None:
    """Ten kills of two workers under 50 messages a second: every message is executed."""
    crew = [fleet.worker(*POOLS["threads"], CHANNEL_VISIBILITY="5") for _ in range(2)]
    for worker in crew:
        worker.ready()
    total, start = 1100, time.monotonic()
    for number in range(total):
        fleet.client.send_task("work", (number, 0.0), queue="orders.close", ignore_result=True)
        if number % 100 == 99 and number < 1000:
            victim = number // 100 % 2
            crew[victim].kill()
            crew[victim] = fleet.worker(*POOLS["threads"], CHANNEL_VISIBILITY="5")
        time.sleep(max(0.0, start + number / 50 - time.monotonic()))
    until(lambda: len(broker.executed()) == total, "every execution", crew[0], 90)
    until(broker.settled, "every ack", crew[0])
