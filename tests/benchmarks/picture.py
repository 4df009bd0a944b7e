"""The picture in the README: two workers under load, drawn from what a real Prometheus scraped.

``pip install matplotlib && python -m tests.benchmarks.picture`` writes ``docs/pictures/load.png``. It takes two and a
half minutes: a steady load, a venue that becomes slow, a storm of 429, a worker killed with ``kill -9``. Needs Debian's
``prometheus``. Everything runs on this machine and ends by itself.
"""

import contextlib
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery

from tests.alerts.rig import Prometheus, metrics_into, program
from tests.support.node import ROOT
from tests.support.redis_node import ServerNode
from tests.support.stack import demo_accounts, foreign_app
from tests.support.workers import WorkerNode
from worker.simulator.control import SimulatorControl
from worker.simulator.server import SimulatorServer

PICTURE = ROOT / "docs" / "pictures" / "load.png"
RATE = 50
"""Commands a second."""
PAIR = "USD_BTC_PERP"


@dataclass(frozen=True)
class Scene:
    """Some seconds, and what is done at their beginning."""

    seconds: float
    words: str
    begin: Callable[["Stage"], None]


@dataclass
class Stage:
    """What runs."""

    venue: SimulatorControl
    workers: list[WorkerNode]


def calm(stage: Stage) -> None:
    """A venue that answers."""
    stage.venue.clear_faults()


def slow(stage: Stage) -> None:
    """A venue that takes 400 ms."""
    stage.venue.fault("slow", delay_ms=400, times=None)


def storm(stage: Stage) -> None:
    """Every close is answered with the venue's own 429, which says that it was not executed."""
    stage.venue.clear_faults()
    stage.venue.fault("envelope", status=429, message="Too many requests", path="close", times=None)


def kill(stage: Stage) -> None:
    """One of the two workers is gone."""
    stage.venue.clear_faults()
    stage.workers[1].kill()


def back(stage: Stage) -> None:
    """And another one comes."""
    stage.workers[1].start()


SCENES = (
    Scene(30, "steady load", calm),
    Scene(25, "the venue takes 400 ms", slow),
    Scene(20, "it answers again", calm),
    Scene(25, "closes get 429", storm),
    Scene(20, "kill -9 of one worker", kill),
    Scene(25, "another comes", back),
)


class Sender(threading.Thread):
    """A service that sends commands of every kind, evenly."""

    def __init__(self, app: Celery) -> None:
        super().__init__(daemon=True)
        self._app = app
        self.over = threading.Event()

    def run(self) -> None:
        """Send until it is over."""
        due = time.monotonic()
        with self._app.producer_pool.acquire(block=True) as producer:
            while not self.over.is_set():
                task, arguments = self._next()
                stamp = {"enqueued_at": int(time.time() * 1000)}
                self._app.send_task(task, kwargs=arguments, queue=task, headers=stamp, producer=producer)
                due += 1 / RATE
                time.sleep(max(0.0, due - time.monotonic()))

    def _next(self) -> tuple[str, dict[str, Any]]:
        drawn = random.random()
        if drawn < 0.7:
            return "orders.close", {"account": "main", "pair": PAIR, "qty": "0.0001"}
        if drawn < 0.9:
            return "orders.positions", {"account": "main"}
        return "orders.withdraw", {"account": "main", "asset": "ETH", "qty": "0.0001", "address": "0xabc"}


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[Stage, Prometheus, Celery]]:
    """Server, venue, two workers and Prometheus."""
    with SimulatorServer() as simulator:
        server = ServerNode(folder)
        targets = folder / "targets"
        settings = {
            **demo_accounts(simulator.url),
            **metrics_into(targets),
        }
        nodes: list[Any] = [server]
        try:
            server.start()
            server.ready()
            settings["ORDERS_REDIS_URL"] = f"redis://127.0.0.1:{server.port}"
            workers = [WorkerNode(folder, settings) for _ in range(2)]
            prometheus = Prometheus(folder, targets, None)
            nodes += [*workers, prometheus]
            for node in nodes[1:]:
                node.start()
            for node in nodes[1:]:
                node.ready()
            base = f"redis://127.0.0.1:{server.port}"
            yield Stage(simulator.control, workers), prometheus, foreign_app(f"{base}/0", f"{base}/1")
        finally:
            for node in reversed(nodes):
                node.teardown()


