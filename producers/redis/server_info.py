"""What a server says of itself: version, persistence, eviction, memory, replicas and clock."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import redis


def clock_offset(ask: Callable[[], float], samples: int) -> tuple[float, float]:
    """How far another clock is ahead of this one, and the round trip it was measured over, both in ms.

    The best of several samples, the one with the shortest round trip: the other clock is taken to have been read in
    the middle of it.
    """
    best: tuple[float, float] | None = None
    for _ in range(samples):
        began, started = time.time(), time.perf_counter()
        theirs = ask()
        trip = (time.perf_counter() - started) * 1000
        if best is None or trip < best[1]:
            best = theirs - (began * 1000 + trip / 2), trip
    if best is None:
        raise ValueError("samples must be 1 or more")
    return best


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server."""

    memory_used: int
    memory_max: int
    writable: bool
    clock_offset: float
    """Seconds by which this machine is ahead."""


def server_state(client: redis.Redis) -> ServerState:
    """Ask a server about itself.

    Raises:
        redis.RedisError, OSError: it does not answer.
    """
    # Once before, so that a connection that has to be opened is not part of the round trip. Not PING: a server that
    # can't write to its disk refuses that, and tells the time.
    client.time()
    sent = time.time()
    seconds, micros = client.time()
    offset = (sent + time.time()) / 2 - (int(seconds) + int(micros) / 1e6)
    info = client.info()
    writable = info.get("role") == "master" and info.get("aof_last_write_status", "ok") == "ok"
    most = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    return ServerState(int(info["used_memory"]), most, writable, offset)


def online_replicas(info: Mapping[str, Any]) -> int:
    """How many replicas follow the server, by its ``INFO replication``."""
    rows = [info.get(f"slave{number}") for number in range(int(info.get("connected_slaves", 0)))]
    return sum(isinstance(row, dict) and row.get("state") == "online" for row in rows)
