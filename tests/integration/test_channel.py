"""Worker processes on the broker transport, whose server crashes, hangs and cuts connections, or which are killed."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import pytest
from celery import Celery

from tests.integration.channel_rig import OURS, Broker, Fleet, crash, cut, freeze, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    Outage = Callable[[Broker], AbstractContextManager[None]]

SLOTS = 4
POOLS = {
    "threads": ("-P", "threads", "-c", str(SLOTS)),
    "solo": ("-P", "solo"),
    "prefork": ("-P", "prefork", "-c", str(SLOTS)),
}


@pytest.fixture
def fleet(broker: Broker, tmp_path: Path) -> Iterator[Fleet]:
    started = Fleet(broker, tmp_path)
    yield started
    started.stop()


@pytest.fixture(scope="module", params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pool_fleet(pool: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A worker of the pool, which has to live through all of the tests that share it."""
    with Broker() as broker:
        started = Fleet(broker, tmp_path_factory.mktemp("fleet"))
        started.worker(*POOLS[pool])
        yield started
        started.stop()


@pytest.fixture
def crew(pool_fleet: Fleet) -> Fleet:
    """The fleet with its worker ready and nothing executed yet."""
    pool_fleet.workers[0].ready()
    pool_fleet.broker.db(2).flushdb()
    return pool_fleet


def check_survived(crew: Fleet, ids: list[str]) -> None:
    """Every result and every ack arrives, and the process is still there."""
    broker, worker = crew.broker, crew.workers[0]
    until(lambda: broker.done(ids), "every result", worker)
    until(broker.settled, "every ack", worker)
    assert worker.alive, worker.logs()


@pytest.mark.parametrize("outage", [crash, freeze, cut])
def test_a_worker_with_all_slots_taken_survives_an_outage(crew: Fleet, pool: str, outage: Outage) -> None:
    broker, worker, gate = crew.broker, crew.workers[0], crew.gate()
    slots = 1 if pool == "solo" else SLOTS
    ids = [crew.send(number, gate) for number in range(slots)]
    until(lambda: len(broker.executed()) == slots, "the first tasks running")
    ids += [crew.send(number) for number in range(slots, slots + 20)]
    mark = worker.log_size()
    with outage(broker):
        gate.open()
        until(lambda: gate.passed() == slots, "the first tasks ending")
        until(lambda: outage is not crash or worker.log_size() > mark, "the worker missing its server", worker)
    check_survived(crew, ids)
    assert set(broker.executed()) == {str(number) for number in range(slots + 20)}


@pytest.mark.parametrize("outage", [crash, freeze, cut])
def test_a_command_that_runs_during_an_outage_is_run_once(crew: Fleet, outage: Outage) -> None:
    """In every pool but `solo` a slot is free, so the worker waits for a message when its server goes."""
    gate = crew.gate()
    first = crew.send(0, gate)
    until(crew.broker.executed, "the first task running")
    with outage(crew.broker):
        gate.open()
        until(gate.passed, "the first task ending")
    check_survived(crew, [first, crew.send(1)])
    assert crew.broker.executed() == {"0": 1, "1": 1}


def test_an_orderly_stop_gives_back_what_was_not_begun(crew: Fleet, pool: str) -> None:
    """SIGTERM lets running commands end; the rest is at once on its queue for the next worker."""
    broker, worker, gate = crew.broker, crew.workers[0], crew.gate()
    ids = [crew.send(number, gate) for number in range(8)]
    until(broker.executed, "a task running")
    worker.kill("SIGTERM")
    until(lambda: "Warm shutdown" in worker.logs(), "the worker hearing the signal", worker)
    gate.open()
    assert worker.wait_for_exit() == 0, worker.logs()
    assert broker.db().hlen("unacked") == 0, worker.logs()
    assert sum(broker.executed().values()) + broker.db().llen("orders.close") == 8
    crew.worker(*POOLS[pool])
    until(lambda: broker.done(ids), "the rest")


def test_an_outage_ends_a_stock_worker(fleet: Fleet, broker: Broker) -> None:
    """Why `channel_loss` exists: if this fails, kombu or Celery has mended it and that module may go."""
    worker = fleet.worker(*POOLS["threads"], CHANNEL_TRANSPORT="stock")
    worker.ready()
    for number in range(5):  # now and then one survives: it depends on which connection is found dead first
        gate = fleet.gate()
        fleet.send(number, gate, ignore_result=True)
        until(lambda: not worker.alive or broker.db().hlen("unacked"), "the task running", worker)
        mark = worker.log_size()
        with crash(broker):
            until(lambda: worker.log_size() > mark, "the worker missing its server", worker)  # noqa: B023
            gate.open()
        until(lambda: not worker.alive or broker.settled(), "the end of the worker, or the ack", worker)
        if not worker.alive:
            break
    assert worker.exit_code == 1
    assert "'NoneType' object has no attribute 'hostname'" in worker.logs()


