"""RabbitMQ as broker, results and ledger on Redis: the promises are the ledger's, and hold there too."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from kombu import Connection

from producers.client import OrderClient, publisher_app
from producers.commands import Cancel, Close, Positions
from producers.errors import BrokerUnavailable
from producers.seal import HEADER
from producers.settings import QueueSettings
from tests.ha.conftest import KEY, Authorities, MakeWorker, executed, withdrawal
from tests.ha.rabbitmq import RabbitNode, installed
from tests.support.clients import CLIENTS, ClientClass
from tests.support.node import running
from tests.support.policies import APPROVERS, KEYS
from tests.support.seals import PAYROLL, new_id, sealed, write_keys
from tests.support.servers import Server, free_port
from tests.support.stack import foreign_app
from tests.support.waiting import until
from worker.bootstrap import build_app
from worker.broker.dead_letters import DEAD_SUFFIX
from worker.celery_app.queues import QUEUES
from worker.ledger.connection import connect
from worker.ledger.redis import RedisLedger
from worker.operations.approvals import ApprovalService
from worker.settings import WorkerSettings
from worker.simulator.server import SimulatorServer


@pytest.fixture(scope="module")
def rabbit(
    require_service: Callable[[str, object], None],
    tmp_path_factory: pytest.TempPathFactory,
    authorities: Authorities,
) -> Iterator[RabbitNode]:
    """A broker."""
    require_service("rabbitmq-server", installed())
    own = authorities.ours.issue("rabbit")
    files = {"cacertfile": authorities.ours.certificate, "certfile": own.certificate, "keyfile": own.key}
    tls = [f"ssl_options.{name} = {path}" for name, path in files.items()]
    with running(RabbitNode(tmp_path_factory.mktemp("rabbit"), tls)) as (node,):
        yield node


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Results and ledger."""
    with Server() as started:
        yield started


@pytest.fixture
def urls(rabbit: RabbitNode, server: Server) -> dict[str, str]:
    """A worker's addresses; no message outlives the ledger's records, without which it would be executed again."""
    rabbit.delete(f"{name}{suffix}" for name in QUEUES for suffix in ("", DEAD_SUFFIX))
    server.flush()
    return {"ORDERS_REDIS_URL": server.url(), "ORDERS_BROKER_URL": rabbit.url}


@pytest.fixture
def client_class() -> ClientClass:
    """The synchronous client, where a test does not ask for both."""
    return OrderClient


BOTH_CLIENTS = pytest.mark.parametrize("client_class", CLIENTS.values(), ids=CLIENTS)


@pytest.fixture
def client(urls: dict[str, str], client_class: ClientClass) -> Iterator[OrderClient]:
    """The product's own client."""
    settings = QueueSettings(redis_url=urls["ORDERS_REDIS_URL"], broker_url=urls["ORDERS_BROKER_URL"])
    with client_class(settings) as made:
        yield made


def test_sealed_commands_are_executed_and_what_is_not_sealed_is_kept_as_it_came(
    urls: dict[str, str], rabbit: RabbitNode, make_worker: MakeWorker, tmp_path: Path
) -> None:
    """Also one that RabbitMQ delivers again: whether it had begun is asked the ledger."""
    keys = write_keys(tmp_path / "keys.toml", PAYROLL)
    make_worker(**urls, ORDERS_AUTH__MODE="require", ORDERS_AUTH__KEYS_FILE=str(keys))
    settings = QueueSettings(redis_url=urls["ORDERS_REDIS_URL"], broker_url=urls["ORDERS_BROKER_URL"])
    with OrderClient(settings, signer=PAYROLL) as sealing:
        assert sealing.wait(sealing.enqueue(withdrawal()), 60).outcome.value == "accepted"
    kwargs = withdrawal().arguments()
    moved = sealed("orders.withdraw", withdrawal().arguments())
    with foreign_app(rabbit.url, "disabled://") as app:
        ids = []
        for headers in ({"id": new_id(PAYROLL)}, moved):
            ids.append(headers.pop("id"))
            app.send_task("orders.withdraw", kwargs=kwargs, task_id=ids[-1], queue="orders.withdraw", headers=headers)
    dead = f"orders.withdraw{DEAD_SUFFIX}"
    until(lambda: rabbit.waiting(dead) == 2, "the dead letters", 60)
    with Connection(rabbit.url) as connection, connection.SimpleQueue(dead) as letters:
        found = [letters.get(timeout=30) for _ in ids]
    assert [(each.headers["id"], each.payload[1]) for each in found] == [(each, kwargs) for each in ids]
    assert found[1].headers[HEADER] == moved[HEADER]


