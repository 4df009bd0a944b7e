"""What a round consists of."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from tests.benchmarks import measures
from tests.benchmarks.contenders import Contender, named
from tests.benchmarks.rig import Rig

CONTENDERS = "ours,ours@threads:4x2,celery,dramatiq,once"
Found = list[dict[str, Any]]


def say(words: str) -> None:
    """Progress, for people."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def turn(items: Sequence[Any], number: int) -> list[Any]:
    """The same items, each round beginning with another one."""
    start = (number - 1) % len(items) if items else 0
    return [*items[start:], *items[:start]]


def one_round(rig: Rig, chosen: argparse.Namespace, number: int, found: Found) -> None:
    """Everything that was asked for, once."""
    wanted = set(chosen.parts)
    if wanted & {"throughput", "latency"}:
        for contender in turn(chosen.contenders, number):
            try:
                visit(rig, chosen, number, contender, found)
            except (RuntimeError, TimeoutError) as trouble:
                say(f"round {number} {contender.label}: {trouble}")
                found.append({"part": "trouble", "round": number, "contender": contender.label, "words": str(trouble)})
    if "age" in wanted:
        with rig.working(named("ours")) as bench:
            note(found, "age", number, bench.contender, measures.light_age(bench, chosen.seconds * 2))
            for latency_ms in (0, 20):
                note(found, "age", number, bench.contender, measures.backlog_age(bench, latency_ms, chosen.backlog))
            note(found, "age", number, bench.contender, measures.storm_age(bench, int(200 * chosen.seconds)))


def note(found: Found, part: str, number: int, contender: Contender, figures: dict[str, Any]) -> None:
    """Keep a measurement and say it."""
    found.append({"part": part, "round": number, "contender": contender.label, **figures})
    short = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
    say(f"round {number} {contender.label} {part}: {short}")


def visit(rig: Rig, chosen: argparse.Namespace, number: int, contender: Contender, found: Found) -> None:
    """Throughput at each latency, time to the wire at a light load, memory: all from one start of the workers."""
    with rig.working(contender) as bench:
        if "latency" in chosen.parts:
            note(found, "latency", number, contender, measures.light(bench, chosen.seconds * 2))
        if "throughput" in chosen.parts:
            for latency_ms in chosen.latencies:
                note(found, "throughput", number, contender, measures.throughput(bench, latency_ms, chosen.seconds))
            note(found, "memory", number, contender, measures.memory(bench))


ALL = ("throughput", "latency", "age")
