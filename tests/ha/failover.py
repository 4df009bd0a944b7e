"""How long a failover takes, and of what: two parts of :mod:`tests.ha.measure`.

A worker and a client behind three Sentinels; the master is killed, or hangs, while commands come in. Told are the
seconds from then until Sentinels agree that it is gone, until another is master, until the client's first command is
enqueued there, until the worker executes what it held (it only waits for the ledger), and until it executes the first
command that was enqueued afterwards (which it has to take from the broker).
"""

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import redis

from producers.client import OrderClient
from producers.commands import Cancel
from producers.settings import QueueSettings
from tests.ha.conftest import KEY, enqueue_persistently, executed, withdrawal
from tests.ha.sentinels import Sentinel, SentinelCluster
from tests.support.node import running
from tests.support.stack import demo_accounts
from tests.support.waiting import until
from tests.support.workers import QUICK, WorkerNode
from worker.simulator.server import SimulatorServer

HELD = 48
"""Commands in the queue when the master dies: some are in the worker's hands."""


class Listener:
    """Writes down when a Sentinel first said what."""

    def __init__(self, sentinel: Sentinel) -> None:
        self._channel = sentinel.client().pubsub(ignore_subscribe_messages=True)
        self._channel.subscribe("+odown", "+switch-master")
        self.heard: dict[str, float] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            for message in self._channel.listen():
                self.heard.setdefault(message["channel"], time.time())
        except (redis.RedisError, OSError, ValueError):
            return  # the Sentinel has gone


def start(stack: ExitStack, folder: Path, simulator: SimulatorServer) -> tuple[SentinelCluster, OrderClient]:
    """Servers, a worker that has executed something, and a client; they end with ``stack``."""
    simulator.control.balance(KEY, "ETH", "100000")
    simulator.control.fault("slow", path="withdraw", times=None, delay_ms=100)
    stack.callback(simulator.control.clear_faults)
    cluster = stack.enter_context(SentinelCluster(folder / "servers", replicas=2))
    settings = {**QUICK, **demo_accounts(simulator.url), "ORDERS_REDIS_URL": cluster.url}
    stack.enter_context(running(WorkerNode(folder / "worker", settings)))
    client = stack.enter_context(OrderClient(QueueSettings(redis_url=cluster.url)))
    client.wait(client.enqueue(withdrawal()), 20)
    return cluster, client


def measure(folder: Path, simulator: SimulatorServer, signal: str) -> Mapping[str, float]:
    """One failover; the seconds from the signal to the master, SIGKILL or SIGSTOP, to each event."""
    with ExitStack() as stack:
        cluster, client = start(stack, folder, simulator)
        listeners = [Listener(each) for each in cluster.sentinels]  # any of them may be the first to know
        before = executed(simulator).total()
        held = [withdrawal() for _ in range(HELD)]
        sent = client.enqueue_many(held)
        until(lambda: executed(simulator).total() > before, "the worker at work")
        old, killed = cluster.master, time.time()
        old.kill(signal)
        after = Cancel(account="main", order_id=uuid4().hex)  # served before the withdrawals that wait
        sent += enqueue_persistently(client, [after])
        enqueued = time.time() - killed
        reports = client.wait_many(sent, 120)
    heard = {name: min(each.heard.get(name, 1e12) for each in listeners) for name in ("+odown", "+switch-master")}
    odown, switched = (at - killed for at in heard.values())
    executions = {e.fields["address"]: e.time_ms / 1000 for e in simulator.control.executions(path="/auth/withdraw")}
    (taken,) = simulator.control.arrivals(path="/auth/cancel")[-1:]
    counts = executed(simulator)
    return {
        "Sentinels agree that it is down": odown,
        "another is master": switched,
        "the client's first command is enqueued": enqueued,
        "the worker executes what it held": min(
            (at for each in held if (at := executions[each.address] - killed) > odown), default=float("nan")
        ),
        "the worker executes what was enqueued after the kill": taken.time_ms / 1000 - killed,
        "commands": len(sent),
        "of which unknown": sum(report.outcome.value == "unknown" for report in reports),
        "of which without a report or executed twice": sum(counts[each.address] > 1 for each in held),
    }
