"""What is measured of one contender at work. Each function returns flat figures; the caller adds who and when."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from tests.benchmarks.figures import spread
from tests.benchmarks.rig import Arrival, Bench

Figures = dict[str, Any]

CEILING = 900
"""Commands a second that no contender is expected to pass by much: how long a queue to fill for so many seconds."""
LIGHT_RATE = 100
GIVE_UP, GRACE_SECONDS = 4.0, 20.0
"""A contender that needs so many times the time planned, and this besides, is told by what it did until then."""


class _Meter:
    """What the workers, the server and the machine spent between two moments."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._workers = bench.family.cpu_seconds()
        self._server = self._info()
        self._machine = psutil.cpu_times()
        self._started = time.time_ns() / 1e6

    def _info(self) -> Mapping[str, float]:
        told: Mapping[str, Any] = self._bench.rig.redis.info("everything")
        cpu = float(told["used_cpu_user"]) + float(told["used_cpu_sys"])
        # A read event is what one round trip of a client costs the server, however many commands are in it.
        return {"cpu": cpu, "reads": told["total_reads_processed"], "commands": told["total_commands_processed"]}

    def spent(self, commands: int, ended_ms: float) -> Figures:
        """A command's share, and how busy the busiest process and the machine were."""
        seconds = max(1e-9, (ended_ms - self._started) / 1000)
        workers = [
            after - before for after, before in zip(self._bench.family.cpu_seconds(), self._workers, strict=False)
        ]
        server, machine = self._info(), psutil.cpu_times()
        busy = sum(machine) - sum(self._machine) - (machine.idle - self._machine.idle)
        return {
            "worker_cpu_ms": 1000 * sum(workers) / commands,
            "server_cpu_ms": 1000 * (server["cpu"] - self._server["cpu"]) / commands,
            "round_trips": (server["reads"] - self._server["reads"]) / commands,
            "redis_commands": (server["commands"] - self._server["commands"]) / commands,
            "busiest_process": max(workers, default=0) / seconds,
            "machine_busy": busy / max(1e-9, sum(machine) - sum(self._machine)),
        }


def plan(bench: Bench, latency_ms: float, seconds: float) -> int:
    """How many commands fill the queue for about so many seconds."""
    at_once = bench.contender.layout.at_once
    rate = min(CEILING, at_once / (latency_ms / 1000)) if latency_ms else CEILING
    return max(4 * at_once, int(rate * seconds))


def drain(bench: Bench, count: int, latency_ms: float, seconds: float, *, refuse: int = 0, kind: str = "") -> Figures:
    """Fill the queue while the workers are stopped, let them go, and clock them until the venue's last answer."""
    wanted = count * (refuse + 1)
    bench.family.pause()
    bench.venue.reset(latency_ms, refuse)
    bench.send(count, **({"kind": kind} if kind else {}))
    meter = _Meter(bench)
    began = time.time_ns() / 1e6
    bench.family.resume()
    whole = bench.venue.wait_for(wanted, seconds * GIVE_UP + GRACE_SECONDS)
    time.sleep(latency_ms / 1000 + 0.1)
    done = bench.venue.count()
    ended = bench.venue.last_answer() if whole else time.time_ns() / 1e6
    figures = {"count": done, "whole": whole, "rate": done / (ended - began) * 1000}
    if whole:
        bench.rest()
        figures |= meter.spent(count, ended)
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
    first, said = bench.send(count, rate=LIGHT_RATE)
    if not bench.venue.wait_for(count, 20):
        raise RuntimeError(f"{bench.contender.label} did only {bench.venue.count()} of {count} at a light load")
    arrivals = bench.venue.arrivals()
    began = said["began"]
    waits = [each.at - began[int(each.command) - first] for each in arrivals]
    return {"count": count, **spread(waits, "wire_"), **ages(arrivals)}


def ages(arrivals: Sequence[Arrival]) -> Figures:
    """How old the signatures were when they arrived."""
    return spread([each.age for each in arrivals if each.signed_at is not None], "age_")


def memory(bench: Bench) -> Figures:
    """Of all processes, and of one worker process's share."""
    pss, rss = bench.family.memory_mb()
    count = bench.contender.layout.processes
    return {"pss_mb": pss, "rss_mb": rss, "pss_mb_each": pss / count, "rss_mb_each": rss / count}


def backlog_age(bench: Bench, latency_ms: float, seconds: float) -> Figures:
    """Signatures while a queue that takes so many seconds is drained, each command older than the one before."""
    rate = drain(bench, plan(bench, latency_ms, 1.5), latency_ms, 2)["rate"]
    figures = drain(bench, int(rate * seconds), latency_ms, seconds)
    waited = figures["count"] / figures["rate"]
    return {"case": f"backlog, venue {latency_ms:g} ms", "count": figures["count"], "waited_s": waited, **_ages(bench)}


def storm_age(bench: Bench, count: int) -> Figures:
    """Signatures while the venue refuses the first two requests of each command for the moment."""
    figures = drain(bench, count, 20, 10, refuse=2)
    return {"case": "storm of 429, two for each command", "count": figures["count"], **_ages(bench)}


def light_age(bench: Bench, seconds: float) -> Figures:
    """Signatures at a light load."""
    light(bench, seconds)
    return {"case": "light load", "count": bench.venue.count(), **_ages(bench)}


def behind(bench: Bench, queries: int) -> Figures:
    """Cancels, twenty a second, while so many queries are drained that were there before them."""
    bench.family.pause()
    bench.venue.reset(latency_ms=20)
    bench.send(queries, kind="positions")
    bench.family.resume()
    began: dict[str, float] = {}
    while bench.venue.count() - len(began) < 0.9 * queries:
        bench.family.check()
        first, said = bench.send(40, kind="cancel", rate=20)
        began |= {str(first + position): at for position, at in enumerate(said["began"])}
    if not bench.venue.wait_for(queries + len(began), 60):
        raise RuntimeError(f"{bench.contender.label} did not end its queries")
    arrivals = bench.venue.arrivals()
    last_query = max(each.at for each in arrivals if not each.command)
    waits = [each.at - began[each.command] for each in arrivals if each.command and began[each.command] < last_query]
    return {"queries": queries, "count": len(waits), **spread(waits, "wire_")}


def _ages(bench: Bench) -> Figures:
    return ages(bench.venue.arrivals())
