"""The parts of a round: which contenders are visited, and what is measured of each one."""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis

from tests.alerts.rig import metrics_into
from tests.benchmarks import measures
from tests.benchmarks.contenders import OWN_SENDER, Contender, named
from tests.benchmarks.processes import Sender
from tests.benchmarks.rig import Bench, Rig
from tests.support.node import ROOT

PROCESS_COUNTS = (1, 2, 4)
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

    def visit(
        self, contenders: Sequence[Contender], measure: Callable[["Round", Bench], None], **settings: str
    ) -> None:
        """Start and measure one contender after the other, each round beginning with another; ``settings`` are the
        workers' own."""
        start = (self._number - 1) % len(contenders)
        for contender in [*contenders[start:], *contenders[:start]]:
            with self._recording_trouble(contender.label), self.rig.working(contender, **settings) as bench:
                measure(self, bench)

    @contextmanager
    def _recording_trouble(self, who: str) -> Iterator[None]:
        try:
            yield
        except TROUBLE as trouble:
            self.record("trouble", who, {"words": str(trouble)})


def filled_queue(this: Round, bench: Bench) -> None:
    """Throughput at each latency, memory, idle CPU: all from one start of the workers."""
    options, label = this.options, bench.contender.label
    if "throughput" in options.parts:
        for latency_ms in options.latencies:
            this.record("throughput", label, measures.throughput(bench, latency_ms, options.seconds))
        this.record("memory", label, measures.memory(bench))
    if "idle" in options.parts:
        this.record("idle", label, measures.idle(bench))


def to_the_wire(this: Round) -> None:
    """A light load, with metrics, which count the messages that only the fallback timer found."""
    with tempfile.TemporaryDirectory() as folder:
        this.visit(this.options.contenders, functools.partial(light, Path(folder)), **metrics_into(Path(folder)))


def light(targets: Path, this: Round, bench: Bench) -> None:
    """Time to the wire: alone, and while programs of the lowest priority keep every core busy."""
    spin = ["nice", "-n", "19", sys.executable, "-c", "while True: pass"]
    for part, programs in (("latency", 0), ("light", psutil.cpu_count() or 1)):
        if part in this.options.parts:
            with ExitStack() as stack:
                for _ in range(programs):
                    stack.callback(stack.enter_context(subprocess.Popen(spin)).kill)
                figures = measures.light(bench, this.options.light_seconds)
            this.record(part, bench.contender.label, figures | measures.fallback_takes(targets))


def age(this: Round, bench: Bench) -> None:
    """Signatures with a deep backlog; those of a light load are in the part ``latency``."""
    this.record("age", bench.contender.label, measures.backlog_age(bench, 20, this.options.backlog))


def behind(this: Round, bench: Bench) -> None:
    """Cancels enqueued behind queries."""
    this.record("behind", bench.contender.label, measures.behind(bench, this.options.queries))


def scale(this: Round, bench: Bench) -> None:
    """Throughput with this number of processes."""
    contender = bench.contender
    figures = measures.throughput(bench, 100.0, this.options.seconds)
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
    for contender in {each.name: each for each in this.options.contenders}.values():
        with this.rig.sending(contender) as sender:
            _enqueue_rate(this, sender, 50, singly=True)
            this.record("producers", f"{contender.name}, one by one", _enqueue_rate(this, sender, 1000, singly=True))
            if contender.module == OWN_SENDER:
                this.record("producers", f"{contender.name}, a thousand at once", _enqueue_rate(this, sender, 5000))


def _enqueue_rate(this: Round, sender: Sender, count: int, **order: object) -> dict[str, float]:
    return {"rate": count / sender.ask(first=this.rig.numbers(count), count=count, **order)["seconds"]}


def _ours(this: Round) -> list[Contender]:
    """This worker in the first layout that was asked for."""
    return [next((each for each in this.options.contenders if each.name == "ours"), named("ours"))]


def _scaled(this: Round) -> list[Contender]:
    layout = _ours(this)[0].layout
    return [named(f"ours@{layout.pool}:{layout.concurrency}x{count}") for count in PROCESS_COUNTS]


PARTS: Mapping[tuple[str, ...], Callable[[Round], None]] = {
    ("throughput", "idle"): lambda this: this.visit(this.options.contenders, filled_queue),
    ("latency", "light"): to_the_wire,
    ("age",): lambda this: this.visit(_ours(this), age),
    ("behind",): lambda this: this.visit(_ours(this), behind),
    ("scaling",): lambda this: this.visit(_scaled(this), scale),
    ("signing",): signing,
    ("producers",): producing,
}
ALL = tuple(name for names in PARTS for name in names)
