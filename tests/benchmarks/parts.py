"""What a round consists of."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil
import redis

from tests.benchmarks import measures
from tests.benchmarks.contenders import ALL as KNOWN
from tests.benchmarks.contenders import Contender, named
from tests.benchmarks.processes import ROOT
from tests.benchmarks.rig import Rig

CONTENDERS = "ours,ours@threads:4x2,celery,once,dramatiq,rq,arq,taskiq,huey"
SCALE = (1, 2, 4, 8)
TROUBLE = (RuntimeError, OSError, HTTPException, psutil.Error, redis.RedisError, subprocess.SubprocessError)
Figures = dict[str, Any]


def say(words: str) -> None:
    """Progress, for people."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


class Round:
    """One round: every part that was asked for, once for every contender."""

    def __init__(self, rig: Rig, chosen: argparse.Namespace, number: int, found: list[Figures]) -> None:
        self.rig, self.chosen, self.number, self._found = rig, chosen, number, found

    def run(self) -> None:
        """All parts, in their order. A part that fails is told, and the others go on."""
        for names, part in PARTS.items():
            if set(names) & set(self.chosen.parts):
                try:
                    part(self)
                except TROUBLE as trouble:
                    self.note("trouble", "/".join(names), {"words": str(trouble)})

    def note(self, part: str, who: str, figures: Figures) -> None:
        """Keep a measurement and say it."""
        self._found.append({"part": part, "round": self.number, "contender": who, **figures})
        short = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
        say(f"round {self.number} {who} {part}: {short}")

    def turn(self, contenders: list[Contender]) -> list[Contender]:
        """The same ones, each round beginning with another."""
        start = (self.number - 1) % len(contenders)
        return [*contenders[start:], *contenders[:start]]

    def each(self, contenders: list[Contender], visit: Callable[["Round", Contender], None]) -> None:
        """One after the other; what fails is told, and the others go on."""
        for contender in self.turn(contenders):
            try:
                visit(self, contender)
            except TROUBLE as trouble:
                self.note("trouble", contender.label, {"words": str(trouble)})


def visit(this: Round, contender: Contender) -> None:
    """Throughput at each latency, time to the wire at a light load, memory: all from one start of the workers."""
    chosen = this.chosen
    with this.rig.working(contender) as bench:
        if "latency" in chosen.parts:
            this.note("latency", contender.label, measures.light(bench, chosen.seconds * 2))
        if "throughput" in chosen.parts:
            for latency_ms in chosen.latencies:
                this.note("throughput", contender.label, measures.throughput(bench, latency_ms, chosen.seconds))
            this.note("memory", contender.label, measures.memory(bench))


def light(this: Round, contender: Contender) -> None:
    """Time to the wire at a light load, while programs of the lowest priority keep every core busy."""
    spin = ["nice", "-n", "19", sys.executable, "-c", "while True: pass"]
    with this.rig.working(contender) as bench, ExitStack() as stack:
        for _ in range(psutil.cpu_count() or 1):
            program = stack.enter_context(subprocess.Popen(spin))
            stack.callback(program.kill)
        this.note("light", contender.label, measures.light(bench, this.chosen.light_seconds))


def age(this: Round, contender: Contender) -> None:
    """Signatures at a light load, with a deep backlog, and in a storm of 429."""
    chosen = this.chosen
    with this.rig.working(contender) as bench:
        this.note("age", contender.label, measures.light_age(bench, chosen.seconds * 2))
        for latency_ms in (0, 20):
            this.note("age", contender.label, measures.backlog_age(bench, latency_ms, chosen.backlog))
        this.note("age", contender.label, measures.storm_age(bench, int(200 * chosen.seconds)))


def behind(this: Round, contender: Contender) -> None:
    """Cancels enqueued behind queries."""
    with this.rig.working(contender) as bench:
        this.note("behind", contender.label, measures.behind(bench, this.chosen.queries))


def scale(this: Round, contender: Contender) -> None:
    """Throughput with so many processes."""
    with this.rig.working(contender) as bench:
        for latency_ms in (20.0, 100.0):
            figures = measures.throughput(bench, latency_ms, this.chosen.seconds)
            this.note("scaling", contender.label, {"processes": contender.layout.processes, **figures})


def signing(this: Round) -> None:
    """Each in an interpreter of its own, one after the other."""
    programs = [(sys.executable, "tests.benchmarks.signing"), (this.chosen.peers, "tests.benchmarks.peers.ccxt_sign")]
    for python, module in programs:
        if not Path(python).exists():
            continue
        done = subprocess.run(
            [python, "-m", module], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=120
        )
        told: Mapping[str, float] = json.loads(done.stdout)
        for who, us in told.items():
            this.note("signing", who, {"us": us})


def producing(this: Round) -> None:
    """How fast a sender is, with no worker beside it."""
    names = dict.fromkeys(each.name for each in this.chosen.contenders)
    for name in names:
        with this.rig.sending(KNOWN[name]) as sender:
            sender.ask(first=this.rig.numbers(50), count=50, singly=True)
            if name != "ours":
                seconds = sender.ask(first=this.rig.numbers(1000), count=1000, singly=True)["seconds"]
                this.note("producers", f"{name}, one by one", {"rate": 1000 / seconds})
                continue
            singly = [sender.ask(first=this.rig.numbers(500), count=500, singly=True)["seconds"] for _ in range(2)]
            this.note("producers", "ours, enqueue, one by one", {"rate": 1000 / sum(singly)})
            together = [sender.ask(first=this.rig.numbers(1000), count=1000)["seconds"] for _ in range(5)]
            this.note("producers", "ours, enqueue_many, a thousand at once", {"rate": 5000 / sum(together)})


def _ours(this: Round) -> list[Contender]:
    """This worker in the first layout that was asked for."""
    return next(([each] for each in this.chosen.contenders if each.name == "ours"), [named("ours")])


def _scaled(this: Round) -> list[Contender]:
    """With half of the threads too: so many processes more fit into this machine before it is full."""
    layout = _ours(this)[0].layout
    at_once = dict.fromkeys((layout.concurrency, max(1, layout.concurrency // 2)))
    return [named(f"ours@{layout.pool}:{each}x{count}") for each in at_once for count in SCALE]


PARTS: Mapping[tuple[str, ...], Callable[[Round], None]] = {
    ("throughput", "latency"): lambda this: this.each(this.chosen.contenders, visit),
    ("light",): lambda this: this.each(this.chosen.contenders, light),
    ("age",): lambda this: this.each(_ours(this), age),
    ("behind",): lambda this: this.each(_ours(this), behind),
    ("scaling",): lambda this: this.each(_scaled(this), scale),
    ("signing",): signing,
    ("producers",): producing,
}
WITH_PEERS = frozenset({"throughput", "latency", "light", "producers"})
"""Parts that need the interpreter of every contender."""
ALL = tuple(name for names in PARTS for name in names)
