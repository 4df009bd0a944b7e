"""Behind Sentinels: everything works, and a master that is killed loses no command and repeats no withdrawal.

What a failover can do is shown as well: without waiting for a replica, a withdrawal whose record was lost with the
master is sent a second time.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from producers.client import EnqueuedCommand, OrderClient
from producers.commands import Cancel, Close, Withdraw
from producers.errors import BrokerUnavailable, ReportPending
from producers.redis.server_info import online_replicas
from producers.settings import QueueSettings
from tests.ha.conftest import KEY, MakeWorker, withdrawal
from tests.ha.sentinels import PASSWORD, SENTINEL_PASSWORD, Quorum, RedisNode
from tests.nodes import until
from tests.servers import free_port
from worker.simulator.server import SimulatorServer

REPLICAS = {"ORDERS_LEDGER__WITHDRAW_REPLICAS": "1", "ORDERS_LEDGER__CLOSE_REPLICAS": "1"}


@pytest.fixture
def quorum(tmp_path: Path) -> Iterator[Quorum]:
    """A master, two replicas and three Sentinels."""
    with Quorum(tmp_path / "quorum", replicas=2) as started:
        yield started


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Quorum]:
    """A master, one replica and three Sentinels: the replica is the one that is promoted."""
    with Quorum(tmp_path / "pair", replicas=1) as started:
        yield started


def client_of(quorum: Quorum, intent_replicas: int = 0) -> OrderClient:
    """The product's own client."""
    return OrderClient(QueueSettings(redis_url=quorum.url, intent_replicas=intent_replicas))


def executed(simulator: SimulatorServer) -> Counter[str]:
    """How often each withdrawal took effect, by its address."""
    return Counter(e.fields["address"] for e in simulator.control.executions(path="/auth/withdraw"))


def test_everything_works_and_no_password_is_told(
    quorum: Quorum, make_worker: MakeWorker, simulator: SimulatorServer
) -> None:
    """One URL for broker, results and ledger; log, `inspect` and the doctor name the servers without a password."""
    worker = make_worker(**REPLICAS, ORDERS_REDIS_URL=quorum.url)
    with client_of(quorum, intent_replicas=1) as client:
        sent = client.enqueue_many([withdrawal(), Cancel(account="main", order_id="order-1"), withdrawal()])
        outcomes = [report.outcome.value for report in client.wait_many(sent, 20)]
    assert outcomes == ["accepted"] * 3
    told = [worker.logs()]
    for words in (["celery", "-A", "worker", "inspect", "stats"], ["celery", "-A", "worker", "inspect", "conf"]):
        code, output = worker.exec_run([sys.executable, "-m", *words])
        assert code == 0, output.decode()
        told.append(output.decode())
    code, output = worker.exec_run([str(Path(sys.executable).with_name("orders")), "doctor", "--json"])
    told.append(output.decode())
    levels = {(each["group"], each["name"]): each["level"] for each in json.loads(output)["findings"]}
    assert levels["servers", "broker"] == levels["servers", "ledger"] == "ok"
    assert not [text for text in told if PASSWORD in text or SENTINEL_PASSWORD in text]