@BOTH_CLIENTS
def test_every_command(
    urls: dict[str, str], client: OrderClient, make_worker: MakeWorker, simulator: SimulatorServer
) -> None:
    """Each ends in its report, and an id that is sent five times is executed once."""
    worker = make_worker(**urls)
    simulator.control.order(KEY, "order-r")
    commands: list[Any] = [withdrawal(), Cancel(account="main", order_id="order-r"), Positions(account="main")]
    commands.append(Close(account="main", pair="USD_BTC_PERP", qty="0.001"))
    reports = client.wait_many(client.enqueue_many(commands), 30)
    assert [report.outcome.value for report in reports] == ["accepted"] * 4
    same = withdrawal()
    sent = [client.enqueue(same, "the-same-id") for _ in range(5)]
    assert client.wait(sent[0], 20).outcome.value == "accepted"
    until(lambda: worker.logs().count("[the-same-id] succeeded") == len(sent), "every copy answered")
    assert executed(simulator)[same.address] == 1


def test_a_worker_is_killed(
    urls: dict[str, str], client: OrderClient, make_worker: MakeWorker, simulator: SimulatorServer
) -> None:
    """With commands being sent: RabbitMQ gives them to the next at once, and the ledger decides as ever."""
    doomed = make_worker(**urls)
    simulator.control.order(KEY, "order-k")
    withdraw, cancel = withdrawal(), Cancel(account="main", order_id="order-k")
    simulator.control.fault("hold", where={"address": withdraw.address}, execute=True)
    simulator.control.fault("hold", where={"id": cancel.order_id}, execute=False)
    sent = client.enqueue_many([withdraw, cancel])
    simulator.control.wait(arrivals=2)
    make_worker(**urls)
    doomed.kill("SIGKILL")
    simulator.control.release("drop")
    money, order = client.wait_many(sent, 60)
    assert (money.outcome.value, money.reason.value) == ("unknown", "crashed")
    assert executed(simulator)[withdraw.address] == 1
    assert order.outcome.value == "accepted"
    assert executed(simulator, "id")["order-k"] == 1


def test_rabbitmq_is_killed(
    rabbit: RabbitNode, urls: dict[str, str], client: OrderClient, make_worker: MakeWorker, simulator: SimulatorServer
) -> None:
    """While commands are being sent and others are queued: after its restart all end in reports, none is executed
    twice, and the worker lives on."""
    worker = make_worker("--concurrency", "2", **urls)
    simulator.control.fault("hold", path="withdraw", times=2)
    commands = [withdrawal() for _ in range(10)]
    sent = client.enqueue_many(commands)
    simulator.control.wait(arrivals=2)
    rabbit.kill()
    simulator.control.release()
    until(lambda: sum(executed(simulator)[each.address] for each in commands) == 2, "what was begun, done")
    rabbit.start()
    rabbit.ready()
    reports = client.wait_many(sent, 60)
    assert [report.outcome.value for report in reports] == ["accepted"] * 10
    assert [executed(simulator)[each.address] for each in commands] == [1] * 10
    assert worker.status == "running"


def test_what_can_not_be_executed_is_kept(
    rabbit: RabbitNode, urls: dict[str, str], client: OrderClient, make_worker: MakeWorker
) -> None:
    """On a durable queue beside its own, and the worker goes on."""
    worker = make_worker(**urls)
    app = foreign_app(urls["ORDERS_BROKER_URL"], urls["ORDERS_REDIS_URL"] + "/1")
    with app.connection_for_write() as connection:
        app.send_task("orders.nonsense", queue="orders.close", connection=connection)
        producer = connection.Producer()
        headers = {"task": "orders.close", "lang": "py"}  # no id: it ends a stock worker
        producer.publish("[[], {}, {}]", exchange="", routing_key="orders.close", headers=headers, serializer="json")
    until(lambda: rabbit.waiting("orders.close.dead") == 2, lambda: f"both kept\n{worker.tail()}")
    assert client.wait(client.enqueue(withdrawal()), 20).outcome.value == "accepted"
    assert rabbit.waiting("orders.close") == 0


def test_a_lost_message_is_published_again(
    rabbit: RabbitNode, urls: dict[str, str], client: OrderClient, make_worker: MakeWorker, simulator: SimulatorServer
) -> None:
    """An emptied queue loses nothing that OrderClient enqueued; what only waits is not published twice."""
    patience = {"ORDERS_LEDGER__INTENT_SECONDS": "1"}
    make_worker(**urls).stop()  # declares the queues
    lost = withdrawal()
    sent = client.enqueue(lost)
    assert rabbit.purge("orders.withdraw") == 1
    simulator.control.fault("hold", path="close", execute=True)
    held = client.enqueue(Close(account="main", pair="USD_BTC_PERP", qty="0.0001"))
    busy = make_worker("--concurrency", "1", "--queues", "orders.withdraw,orders.close", **urls, **patience)
    simulator.control.wait(arrivals=1, path="/auth/close")
    waits = client.enqueue(Close(account="main", pair="USD_BTC_PERP", qty="0.0003"))
    until(lambda: rabbit.waiting("orders.withdraw") == 1, "the lost one published again", 20)
    until(lambda: busy.logs().count("published again") >= 1, "its line")
    assert f"id={waits.command_id}" not in busy.logs()
    simulator.control.release()
    reports = client.wait_many([sent, waits, held], 30)
    assert [report.outcome.value for report in reports] == ["accepted"] * 3
    assert executed(simulator)[lost.address] == 1


