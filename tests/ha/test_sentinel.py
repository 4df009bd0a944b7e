"""Behind Sentinels: everything works, and a master that is killed loses no command and repeats no withdrawal.

What a failover can do is shown as well: without waiting for a replica, a withdrawal whose record was lost with the
master is sent a second time.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from producers.client import EnqueuedCommand, OrderClient
from producers.commands import Cancel, Close, Positions, Withdraw
from producers.errors import BrokerUnavailable, ReportPending
from producers.redis.server_info import online_replicas
from producers.settings import QueueSettings
from tests.ha.conftest import KEY, MakeWorker, enqueue_persistently, executed, withdrawal
from tests.ha.sentinels import PASSWORD, SENTINEL_PASSWORD, SentinelCluster, replication
from tests.support.clients import CLIENTS, ClientClass, client_class
from tests.support.servers import Server, free_port
from tests.support.waiting import until
from worker.simulator.server import SimulatorServer

REPLICAS = {"ORDERS_LEDGER__WITHDRAW_REPLICAS": "1", "ORDERS_LEDGER__CLOSE_REPLICAS": "1"}

__all__ = ["client_class"]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[SentinelCluster]:
    """A master, one replica and three Sentinels: the replica is the one that is promoted."""
    with SentinelCluster(tmp_path, replicas=1) as started:
        yield started


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[SentinelCluster]:
    """A master, two replicas and three Sentinels."""
    with SentinelCluster(tmp_path, replicas=2) as started:
        yield started


def client_of(
    cluster: SentinelCluster, intent_replicas: int = 0, client_class: ClientClass = OrderClient
) -> OrderClient:
    """The product's own client."""
    return client_class(QueueSettings(redis_url=cluster.url, intent_replicas=intent_replicas))


def test_everything_works_and_no_password_is_shown(
    trio: SentinelCluster, make_worker: MakeWorker, simulator: SimulatorServer
) -> None:
    """One URL for broker, results and ledger; log, `inspect` and the doctor name the servers without a password."""
    worker = make_worker(**REPLICAS, ORDERS_REDIS_URL=trio.url)
    for made, intent_replicas in product(CLIENTS.values(), (1, 0)):
        with client_of(trio, intent_replicas, made) as client:
            sent = client.enqueue_many([withdrawal(), Positions(account="main"), withdrawal()])
            assert [report.outcome.value for report in client.wait_many(sent, 20)] == ["accepted"] * 3
    shown = [worker.logs()]
    for what in ("stats", "conf"):
        code, output = worker.exec_run([*worker.celery, "-A", "worker", "inspect", what])
        assert code == 0, output.decode()
        shown.append(output.decode())
    _, output = worker.exec_run([str(Path(sys.executable).with_name("orders")), "doctor", "--json"])
    shown.append(output.decode())
    levels = {(each["group"], each["name"]): each["level"] for each in json.loads(output)["findings"]}
    assert levels["servers", "broker"] == levels["servers", "ledger"] == "ok"
    assert not [text for text in shown if PASSWORD in text or SENTINEL_PASSWORD in text]


