"""What is measured of one contender at work. Each function returns flat figures; the caller adds who and when."""

import json
import re
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.figures import spread
from tests.benchmarks.rig import Bench
from tests.benchmarks.venue import Arrival

Figures = dict[str, Any]

EXPECTED_RATE = 900
"""Commands a second that no contender is expected to exceed by much: how many fill a queue for so many seconds."""
LIGHT_RATE = 100
TAKE_FALLBACK = re.compile(rb"^orders_take_fallback_total(?:{.*})? (\S+)$", re.MULTILINE)
PATIENCE, GRACE_SECONDS = 4.0, 20.0
"""A contender that takes so many times the planned time, and these seconds more, is judged by what it did."""


class CostMeter:
    """What the workers, the server and the machine have spent since this was made."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._workers, self._before = bench.family.cpu_seconds(), self._counters()

    def _counters(self) -> dict[str, float]:
        info: Mapping[str, Any] = self._bench.rig.redis.info("everything")
        machine = psutil.cpu_times()
        return {
            "seconds": time.time(),
            "server_cpu": float(info["used_cpu_user"]) + float(info["used_cpu_sys"]),
            # A read event is what one round trip of a client costs the server, however many commands are in it.
            "round_trips": info["total_reads_processed"],
            "machine": sum(machine),
            "machine_idle": machine.idle,
        }

    def spent(self, commands: int, ended_ms: float) -> Figures:
        """The cost of one of these commands, and how busy the busiest process and the machine were."""
        workers = self._bench.family.cpu_seconds_since(self._workers)
        spent = {name: value - self._before[name] for name, value in self._counters().items()}
        return {
            "worker_cpu_ms": 1000 * sum(workers) / commands,
            "server_cpu_ms": 1000 * spent["server_cpu"] / commands,
            "round_trips": spent["round_trips"] / commands,
            "busiest_process": max(workers) / (ended_ms / 1000 - self._before["seconds"]),
            "machine_busy": 1 - spent["machine_idle"] / spent["machine"],
        }


def plan(bench: Bench, latency_ms: float, seconds: float) -> int:
    """How many commands fill the queue for about so many seconds."""
    at_once = bench.contender.layout.at_once
    rate = min(EXPECTED_RATE, at_once / (latency_ms / 1000)) if latency_ms else EXPECTED_RATE
    return max(4 * at_once, int(rate * seconds))


def drain(bench: Bench, count: int, latency_ms: float, seconds: float, *, kind: str = "") -> Figures:
    """Fill the queue while the workers are suspended, let them go, and time them until the venue's last answer."""
    bench.family.suspend()
    bench.venue.reset(latency_ms)
    bench.send(count, **({"kind": kind} if kind else {}))
    meter = CostMeter(bench)
    began_ms = time.time_ns() / 1e6
    bench.family.resume()
    whole = bench.venue.wait_for(count, seconds * PATIENCE + GRACE_SECONDS)
    time.sleep(latency_ms / 1000 + 0.1)
    done = bench.venue.count()
    ended_ms = bench.venue.last_answer_ms()
    figures = {"count": done, "whole": whole, "rate": done / (ended_ms - began_ms) * 1000}
    if whole:
        bench.settle()
        figures |= meter.spent(count, ended_ms)
    return figures


def throughput(bench: Bench, latency_ms: float, seconds: float) -> Figures:
    """Commands a second from a filled queue."""
    figures = drain(bench, plan(bench, latency_ms, seconds), latency_ms, seconds)
    arrivals = bench.venue.arrivals()
    if len({each.command for each in arrivals}) != len(arrivals):
        raise RuntimeError(f"{bench.contender.label} sent a command twice without being asked to")
    return {"latency_ms": latency_ms, **figures, **ages(arrivals)}


def light(bench: Bench, seconds: float) -> Figures:
    """From enqueueing to the venue, with a load that no contender is busy with."""
    bench.venue.reset()
    count = int(LIGHT_RATE * seconds)
    first, sent = bench.send(count, rate=LIGHT_RATE)
    if not bench.venue.wait_for(count, 20):
        raise RuntimeError(f"{bench.contender.label} did only {bench.venue.count()} of {count} at a light load")
    arrivals = bench.venue.arrivals()
    waits = [each.at_ms - sent["began"][int(each.command) - first] for each in arrivals]
    return {"count": count, **spread(waits, "wire"), **ages(arrivals)}


def fallback_takes(targets: Path) -> Figures:
    """Messages since their start that workers of ours found by their check each second alone; their metrics' addresses
    are in this folder."""
    counts = []
    for found in targets.glob("*.json"):
        address = json.loads(found.read_text())[0]["targets"][0]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
            counts += TAKE_FALLBACK.findall(answer.read())
    return {"fallback_takes": sum(map(float, counts))} if counts else {}


def ages(arrivals: Sequence[Arrival]) -> Figures:
    """How old the signatures were when they arrived; up to 1 ms of it is the rounding of the signed timestamp."""
    return spread([each.at_ms - each.signed_at_ms for each in arrivals if each.signed_at_ms is not None], "age")


def memory(bench: Bench) -> Figures:
    """One worker process's share of the memory of all."""
    pss, _ = bench.family.memory_mb()
    return {"pss_mb_each": pss / bench.contender.layout.processes}


def idle(bench: Bench, seconds: float = 5) -> Figures:
    """CPU of all workers that have nothing to do, in per cent of a core."""
    before = bench.family.cpu_seconds()
    time.sleep(seconds)
    return {"idle_cpu_percent": 100 * sum(bench.family.cpu_seconds_since(before)) / seconds}


def backlog_age(bench: Bench, latency_ms: float, seconds: float) -> Figures:
    """Signatures while a queue that takes so many seconds is drained, each command older than the one before."""
    rate = drain(bench, plan(bench, latency_ms, 1.5), latency_ms, 2)["rate"]
    figures = drain(bench, int(rate * seconds), latency_ms, seconds)
    count, waited_s = figures["count"], figures["count"] / figures["rate"]
    return {"latency_ms": latency_ms, "count": count, "waited_s": waited_s, **ages(bench.venue.arrivals())}


def behind(bench: Bench, queries: int) -> Figures:
    """Cancels, twenty a second, while so many queries are drained that were there before them."""
    bench.family.suspend()
    bench.venue.reset(latency_ms=20)
    bench.send(queries, kind="positions")
    bench.family.resume()
    began: dict[str, float] = {}
    while bench.venue.count() - len(began) < 0.9 * queries:
        bench.family.check()
        first, sent = bench.send(40, kind="cancel", rate=20)
        began |= {str(first + position): at_ms for position, at_ms in enumerate(sent["began"])}
    if not bench.venue.wait_for(queries + len(began), 60):
        raise RuntimeError(f"{bench.contender.label} did not end its queries")
    arrivals = bench.venue.arrivals()
    last_query_ms = max(each.at_ms for each in arrivals if not each.command)
    waits = [
        each.at_ms - began[each.command] for each in arrivals if each.command and began[each.command] < last_query_ms
    ]
    return {"queries": queries, "count": len(waits), **spread(waits, "wire")}