def test_its_own_plugin_tells_of_the_queues(
    rabbit: RabbitNode, urls: dict[str, str], client: OrderClient, make_worker: MakeWorker
) -> None:
    """A worker can't ask RabbitMQ how long its queues are; the names below are those that docs/metrics.md gives."""
    port = free_port()
    make_worker("-Q", "orders.cancel", **urls, ORDERS_METRICS__PORT=str(port))
    client.enqueue(withdrawal())  # declares the queue
    rabbit.purge("orders.withdraw")  # what earlier tests left there too
    client.enqueue(withdrawal())
    family = "family=queue_coarse_metrics&family=queue_consumer_count"
    plugin = f"http://127.0.0.1:{rabbit.metrics_port}/metrics/detailed?{family}"

    def told() -> bool:
        text = requests.get(plugin, timeout=10).text
        names = ("messages_ready", "messages_unacked", "consumers")
        labels = r'\{[^}]*queue="orders.withdraw"\}'
        found = [re.search(rf"^rabbitmq_detailed_queue_{name}{labels} (\d+)", text, re.MULTILINE) for name in names]
        return [each and int(each[1]) for each in found] == [1, 0, 0]

    until(told, lambda: f"the queue\n{requests.get(plugin, timeout=10).text}")
    own = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    assert "orders_queue_messages" not in own
    assert 'orders_server_up{server="broker"}' not in own
    assert 'orders_server_up{server="ledger"} 1.0' in own


@BOTH_CLIENTS
@pytest.mark.parametrize("how", ["gone", "hangs"])
def test_a_client_is_told_in_time(rabbit: RabbitNode, client: OrderClient, how: str) -> None:
    """Within five seconds, as with Redis."""
    client.enqueue(withdrawal())  # its connection is there
    rabbit.kill("SIGKILL" if how == "gone" else "SIGSTOP")
    try:
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            client.enqueue(withdrawal())
        assert time.monotonic() - began < 5.5
    finally:
        rabbit.start() if how == "gone" else rabbit.kill("SIGCONT")
        rabbit.ready()


@BOTH_CLIENTS
def test_a_refusal_names_the_command(rabbit: RabbitNode, urls: dict[str, str], client_class: ClientClass) -> None:
    """A virtual host that isn't there, a password that is wrong, a queue that somebody declared in another way. The
    command's intent is on its way by then: whoever isn't told its id sends it again under another."""
    with Connection(rabbit.url) as connection:
        connection.default_channel.queue_declare(
            "orders.withdraw", durable=True, auto_delete=False, arguments={"x-max-length": 5}
        )
    root = rabbit.url.removesuffix("/")
    for url in (rabbit.url, f"{root}nowhere", rabbit.url.replace(":guest@", ":wrong@")):
        settings = QueueSettings(redis_url=urls["ORDERS_REDIS_URL"], broker_url=url)
        with (
            client_class(settings) as client,
            pytest.raises(BrokerUnavailable, match=r"(ACCESS_REFUSED|NOT_ALLOWED|PRECONDITION_FAILED).*: known-id"),
        ):
            client.enqueue(withdrawal(), "known-id")


def test_tls_is_checked(rabbit: RabbitNode, server: Server, authorities: Authorities) -> None:
    """By CA and by name, for workers and for clients."""
    ours, theirs = authorities.ours.certificate, authorities.theirs.certificate
    base = f"amqps://guest:guest@127.0.0.1:{rabbit.tls_port}//"
    by_name = base.replace("127.0.0.1", "localhost")
    ways = {
        f"{base}?ssl_ca_certs={ours}": True,
        f"{base}?ssl_ca_certs={theirs}": False,
        base: False,
        f"{by_name}?ssl_ca_certs={ours}": False,
        f"{by_name}?ssl_ca_certs={ours}&ssl_check_hostname=false": True,
    }
    for url, spoken_to in ways.items():
        settings = WorkerSettings(redis_url=server.url(), broker_url=url)
        for connection in (build_app(settings).connection_for_read(), publisher_app(url).connection_for_write()):
            with connection:
                if spoken_to:
                    assert connection.connect()
                else:
                    with pytest.raises(Exception, match=r"(?i)certificate"):
                        connection.connect()


def test_a_held_withdrawal_is_published_again_once_it_is_approved(
    urls: dict[str, str], client: OrderClient, make_worker: MakeWorker, server: Server, tmp_path: Path
) -> None:
    """Its message is acknowledged meanwhile, and the queue empty."""
    command, ledger = withdrawal(), connect(server.url(2))
    destination = f'[[withdrawals.main.to]]\nname = "to"\nasset = "{command.asset}"\naddress = "{command.address}"\n'
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[withdrawals.main]\n{destination}approve_above = "0"\n{APPROVERS}')
    make_worker(**urls, ORDERS_POLICY__MODE="require", ORDERS_POLICY_FILE=str(policy))
    sent = client.enqueue(command)
    until(lambda: ledger.zcard("orders:held"), "the hold")
    approvals = ApprovalService(ledger, RedisLedger(ledger))
    approvals.decide(approvals.find(sent.command_id), KEYS["anna"], approve=True)
    assert client.wait(sent, 30).outcome == "accepted"
