"""What a server states about itself: product and version, persistence, eviction, memory, replicas and clock.

``INFO`` is read and interpreted here. The doctor, the metrics and the policy of the ledger's server judge the facts.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import redis


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Facts of ``INFO``. None or an empty text where the server does not state one: services that host Redis leave
    fields out."""

    product: str
    """``Redis`` or ``Valkey``, whose ``redis_version`` is the version of Redis that it is compatible with."""
    version: str
    role: str
    """``master`` or ``slave``."""
    online_replicas: int
    used_memory: int | None
    """Bytes."""
    maxmemory: int | None
    """Bytes; 0 means that there is no limit."""
    machine_memory: int | None
    """Bytes."""
    eviction_policy: str | None
    appends_to_file: bool | None
    """``appendonly``."""
    append_failed: bool
    rewrite_failed: bool
    """The last rewrite of the append-only file failed."""
    snapshot_failed: bool

    @classmethod
    def parse(cls, info: Mapping[str, Any]) -> Self:
        """The facts in what redis-py's ``info()`` returns."""
        valkey = info.get("valkey_version")
        appends = info.get("aof_enabled")
        return cls(
            product="Valkey" if valkey else "Redis",
            version=str(valkey or info.get("redis_version", "")),
            role=str(info.get("role", "")),
            online_replicas=online_replicas(info),
            used_memory=_number(info.get("used_memory")),
            maxmemory=_number(info.get("maxmemory")),
            machine_memory=_number(info.get("total_system_memory")),
            eviction_policy=info.get("maxmemory_policy"),
            appends_to_file=None if appends is None else bool(int(appends)),
            append_failed=info.get("aof_last_write_status", "ok") != "ok",
            rewrite_failed=info.get("aof_last_bgrewrite_status") == "err",
            snapshot_failed=info.get("rdb_last_bgsave_status") == "err",
        )

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """Major and minor version; empty when the server states none."""
        return tuple(int(part) for part in self.version.split(".")[:2] if part.isdecimal())

    @property
    def memory_limit(self) -> int | None:
        """Bytes that the server can use: ``maxmemory``, or else the machine's."""
        return self.maxmemory or self.machine_memory

    @property
    def writable(self) -> bool:
        """Whether it is the primary, and can write its append-only file."""
        return self.role == "master" and not self.append_failed


def read_server_info(client: redis.Redis) -> ServerInfo:
    """Ask a server for its ``INFO``.

    Raises:
        redis.ResponseError: this user is not permitted to ask.
        redis.RedisError, OSError: it does not answer.
    """
    return ServerInfo.parse(client.info())


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def online_replicas(info: Mapping[str, Any]) -> int:
    """How many replicas follow the server, by its ``INFO replication``."""
    rows = [info.get(f"slave{number}") for number in range(int(info.get("connected_slaves", 0)))]
    return sum(isinstance(row, dict) and row.get("state") == "online" for row in rows)


def clock_offset(read_ms: Callable[[], float], samples: int) -> tuple[float, float]:
    """How far another clock, which ``read_ms`` reads, is ahead of this one, and the round trip of that sample, both in
    milliseconds.

    Of several samples the one with the shortest round trip counts. The other clock is taken to have been read in the
    middle of it.
    """
    best: tuple[float, float] | None = None
    for _ in range(samples):
        began, started = time.time(), time.perf_counter()
        theirs = read_ms()
        round_trip = (time.perf_counter() - started) * 1000
        if best is None or round_trip < best[1]:
            best = theirs - (began * 1000 + round_trip / 2), round_trip
    if best is None:
        raise ValueError("samples must be 1 or more")
    return best


def server_clock_offset(client: redis.Redis, samples: int) -> float:
    """How many milliseconds a server's clock is ahead of this machine's.

    ``TIME`` and not ``PING``: a server that cannot write to its disk refuses ``PING``.

    Raises:
        redis.RedisError, OSError: it does not answer.
    """

    def read_ms() -> float:
        seconds, microseconds = client.time()
        return float(seconds) * 1000 + float(microseconds) / 1000

    return clock_offset(read_ms, samples)[0]


@dataclass(frozen=True, slots=True)
class ServerState:
    """What metrics show of one server."""

    memory_used: int
    """Bytes."""
    memory_max: int
    """Bytes."""
    writable: bool
    clock_offset: float
    """Seconds by which this machine is ahead."""


def server_state(client: redis.Redis) -> ServerState:
    """Ask a server about itself.

    Raises:
        redis.RedisError, OSError: it does not answer.
    """
    # Of the two samples the first may include opening the connection.
    offset_ms = server_clock_offset(client, samples=2)
    info = read_server_info(client)
    return ServerState(info.used_memory or 0, info.memory_limit or 0, info.writable, -offset_ms / 1000)