def play(folder: Path) -> tuple[dict[str, list[dict[str, Any]]], list[tuple[float, str]], float]:
    """Play every scene; the series of each panel, when each scene began, and the end."""
    with running(folder) as (stage, prometheus, app):
        stage.venue.balance("demo-everstrike-key", "ETH", "1000")
        stage.venue.position("demo-everstrike-key", PAIR, "1000")
        sender = Sender(app)
        sender.start()
        time.sleep(8)  # until rates have something to compare with
        marks = []
        for scene in SCENES:
            marks.append((time.time(), scene.words))
            print(scene.words, flush=True)
            scene.begin(stage)
            time.sleep(scene.seconds)
        ended = time.time()
        found = {q: prometheus.series(q, ended - marks[0][0]) for panel in PANELS for q, _ in panel.queries}
        sender.over.set()
        sender.join()
        return found, marks, ended


@dataclass(frozen=True)
class Panel:
    """One of the drawings: queries, each with how its series are called."""

    title: str
    queries: tuple[tuple[str, str], ...]
    log: bool = False


def quantile(number: float, metric: str, by: str) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({number}, sum by ({by}le) (rate({metric}_bucket[5s])))"


PANELS = (
    Panel(
        "commands ended a second, by outcome",
        (("sum by (outcome) (rate(orders_commands_total[5s]))", "{outcome}"),),
    ),
    Panel(
        "requests a second, by the venue's answer",
        (("sum by (status) (rate(orders_answers_total[5s]))", "{status}"),),
    ),
    Panel(
        "seconds",
        (
            (quantile(0.5, "orders_report_seconds", ""), "to the report, p50"),
            (quantile(0.99, "orders_report_seconds", ""), "p99"),
            (quantile(0.99, "orders_queue_wait_seconds", ""), "in the queue, p99"),
            (quantile(0.99, "orders_venue_latency_seconds", ""), "at the venue, p99"),
            (quantile(0.99, "orders_signature_age_seconds", ""), "age of signature, p99"),
        ),
        log=True,
    ),
    Panel(
        "commands waiting and under way",
        (
            ("sum(max by (queue) (orders_queue_messages))", "in queues"),
            ("max(orders_unacked_messages)", "taken, not acknowledged"),
            ("sum(orders_worker_busy)", "in workers"),
        ),
    ),
)


def draw(found: dict[str, list[dict[str, Any]]], marks: list[tuple[float, str]], ended: float) -> None:
    """Four drawings over one time, with the scenes marked."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    start = marks[0][0]
    figure, axes = plt.subplots(len(PANELS), 1, figsize=(10, 11), sharex=True, dpi=80)
    for axis, panel in zip(axes, PANELS, strict=True):
        for query, name in panel.queries:
            for series in found[query]:
                points = [(float(at) - start, float(value)) for at, value in series["values"] if value != "NaN"]
                axis.plot(*zip(*points, strict=True), label=name.format(**series["metric"]), linewidth=1.3)
        if panel.log:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.set_title(panel.title, loc="left", fontsize=10)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.98), ncol=5, frameon=False, columnspacing=1)
        for at, _ in marks[1:]:
            axis.axvline(at - start, color="black", linewidth=0.8, linestyle=":")
    ends = [at for at, _ in marks[1:]] + [ended]
    for (at, words), end in zip(marks, ends, strict=True):
        middle = (at + end) / 2 - start
        axes[0].text(middle, 1.2, words, transform=axes[0].get_xaxis_transform(), fontsize=8, ha="center")
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, ended - start)
    figure.tight_layout()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE)


def main() -> int:
    """Play and draw."""
    if not program("prometheus"):
        print("prometheus is missing: apt-get install prometheus", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        draw(*play(Path(folder)))
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
