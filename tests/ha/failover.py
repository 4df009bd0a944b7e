"""How long a failover takes, and of what: ``python -m tests.ha.failover [--times 5] [--stop]``.

A worker and a client behind three Sentinels; the master is killed while commands come in. Told are the seconds from
the kill until Sentinels agree that it is gone, until another is master, until the client's first command is enqueued
there, until the worker executes what it held (it only waits for the ledger), and until it executes the first command
that was enqueued after the kill (which it has to take from the broker).
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis

from producers.client import OrderClient
from producers.commands import Cancel, Command, Withdraw
from producers.errors import BrokerUnavailable
from producers.settings import QueueSettings
from tests.ha.conftest import KEY, withdrawal
from tests.ha.sentinels import DOWN_MS, MASTER, Quorum, RedisNode
from tests.support.stack import demo_accounts
from tests.support.waiting import until
from tests.support.workers import QUICK, WorkerNode
from worker.simulator.server import SimulatorServer

HELD = 48
"""Commands in the queue when the master dies: some are in the worker's hands."""
Seconds = Mapping[str, float]


class Listener:
    """Writes down when a Sentinel said what."""

    def __init__(self, sentinel: RedisNode) -> None:
        self._client = sentinel.client()
        self._channel = self._client.pubsub(ignore_subscribe_messages=True)
        self._channel.subscribe("+odown", "+switch-master")
        self.heard: dict[str, float] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            for message in self._channel.listen():
                self.heard.setdefault(message["channel"], time.time())
        except (redis.RedisError, OSError, ValueError):
            return  # the Sentinel has gone, or this listener was closed


def executed(simulator: SimulatorServer) -> dict[str, float]:
    """When each withdrawal took effect, by its address; UNIX seconds."""
    return {e.fields["address"]: e.time_ms / 1000 for e in simulator.control.executions(path="/auth/withdraw")}


def once(folder: Path, simulator: SimulatorServer, *, stop: bool = False) -> Seconds:
    """One failover; the seconds from the kill to each event. ``stop`` freezes the master instead of killing it."""
    with ExitStack() as stack:
        quorum = stack.enter_context(Quorum(folder / "quorum", replicas=2))
        settings = {**QUICK, **demo_accounts(simulator.url), "ORDERS_REDIS_URL": quorum.url}
        worker = WorkerNode(folder / "worker", settings)
        stack.callback(worker.teardown)
        worker.start()
        worker.ready()
        client = stack.enter_context(OrderClient(QueueSettings(redis_url=quorum.url)))
        client.wait(client.enqueue(withdrawal()), 20)
        listeners = [Listener(each) for each in quorum.sentinels]  # any of them may be the first to know
        simulator.control.fault("slow", path="withdraw", times=None, delay_ms=100)
        stack.callback(simulator.control.clear_faults)
        held = [withdrawal() for _ in range(HELD)]
        sent = client.enqueue_many(held)
        before = len(executed(simulator))
        until(lambda: len(executed(simulator)) > before, "the worker at work")
        old = quorum.master
        killed = time.time()
        old.kill("SIGSTOP" if stop else "SIGKILL")
        after = Cancel(account="main", order_id=uuid4().hex)  # served before the withdrawals that wait
        sent.append(persistently(client, after))
        enqueued = time.time()
        reports = client.wait_many(sent, 120)
        times = executed(simulator)
        taken = next(a.time_ms for a in simulator.control.arrivals(path="/auth/cancel")[-1:]) / 1000
        heard = {name: min(each.heard.get(name, 1e12) for each in listeners) for name in ("+odown", "+switch-master")}
        odown, switched = (heard[name] - killed for name in ("+odown", "+switch-master"))
        ledger = min((at for each in held if (at := times[each.address] - killed) > odown), default=float("nan"))
        unknown = sum(report.outcome.value == "unknown" for report in reports)
        return {
            "Sentinels agree that it is down": odown,
            "another is master": switched,
            "the client's first command is enqueued": enqueued - killed,
            "the worker executes what it held": ledger,
            "the worker executes what was enqueued after the kill": taken - killed,
            "commands": len(sent),
            "of which unknown": unknown,
            "of which without a report or executed twice": twice(simulator, sent),
        }


def twice(simulator: SimulatorServer, sent: list[Any]) -> int:
    """How many were executed more than once."""
    addresses = [e.fields["address"] for e in simulator.control.executions(path="/auth/withdraw")]
    return sum(addresses.count(each.command.address) > 1 for each in sent if isinstance(each.command, Withdraw))


def persistently(client: OrderClient, command: Command) -> Any:
    """Enqueue under one id until it is done."""
    command_id, ends_at = str(uuid4()), time.monotonic() + 120
    while True:
        try:
            return client.enqueue(command, command_id)
        except BrokerUnavailable:
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.05)


def main() -> int:
    """Some failovers and their medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.ha.failover", description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--stop", action="store_true", help="the master hangs (SIGSTOP) instead of dying")
    chosen = parser.parse_args()
    rows: list[Seconds] = []
    with SimulatorServer() as simulator:
        simulator.control.balance(KEY, "ETH", "100000")
        for _ in range(chosen.times):
            with tempfile.TemporaryDirectory(prefix="orders-ha-") as folder:
                rows.append(once(Path(folder), simulator, stop=chosen.stop))
    print(f"down-after-milliseconds {DOWN_MS}, {MASTER}, {len(rows)} times: median (least to most)")
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