def gauges(port: int) -> dict[str, float]:
    """A worker's metrics of its servers and queues, by name and label."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(("orders_server", "orders_queue_m"))]
    return {name: float(value) for name, _, value in lines}


def test_metrics_follow_the_master(pair: SentinelCluster, make_worker: MakeWorker) -> None:
    """Servers and queues are read through the Sentinels, before a failover and after it."""
    port, old = free_port(), pair.master
    make_worker("-Q", "orders.cancel", ORDERS_REDIS_URL=pair.url, ORDERS_METRICS__PORT=str(port))

    def all_are(gauge: str) -> bool:
        found = gauges(port)
        servers = [found.get(f'orders_server_{gauge}{{server="{role}"}}') for role in ("broker", "results", "ledger")]
        return servers == [1] * 3 and found.get('orders_queue_messages{queue="orders.withdraw"}') == 1

    with client_of(pair) as client:
        client.enqueue(withdrawal())
        until(lambda: all_are("up"), lambda: f"servers and queue\n{gauges(port)}")
        old.kill()
        pair.until_master_is_not(old)
        until(lambda: all_are("up") and all_are("writable"), lambda: f"the new master\n{gauges(port)}")


def test_a_failover_under_load(
    trio: SentinelCluster,
    make_worker: MakeWorker,
    simulator: SimulatorServer,
    client_class: ClientClass,
) -> None:
    """The master is killed while commands come in: every command ends in a report, no withdrawal is executed twice,
    each report of a withdrawal is true, and the workers live on, on our own channel."""
    workers = [make_worker(**REPLICAS, ORDERS_REDIS_URL=trio.url) for _ in range(2)]
    old = trio.master
    with client_of(trio, 1, client_class) as client:
        sent = send_through_a_failover(client, old, seconds=14, kill_after=3)
        reports = client.wait_many(sent, 90)
    trio.until_master_is_not(old)
    counts = executed(simulator)
    for each, report in zip(sent, reports, strict=True):
        if isinstance(each.command, Withdraw):
            count, outcome = counts[each.command.address], report.outcome.value
            assert count <= 1, (each, report)
            assert outcome == "unknown" or count == (outcome == "accepted"), (each, report)
    assert max(counts.values()) == 1
    assert [worker.status for worker in workers] == ["running"] * 2
    assert all("Connected to worker.broker.transport:SentinelTransport" in worker.logs() for worker in workers)


def send_through_a_failover(
    client: OrderClient, master: Server, seconds: float, kill_after: float
) -> list[EnqueuedCommand]:
    """Send commands as a service does and kill the master on the way; what was sent, up to when a command that was
    enqueued after the kill had its report."""
    started = time.monotonic()
    sent: list[EnqueuedCommand] = []
    watched: EnqueuedCommand | None = None
    is_reported = False
    while (passed := time.monotonic() - started) < seconds or not is_reported:
        if passed > kill_after:
            master.kill()
        batch = [withdrawal(), Cancel(account="main", order_id="order-1"), close("0.0001")]
        sent += enqueue_persistently(client, batch)
        if passed > kill_after:
            watched = watched or sent[-2]
            with suppress(ReportPending):  # no server is master at this moment
                is_reported = is_reported or client.report(watched) is not None
        time.sleep(0.05)
    return sent


def close(qty: str) -> Close:
    """A close of a part of the position."""
    return Close(account="main", pair="USD_BTC_PERP", qty=qty)


def partial_close() -> Close:
    """A close that is recognised at the venue by its size."""
    return close(f"0.{uuid4().int % 10**5:05}1")


def times_executed(simulator: SimulatorServer, command: Withdraw | Close) -> int:
    """How often a command took effect."""
    if isinstance(command, Withdraw):
        return executed(simulator)[command.address]
    return [Decimal(e.fields["qty"]) for e in simulator.control.executions(path="/auth/close")].count(command.qty)


@pytest.mark.parametrize("make_command", [withdrawal, partial_close])
@pytest.mark.parametrize("waits", [True, False], ids=["waiting for the replica", "not waiting"])
def test_a_record_that_only_the_master_had(
    pair: SentinelCluster,
    make_worker: MakeWorker,
    simulator: SimulatorServer,
    waits: bool,
    make_command: Callable[[], Withdraw | Close],
) -> None:
    """The replica is away while a command that must be executed once is begun, and is promoted when the master dies.
    Waiting for it, the command is not sent before: it is executed once. Without waiting it is executed twice, which
    docs/scaling.md says; were that not so any more, the page would be wrong."""
    settings = {"ORDERS_REDIS_URL": pair.url, **(REPLICAS if waits else {})}
    command = make_command()
    old, (replica,) = pair.master, pair.replicas()
    simulator.control.fault("hold", path="cancel")
    with client_of(pair, intent_replicas=1) as client:
        worker = make_worker("--concurrency", "1", **settings)
        client.enqueue(Cancel(account="main", order_id="order-blocking"))
        simulator.control.wait(arrivals=1, path="/auth/cancel")
        sent = client.enqueue(command)  # queued, on both, behind the cancel
        replica.kill()
        simulator.control.release()
        record = f"orders:command:{sent.command_id}"
        with old.client(2) as ledger:
            until(lambda: ledger.exists(record), "the begin on the master")
        if waits:
            until(lambda: "0 of 1 replicas" in worker.logs(), "the worker waiting for the replica")
        else:
            until(lambda: times_executed(simulator, command) == 1, "the first execution")
        assert times_executed(simulator, command) == (0 if waits else 1)
        worker.kill()
        old.kill()
        replica.start()
        pair.until_master_is_not(old)
        with replica.client(2) as ledger:
            assert not ledger.exists(record), "the new master never heard of it"
        old.start()  # comes back as the replica that is waited for
        pair.until_replicated()
        make_worker(**settings)
        report = client.wait(sent, 60)
    assert report.outcome.value == "accepted", report
    assert times_executed(simulator, command) == (1 if waits else 2)


def test_while_replicas_are_away(pair: SentinelCluster, make_worker: MakeWorker, simulator: SimulatorServer) -> None:
    """Withdrawals and partial closes are refused and say why, and take no slot from what reduces risk; they are sent
    again afterwards. A client that wants its intents on a replica is told that they are not."""
    (replica,) = pair.replicas()
    worker = make_worker(**REPLICAS, ORDERS_REDIS_URL=pair.url, ORDERS_LEDGER__INTENT_SECONDS="1")
    with client_of(pair) as client:
        replica.kill()
        until(lambda: "the ledger has 0 of 1 replicas" in worker.logs(), "the worker noticing")
        for command, setting in ((withdrawal(), "WITHDRAW_REPLICAS"), (partial_close(), "CLOSE_REPLICAS")):
            report = client.wait(client.enqueue(command), 20)
            assert (report.outcome.value, report.reason.value) == ("not_sent", "denied")
            assert f"ORDERS_LEDGER__{setting}" in report.message
        simulator.control.order(KEY, "order-risk")
        cancel = Cancel(account="main", order_id="order-risk")
        assert client.wait(client.enqueue(cancel), 20).outcome.value == "accepted"
        with client_of(pair, intent_replicas=1) as careful, pytest.raises(BrokerUnavailable, match="0 of 1 replicas"):
            careful.enqueue(withdrawal())
        replica.start()
        until(lambda: "withdrawals are sent again" in worker.logs(), "the worker noticing")
        assert client.wait(client.enqueue(withdrawal()), 20).outcome.value == "accepted"


def test_a_master_that_is_cut_off_takes_nothing(
    pair: SentinelCluster, make_worker: MakeWorker, simulator: SimulatorServer
) -> None:
    """With min-replicas-to-write a master without replicas refuses: senders are told, workers keep what they hold and
    live on, and all of it goes on when a replica is back."""
    pair.never_fail_over()  # a busy machine's stall would make the stale replica master
    for server in pair.servers:
        with server.client() as client:
            client.config_set("min-replicas-to-write", 1)
    (replica,) = pair.replicas()
    worker = make_worker(ORDERS_REDIS_URL=pair.url)
    simulator.control.order(KEY, "order-kept")
    simulator.control.fault("hold", path="cancel", execute=True)
    with client_of(pair) as client:
        sent = client.enqueue(Cancel(account="main", order_id="order-kept"))
        simulator.control.wait(arrivals=1, path="/auth/cancel")
        replica.kill()
        until(lambda: not online_replicas(replication(pair.master)), "the master noticing")
        simulator.control.release()
        with pytest.raises(BrokerUnavailable, match="NOREPLICAS") as refused:
            client.enqueue(withdrawal())
        assert "orders.withdraw" not in str(refused.value), "nor anything else of the command"
        until(lambda: "the ledger's server refuses" in worker.logs(), "the worker keeping its report")
        assert client.report(sent) is None
        replica.start()
        assert client.wait(sent, 30).outcome.value == "accepted"
        (again,) = enqueue_persistently(client, [withdrawal()])
        assert client.wait(again, 30).outcome.value == "accepted"
    assert worker.status == "running"
