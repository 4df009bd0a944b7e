"""The picture in docs/scaling.md: two workers under load, drawn from what a real Prometheus scraped.

``pip install matplotlib && python -m tests.benchmarks.picture`` writes ``docs/pictures/load.png``. It takes two and a
half minutes: a steady load, a venue that becomes slow, hangs, answers with 429, a worker killed with ``kill -9``; and
all the time cancels at another venue that is well. Needs Debian's ``prometheus``. Everything runs on this machine and
ends by itself.
"""

import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

from producers.client import OrderClient
from producers.commands import Cancel, Close, Command, Positions, Withdraw
from producers.settings import QueueSettings
from tests.alerts.rig import Prometheus, metrics_into, program
from tests.support.node import ROOT
from tests.support.servers import Server
from tests.support.stack import accounts, demo_accounts
from tests.support.workers import WorkerNode
from worker.simulator.control import SimulatorControl
from worker.simulator.server import SimulatorServer

PICTURE = ROOT / "docs" / "pictures" / "load.png"
COMMANDS_PER_SECOND = 50
CANCELS_PER_SECOND = 5
"""At the other venue."""
PAIR, QUANTITY = "USD_BTC_PERP", Decimal("0.0001")
COMMANDS = (
    Close(account="main", pair=PAIR, qty=QUANTITY),
    Positions(account="main"),
    Withdraw(account="main", asset="ETH", qty=QUANTITY, address="0xabc"),
)
SHARES = (0.7, 0.2, 0.1)
"""What is sent, and how much of each."""
OTHER_ACCOUNT = ("everstrike", "demo-everstrike-key", "demo-everstrike-secret")
CANCELS_ELSEWHERE = (Cancel(account="other", order_id="none"),)
"""Cancels of no order: the other venue refuses each at once."""
Series = list[dict[str, Any]]


def scenes(venue: SimulatorControl, other_worker: WorkerNode) -> Iterator[tuple[str, float]]:
    """Do what each scene begins with; its title, and its length in seconds."""
    yield "steady load", 20
    venue.fault("slow", delay_ms=400, times=None)
    yield "it takes 400 ms", 20
    venue.clear_faults()
    venue.fault("silent", path="close", times=None)
    yield "closes hang", 25
    venue.clear_faults()
    yield "it answers again", 20
    venue.fault("envelope", status=429, message="Too many requests", path="close", times=None)
    yield "closes get 429", 25
    venue.clear_faults()
    other_worker.kill()
    yield "kill -9 of one worker", 20
    other_worker.start()
    yield "another comes", 25


def quantile(number: float, metric: str, of: str = "") -> str:
    """A PromQL quantile of a histogram, of all its series or some."""
    return f"histogram_quantile({number}, sum by (le) (rate({metric}_bucket{{{of}}}[5s])))"


CANCELS, OTHERS = 'command="cancel"', 'command!="cancel"'
"""What is sent to the other venue, and what to the one that has the trouble."""


PANELS: Mapping[str, Mapping[str, str]] = {
    "commands ended a second, by outcome": {"{outcome}": "sum by (outcome) (rate(orders_commands_total[5s]))"},
    "requests a second, by the venue's answer": {"{status}": "sum by (status) (rate(orders_answers_total[5s]))"},
    "seconds": {
        "to the report, p50": quantile(0.5, "orders_report_seconds", OTHERS),
        "p99": quantile(0.99, "orders_report_seconds", OTHERS),
        "at the venue, p99": quantile(0.99, "orders_venue_latency_seconds", OTHERS),
        "signature, p99": quantile(0.99, "orders_signature_age_seconds"),
        "cancels at the other venue, p99": quantile(0.99, "orders_report_seconds", CANCELS),
    },
    "commands waiting and under way": {
        "in queues": "sum(max by (queue) (orders_queue_messages))",
        "parked": "sum(max by (queue, waits_for) (orders_parked_messages))",
        "taken, not acknowledged": "max(orders_unacked_messages)",
        "in workers": "sum(orders_worker_busy)",
    },
}
"""Title of each panel: legend and query of its series."""