def test_an_ack_without_a_server_is_paid_later(fleet: Fleet, broker: Broker) -> None:
    """A command that ends while the broker is away says so in one line, and is acked when the broker is back."""
    worker, gate = fleet.worker(*POOLS["solo"]), fleet.gate()
    fleet.send(1, gate, ignore_result=True)
    until(broker.executed, "the task running", worker)
    said = "it may be delivered again, which is harmless"
    with crash(broker):
        gate.open()
        until(lambda: said in worker.logs(), "the ack that can't be sent", worker)
    until(broker.settled, "the ack", worker)
    assert worker.alive
    assert (worker.logs().count("received"), worker.logs().count(said)) == (1, 1), worker.logs()


@pytest.mark.parametrize("transport", ["ours", "stock"])
def test_a_message_is_lost_between_take_and_delivery_by_the_stock_transport_alone(
    fleet: Fleet, broker: Broker, transport: str
) -> None:
    """Killed at its first delivery, ours has taken both; each is executed once by the next worker."""
    fleet.send(7)
    fleet.send(8)
    first = fleet.worker(*POOLS["threads"], CHANNEL_TRANSPORT=transport, CHANNEL_DIE="taken")
    until(lambda: not first.alive, "the end of the first worker")
    if transport == "stock":
        assert broker.db().llen("orders.close") + broker.db().hlen("unacked") == 1, "kombu no longer loses it"
        return
    assert broker.db().hlen("unacked") == 2
    fleet.worker(*POOLS["threads"], CHANNEL_VISIBILITY="3")
    until(lambda: broker.executed() == {"7": 1, "8": 1}, "the redelivery")
    until(broker.settled, "the ack")


def test_queues_are_served_in_the_order_listed(fleet: Fleet, broker: Broker) -> None:
    """Cancel goes before close before the rest, and the order is looked at anew for each take."""
    order, gate = ["orders.cancel", "orders.close", "orders.withdraw", "orders.positions"], fleet.gate()
    for number, queue in itertools.product(range(3), reversed(order)):
        fleet.send(order.index(queue) * 10 + number, queue=queue)
    fleet.send(99, gate, queue="orders.cancel")
    fleet.worker(*POOLS["solo"])
    until(lambda: "99" in broker.executed(), "the last of the first queue running")
    fleet.send(5, queue="orders.cancel")
    gate.open()
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
    broker.db().lpush("orders.cancel", *unreadable)
    worker = fleet.worker(*POOLS["threads"])
    after = fleet.send(1, queue="orders.cancel")
    until(lambda: broker.done([after]), "work behind the unreadable ones", worker)
    assert sorted(broker.db().lrange("orders.cancel.dead", 0, -1)) == sorted(unreadable)
    assert worker.logs().count("to orders.cancel.dead") == len(unreadable)
    broker.db().delete("orders.cancel.dead")
    until(broker.settled, "nothing left unacked")


def test_remote_control_is_asked_and_answered_through_both_transports(fleet: Fleet, broker: Broker) -> None:
    """`celery inspect`, which Flower uses too."""
    workers = [fleet.worker(*POOLS["threads"], CHANNEL_TRANSPORT=transport) for transport in ("ours", "stock")]
    for worker in workers:
        worker.ready()
    gate = fleet.gate()
    fleet.send(1, gate)
    until(broker.executed, "the task running")
    with Celery("asker", broker=broker.url(0), set_as_current=False) as asker:
        asker.conf.broker_transport = OURS
        inspect = asker.control.inspect(timeout=60, limit=2)
        for question, answer in (("ping", "pong"), ("active", "'name': 'work'"), ("active_queues", "orders.cancel")):
            answers = getattr(inspect, question)()
            assert len(answers) == 2, answers
            assert answer in str(answers)
    gate.open()


def test_every_key_carries_the_global_prefix(fleet: Fleet, broker: Broker) -> None:
    fleet.client.conf.broker_transport_options = {"global_keyprefix": "p:"}
    worker, gate = fleet.worker(*POOLS["threads"], CHANNEL_PREFIX="p:"), fleet.gate()
    running, waiting = fleet.send(1, gate), fleet.send(2)
    until(lambda: broker.done([waiting]), "the first result", worker)
    until(lambda: broker.db().hlen("p:unacked") == broker.db().zcard("p:unacked_index") == 1, "the first ack", worker)
    gate.open()
    until(lambda: broker.done([running]), "the results", worker)
    until(broker.settled, "the acks")
    assert not [key for key in broker.db().scan_iter() if not key.startswith("p:")]
