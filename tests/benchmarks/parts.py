"""The parts of a round: which contenders are visited, and what is measured of each one."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis

from tests.benchmarks import measures
from tests.benchmarks.contenders import Contender, named
from tests.benchmarks.processes import Sender
from tests.benchmarks.rig import Bench, Rig
from tests.support.node import ROOT

CONTENDERS = "ours,ours@threads:4x2,celery,once,dramatiq,rq,arq,taskiq,huey"
PROCESS_COUNTS = (1, 2, 4, 8)
TROUBLE = (RuntimeError, OSError, EOFError, psutil.Error, redis.RedisError, subprocess.SubprocessError)


class Round:
    """One round: every part that was asked for, once for every contender."""

    def __init__(self, rig: Rig, options: argparse.Namespace, number: int, records: list[dict[str, Any]]) -> None:
        self.rig, self.options, self._number, self._records = rig, options, number, records

    def run(self) -> None:
        """All parts in their order; one that fails does not keep the others from running."""
        for names, part in PARTS.items():
            if set(names) & set(self.options.parts):
                with self._recording_trouble("/".join(names)):
                    part(self)

    def record(self, part: str, who: str, figures: Mapping[str, Any]) -> None:
        """Keep a measurement and print it as progress."""
        self._records.append({"part": part, "round": self._number, "contender": who, **figures})
        short = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
        now = time.strftime("%H:%M:%S")
        print(f"{now} round {self._number} {who} {part}: {short}", file=sys.stderr, flush=True)

    def visit(self, contenders: Sequence[Contender], measure: Callable[["Round", Bench], None]) -> None:
        """Start and measure one contender after the other, each round beginning with another."""
        start = (self._number - 1) % len(contenders)
        for contender in [*contenders[start:], *contenders[:start]]:
            with self._recording_trouble(contender.label), self.rig.working(contender) as bench:
                measure(self, bench)

    @contextmanager
    def _recording_trouble(self, who: str) -> Iterator[None]:
        try:
            yield
        except TROUBLE as trouble:
            self.record("trouble", who, {"words": str(trouble)})


def filled_queue(this: Round, bench: Bench) -> None:
    """Throughput at each latency, time to the wire, memory, idle CPU: all from one start of the workers."""
    options, label = this.options, bench.contender.label
    if "latency" in options.parts:
        this.record("latency", label, measures.light(bench, options.seconds * 2))
    if "throughput" in options.parts:
        for latency_ms in options.latencies:
            this.record("throughput", label, measures.throughput(bench, latency_ms, options.seconds))
        this.record("memory", label, measures.memory(bench))
    if "idle" in options.parts:
        this.record("idle", label, measures.idle(bench))


def light(this: Round, bench: Bench) -> None:
    """Time to the wire at a light load, while programs of the lowest priority keep every core busy."""
    spin = ["nice", "-n", "19", sys.executable, "-c", "while True: pass"]
    with ExitStack() as stack:
        for _ in range(psutil.cpu_count() or 1):
            stack.callback(stack.enter_context(subprocess.Popen(spin)).kill)
        this.record("light", bench.contender.label, measures.light(bench, this.options.light_seconds))


def age(this: Round, bench: Bench) -> None:
    """Signatures with a deep backlog and in a storm of 429; those of a light load are in the part ``latency``."""
    options, label = this.options, bench.contender.label
    for latency_ms in (0, 20):
        this.record("age", label, measures.backlog_age(bench, latency_ms, options.backlog))
    this.record("age", label, measures.storm_age(bench, int(200 * options.seconds)))


def behind(this: Round, bench: Bench) -> None:
    """Cancels enqueued behind queries."""
    this.record("behind", bench.contender.label, measures.behind(bench, this.options.queries))


def scale(this: Round, bench: Bench) -> None:
    """Throughput with this number of processes."""
    contender = bench.contender
    for latency_ms in (20.0, 100.0):
        figures = measures.throughput(bench, latency_ms, this.options.seconds)
        this.record("scaling", contender.label, {"processes": contender.layout.processes, **figures})


def signing(this: Round) -> None:
    """Ours and ccxt's, each in an interpreter of its own."""
    peers = this.options.peers
    for python, module in ((sys.executable, "tests.benchmarks.signing"), (peers, "tests.benchmarks.peers.ccxt_sign")):
        if Path(python).exists():
            printed = subprocess.check_output([python, "-m", module], cwd=ROOT, timeout=120)
            for who, us in json.loads(printed).items():
                this.record("signing", who, {"us": us})


def producing(this: Round) -> None:
    """How fast a sender is, with no worker beside it."""
    for name in dict.fromkeys(each.name for each in this.options.contenders):
        with this.rig.sending(named(name)) as sender:
            _enqueue_rate(this, sender, 50, singly=True)
            this.record("producers", f"{name}, one by one", _enqueue_rate(this, sender, 1000, singly=True))
            if name == "ours":
                this.record("producers", "ours, a thousand at once", _enqueue_rate(this, sender, 5000))


def _enqueue_rate(this: Round, sender: Sender, count: int, **order: object) -> dict[str, float]:
    return {"rate": count / sender.ask(first=this.rig.numbers(count), count=count, **order)["seconds"]}


def _ours(this: Round) -> list[Contender]:
    """This worker in the first layout that was asked for."""
    return [next((each for each in this.options.contenders if each.name == "ours"), named("ours"))]


def _scaled(this: Round) -> list[Contender]:
    """With half of the threads too: more such processes fit into this machine before it is full."""
    layout = _ours(this)[0].layout
    threads = dict.fromkeys((layout.concurrency, max(1, layout.concurrency // 2)))
    return [named(f"ours@{layout.pool}:{each}x{count}") for each in threads for count in PROCESS_COUNTS]


PARTS: Mapping[tuple[str, ...], Callable[[Round], None]] = {
    ("throughput", "latency", "idle"): lambda this: this.visit(this.options.contenders, filled_queue),
    ("light",): lambda this: this.visit(this.options.contenders, light),
    ("age",): lambda this: this.visit(_ours(this), age),
    ("behind",): lambda this: this.visit(_ours(this), behind),
    ("scaling",): lambda this: this.visit(_scaled(this), scale),
    ("signing",): signing,
    ("producers",): producing,
}
ALL = tuple(name for names in PARTS for name in names)