def record(folder: Path) -> tuple[dict[str, Series], list[str], list[float]]:
    """Play every scene with a server, a venue, two workers, Prometheus, and a service that sends.

    Returns the series of each query, the titles, and when each scene began and the last one ended.
    """
    with SimulatorServer() as simulator, SimulatorServer() as other, Server() as server, ExitStack() as stack:
        targets = folder / "targets"
        addresses = demo_accounts(simulator.url) | accounts({"other": (*OTHER_ACCOUNT, other.url)})
        settings = {**addresses, **metrics_into(targets), "ORDERS_REDIS_URL": server.url()}
        workers = [WorkerNode(folder, settings) for _ in range(2)]
        prometheus = Prometheus(folder, targets, None)
        for node in (*workers, prometheus):
            stack.callback(node.teardown)
            node.start()
        for node in (*workers, prometheus):
            node.ready()
        simulator.control.balance("demo-everstrike-key", "ETH", "1000")
        simulator.control.position("demo-everstrike-key", PAIR, "1000")
        client = stack.enter_context(OrderClient(QueueSettings(redis_url=server.url())))
        over = threading.Event()
        senders = [
            threading.Thread(target=send, args=(client, over, COMMANDS_PER_SECOND, COMMANDS, SHARES)),
            threading.Thread(target=send, args=(client, over, CANCELS_PER_SECOND, CANCELS_ELSEWHERE, (1,))),
        ]
        for sender in senders:
            sender.start()
            stack.callback(sender.join)
        stack.callback(over.set)
        time.sleep(8)  # until rates have something to compare with
        titles, times = [], [time.time()]
        for title, seconds in scenes(simulator.control, workers[1]):
            print(title, flush=True)
            time.sleep(seconds)
            titles.append(title)
            times.append(time.time())
        queries = [query for panel in PANELS.values() for query in panel.values()]
        return {query: prometheus.series(query, times[-1] - times[0]) for query in queries}, titles, times


def send(
    client: OrderClient, over: threading.Event, rate: float, commands: Sequence[Command], shares: Sequence[float]
) -> None:
    """Send commands evenly until it is over, so many a second."""
    due = time.monotonic()
    while not over.wait(max(0.0, due - time.monotonic())):
        client.enqueue(*random.choices(commands, shares))
        due += 1 / rate


def draw(found: Mapping[str, Series], titles: Sequence[str], times: Sequence[float]) -> None:
    """One panel below the other over the same time, with the scenes marked."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(PANELS), 1, figsize=(10, 11), sharex=True, dpi=80)
    for axis, (title, queries) in zip(axes, PANELS.items(), strict=True):
        for legend, query in queries.items():
            for series in found[query]:
                points = [(float(at) - times[0], float(value)) for at, value in series["values"] if value != "NaN"]
                if any(value for _, value in points):  # some counters are there before anything is counted
                    axis.plot(*zip(*points, strict=True), label=legend.format(**series["metric"]), linewidth=1.3)
        if title == "seconds":
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.set_title(title, loc="left", fontsize=10)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.98), ncol=5, frameon=False, columnspacing=1)
        for at in times[1:-1]:
            axis.axvline(at - times[0], color="black", linewidth=0.8, linestyle=":")
    for title, begins, ends in zip(titles, times, times[1:], strict=False):
        middle = (begins + ends) / 2 - times[0]
        axes[0].text(middle, 1.2, title, transform=axes[0].get_xaxis_transform(), fontsize=8, ha="center")
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, times[-1] - times[0])
    figure.tight_layout()
    figure.savefig(PICTURE)


def main() -> int:
    """Record and draw."""
    if not program("prometheus"):
        print("prometheus is missing: apt-get install prometheus", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        draw(*record(Path(folder)))
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