def gauges(port: int) -> dict[str, float]:
    """What a worker tells of its servers and queues, by name and label."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(("orders_server", "orders_queue_m"))]
    return {name: float(value) for name, _, value in lines}


def test_metrics_follow_the_master(pair: Quorum, make_worker: MakeWorker) -> None:
    """Servers and queues are told of through the Sentinels, before a failover and after it."""
    port, old = free_port(), pair.master
    make_worker("-Q", "orders.cancel", ORDERS_REDIS_URL=pair.url, ORDERS_METRICS__PORT=str(port))
    with client_of(pair) as client:
        client.enqueue(withdrawal())

        def told(gauge: str = "up") -> bool:
            found = gauges(port)
            servers = [
                found.get(f'orders_server_{gauge}{{server="{role}"}}') for role in ("broker", "results", "ledger")
            ]
            return servers == [1] * 3 and found.get('orders_queue_messages{queue="orders.withdraw"}') == 1

        until(told, lambda: f"servers and queue\n{gauges(port)}")
        old.kill("SIGKILL")
        pair.until_master_is_not(old)
        until(lambda: told() and told("writable"), lambda: f"the new master\n{gauges(port)}")


def test_a_failover_under_load(quorum: Quorum, make_worker: MakeWorker, simulator: SimulatorServer) -> None:
    """The master is killed while commands come in: every command ends in a report, no withdrawal is executed twice,
    each report of a withdrawal is true, and the workers live on, on our own channel."""
    workers = [make_worker(**REPLICAS, ORDERS_REDIS_URL=quorum.url) for _ in range(2)]
    old = quorum.master
    with client_of(quorum, intent_replicas=1) as client:
        sent, killed_at, first_after = traffic(client, old, seconds=14, kill_after=3)
        reports = client.wait_many(sent, 90)
    quorum.until_master_is_not(old)
    counts = executed(simulator)
    for each, report in zip(sent, reports, strict=True):
        if isinstance(each.command, Withdraw):
            count, outcome = counts[each.command.address], report.outcome.value
            assert count <= 1, (each, report)
            assert outcome == "unknown" or count == (outcome == "accepted"), (each, report)
    assert max(counts.values()) == 1
    assert [worker.status for worker in workers] == ["running"] * 2
    assert all("Connected to worker.broker.transport:SentinelTransport" in worker.logs() for worker in workers)
    outcomes = Counter(
        (type(s.command).__name__, r.outcome.value, r.reason.value) for s, r in zip(sent, reports, strict=True)
    )
    print(f"\n{len(sent)} commands, {dict(outcomes)}; first report after the kill: {first_after - killed_at:.1f} s")


def traffic(
    client: OrderClient, master: RedisNode, seconds: float, kill_after: float
) -> tuple[list[EnqueuedCommand], float, float]:
    """Commands as a service sends them, again under the same id when the broker is away; the master is killed on the
    way. What was sent, when the master died, and when the first command that was enqueued afterwards had its report."""
    started = time.monotonic()
    sent: list[EnqueuedCommand] = []
    killed_at = first_after = 0.0
    watched: EnqueuedCommand | None = None
    while (now := time.monotonic()) - started < seconds or not first_after:
        if not killed_at and now - started > kill_after:
            master.kill("SIGKILL")
            killed_at = time.monotonic()
        batch: list[Any] = [(c, str(uuid4())) for c in (withdrawal(), Cancel(account="main", order_id="order-1"))]
        batch.append((Close(account="main", pair="USD_BTC_PERP", qty="0.0001"), str(uuid4())))
        sent += persistently(client, batch)
        if killed_at and watched is None:
            watched = sent[-2]
        with suppress(ReportPending):  # no server is master at this moment
            if watched is not None and not first_after and client.report(watched) is not None:
                first_after = time.monotonic()
        time.sleep(0.05)
    return sent, killed_at, first_after


def persistently(client: OrderClient, batch: list[Any]) -> list[EnqueuedCommand]:
    """Enqueue, with the same ids until it is done."""
    ends_at = time.monotonic() + 60
    while True:
        try:
            return client.enqueue_many(batch)
        except BrokerUnavailable:
            assert time.monotonic() < ends_at, "the broker did not come back"
            time.sleep(0.2)


def partial_close() -> Close:
    """One that is recognised at the venue by its size."""
    return Close(account="main", pair="USD_BTC_PERP", qty=f"0.{uuid4().int % 10**5:05}1")


def times_executed(simulator: SimulatorServer, command: Withdraw | Close) -> int:
    """How often it took effect."""
    if isinstance(command, Withdraw):
        return executed(simulator)[command.address]
    return [Decimal(e.fields["qty"]) for e in simulator.control.executions(path="/auth/close")].count(command.qty)


@pytest.mark.parametrize("make_command", [withdrawal, partial_close])
@pytest.mark.parametrize("waits", [True, False], ids=["waiting for the replica", "not waiting"])
def test_a_record_that_only_the_master_had(
    pair: Quorum,
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
        mine = make_worker("--concurrency", "1", **settings)
        client.enqueue(Cancel(account="main", order_id="order-blocking"))
        simulator.control.wait(arrivals=1, path="/auth/cancel")
        sent = client.enqueue(command)  # queued, on both, behind the cancel
        replica.kill("SIGKILL")
        simulator.control.release()
        begun = f"orders:command:{sent.command_id}"
        with old.client(2) as ledger:
            until(lambda: ledger.exists(begun), "the begin on the master")
        if waits:
            until(lambda: "0 of 1 replicas" in mine.logs(), "the worker waiting for the replica")
        else:
            until(lambda: times_executed(simulator, command) == 1, "the first execution")
        assert times_executed(simulator, command) == (0 if waits else 1)
        mine.kill("SIGKILL")
        old.kill("SIGKILL")
        replica.start()
        pair.until_master_is_not(old)
        with replica.client(2) as ledger:
            assert not ledger.exists(begun), "the new master never heard of it"
        old.start()  # comes back as the replica that is waited for
        pair.until_followed()
        make_worker(**settings)
        report = client.wait(sent, 60)
    assert report.outcome.value == "accepted"
    assert times_executed(simulator, command) == (1 if waits else 2)


def test_while_replicas_are_away(pair: Quorum, make_worker: MakeWorker, simulator: SimulatorServer) -> None:
    """Withdrawals and partial closes are refused and say why, and take no slot from what reduces risk; they are sent
    again afterwards. A client that wants its intents on a replica is told that they are not."""
    (replica,) = pair.replicas()
    worker = make_worker(**REPLICAS, ORDERS_REDIS_URL=pair.url, ORDERS_LEDGER__INTENT_SECONDS="1")
    with client_of(pair) as client:
        replica.kill("SIGKILL")
        until(lambda: "the ledger has 0 of 1 replicas" in worker.logs(), "the worker noticing")
        for command, setting in ((withdrawal(), "WITHDRAW_REPLICAS"), (partial_close(), "CLOSE_REPLICAS")):
            report = client.wait(client.enqueue(command), 20)
            assert (report.outcome.value, report.reason.value) == ("not_sent", "denied")
            assert f"ORDERS_LEDGER__{setting}" in report.message
        simulator.control.order(KEY, "order-risk")
        assert (
            client.wait(client.enqueue(Cancel(account="main", order_id="order-risk")), 20).outcome.value == "accepted"
        )
        with client_of(pair, intent_replicas=1) as careful, pytest.raises(BrokerUnavailable, match="0 of 1 replicas"):
            careful.enqueue(withdrawal())
        replica.start()
        replica.ready()
        until(lambda: "withdrawals are sent again" in worker.logs(), "the worker noticing")
        assert client.wait(client.enqueue(withdrawal()), 20).outcome.value == "accepted"


def test_a_master_that_is_cut_off_takes_nothing(
    pair: Quorum, make_worker: MakeWorker, simulator: SimulatorServer
) -> None:
    """With min-replicas-to-write a master without replicas refuses: senders are told, workers keep what they hold and
    live on, and all of it goes on when a replica is back."""
    pair.never_fail_over()  # a busy machine's stall would make the stale replica master
    for server in pair.servers:
        with server.client() as client:
            client.config_set("min-replicas-to-write", 1)
    (replica,) = pair.replicas()
    worker = make_worker(ORDERS_REDIS_URL=pair.url, ORDERS_HTTP__READ_TIMEOUT_SECONDS="30")
    simulator.control.order(KEY, "order-kept")
    simulator.control.fault("hold", path="cancel", execute=True)
    with client_of(pair) as client:
        sent = client.enqueue(Cancel(account="main", order_id="order-kept"))
        simulator.control.wait(arrivals=1, path="/auth/cancel")
        replica.kill("SIGKILL")
        with pair.master.client() as master:
            until(lambda: not online_replicas(master.info("replication")), "the master noticing")
        simulator.control.release()
        with pytest.raises(BrokerUnavailable, match="NOREPLICAS") as refused:
            client.enqueue(withdrawal())
        assert "orders.withdraw" not in str(refused.value), "nor anything else of the command"
        until(lambda: "the ledger's server refuses" in worker.logs(), "the worker keeping its report")
        assert client.report(sent) is None
        replica.start()
        assert client.wait(sent, 30).outcome.value == "accepted"
        persistently(client, [(withdrawal(), "the-one-refused")])
        assert client.wait("the-one-refused", 30).outcome.value == "accepted"
    assert worker.status == "running"
