"""What docs/scaling.md says in numbers: ``python -m tests.ha.measure [--parts cpu,memory,…]``, or ``make measure``.

Prints tables as they stand on that page. Server, venue, sender and workers are processes of this machine; what a
command costs is read from the processor's time that they used, and so depends little on what else ran beside them.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import redis

from tests.benchmarks import measures
from tests.benchmarks.contenders import named
from tests.benchmarks.machine import machine
from tests.benchmarks.rig import Bench, Rig
from tests.ha import failover
from tests.ha.rabbitmq import RabbitNode, installed
from tests.ha.sentinels import DOWN_MS
from tests.support.certificates import CertificateAuthority
from tests.support.node import running
from tests.support.servers import Server, free_port, option_words
from tests.support.workers import WorkerNode
from worker.simulator.server import SimulatorServer

KINDS = ("close", "cancel", "withdraw", "positions")
COUNT = 3000
"""Commands of each kind: some seconds' work."""
KEPT = 4000
"""Commands of which the server's memory is told."""
LATENCIES = (20, 100, 300)
TURNS = 3


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(f"{each:.3g}" if isinstance(each, float) else str(each) for each in row) + " |")
    print(flush=True)


@contextmanager
def benches(layout: str = "threads:16x2", **rig: Any) -> Iterator[Bench]:
    """This worker at work on a server of its own."""
    with Rig("", **rig) as made, made.working(named(f"ours@{layout}")) as bench:
        yield bench


def drained(bench: Bench, kind: str, latency_ms: float = 0, count: int = COUNT, turns: int = TURNS) -> dict[str, float]:
    """The medians of some turns."""
    found = [measures.drain(bench, count, latency_ms, 30, kind=kind) for _ in range(turns)]
    if not all(each["whole"] for each in found):
        raise RuntimeError(f"{kind}: not all of {count} came to the venue")
    names = ("rate", "worker_cpu_ms", "server_cpu_ms", "round_trips")
    return {name: statistics.median(each[name] for each in found) for name in names}


def cpu() -> None:
    """What a command costs, and how many a core carries."""
    with benches() as bench:
        table(CPU_HEAD, [cpu_row(f"`{kind}`", drained(bench, kind)) for kind in KINDS])


CPU_HEAD = (
    "command",
    "worker CPU, µs",
    "server CPU, µs",
    "round trips",
    "commands/s a worker core carries",
    "a server core",
    "all on these 2 cores",
)


def cpu_row(name: str, each: Mapping[str, float]) -> list[object]:
    """A row of the table of `cpu`."""
    worker, server = each["worker_cpu_ms"], each["server_cpu_ms"]
    per_core = [f"{1000 / cost:.0f}" if cost else "" for cost in (worker, server)]
    trips = f"{each['round_trips']:.1f}"
    return [name, f"{worker * 1000:.0f}", f"{server * 1000:.0f}", trips, *per_core, f"{each['rate']:.0f}"]


def latency() -> None:
    """Little's law: one process of 16 threads, and how many commands a second it reaches."""
    rows = []
    for threads in (16, 32):
        with benches(f"threads:{threads}x1") as bench:
            for ms in LATENCIES:
                most = threads * 1000 / ms
                each = drained(bench, "close", ms, count=int(min(most, 400) * 5), turns=1)
                rows.append([threads, ms, f"{most:.0f}", f"{each['rate']:.0f}"])
    table(("threads", "venue answers in, ms", "threads / latency", "commands/s measured"), rows)


def memory() -> None:
    """A worker process: just started, and after some thousand commands."""
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        settings = {"ORDERS_REDIS_URL": server.url(), "ORDERS_METRICS__PORT": str(free_port())}
        with running(WorkerNode(Path(folder), settings)) as (node,):
            started = psutil.Process(node.pid).memory_full_info()
    rows: list[list[object]] = [["just started, with metrics", f"{started.pss / 1e6:.0f}", f"{started.rss / 1e6:.0f}"]]
    for threads in (16, 64):
        with benches(f"threads:{threads}x1") as bench:
            drained(bench, "close", 100, count=2000, turns=1)
            pss, rss = bench.family.memory_mb()
            rows.append([f"after 2,000 commands, `-c {threads}`", f"{pss:.0f}", f"{rss:.0f}"])
    table(("one worker process", "PSS, MB", "RSS, MB"), rows)


def records() -> None:
    """What the server keeps of an ended command."""
    rows = []
    for kind in KINDS:
        with benches() as bench:
            bench.rig.redis.execute_command("FLUSHALL", "SYNC")  # the warm-up's, freed before it is looked
            before = bench.rig.redis.info("everything")
            measures.drain(bench, KEPT, 0, 30, kind=kind)
            after = bench.rig.redis.info("everything")
            rows.append([f"`{kind}`", *kept(bench.rig.server, before, after)])
    head = ("bytes a command", "all of it", "record", "journal", "lines of it", "stored report", "append-only file")
    table(head, rows)


def held(info: Mapping[str, Any]) -> int:
    """The server's memory but for what it reads from and writes to its clients."""
    return int(info["used_memory"]) - int(info.get("mem_clients_normal", 0))


def kept(server: Server, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[object]:
    """A command's share of the memory and of the append-only file, and of what."""

    def mean(database: int, pattern: str) -> float:
        with redis.Redis(port=server.port, db=database) as client:
            keys = list(client.scan_iter(pattern, count=1000))
            sizes = [int(client.memory_usage(key, samples=0) or 0) for key in keys[:500]]
            return sum(sizes) / len(sizes) * len(keys) / KEPT if sizes else 0.0

    with redis.Redis(port=server.port, db=2) as ledger:
        lines = int(ledger.xlen("orders:journal"))
        journal = int(ledger.memory_usage("orders:journal", samples=0) or 0)
    whole = (held(after) - held(before)) / KEPT
    disk = (after["aof_current_size"] - before["aof_current_size"]) / KEPT
    parts = [mean(2, "orders:command:*"), journal / KEPT, lines / KEPT, mean(1, "celery-task-meta-*"), disk]
    return [f"{whole:.0f}", *(f"{each:.0f}" for each in parts)]


def queued() -> None:
    """What the server keeps of a command that waits: its message and, but of a query, its intent."""
    rows = []
    with Rig("") as rig, rig.sending(named("ours")) as sender:
        for kind in KINDS:
            rig.redis.execute_command("FLUSHALL", "SYNC")
            before = held(rig.redis.info("memory"))
            sender.ask(first=rig.numbers(KEPT), count=KEPT, kind=kind)
            rows.append([f"`{kind}`", f"{(held(rig.redis.info('memory')) - before) / KEPT:.0f}"])
    table(("waiting", "bytes a command"), rows)


def failovers(signal: str = "SIGKILL") -> None:
    """From the master's death to the next execution."""
    with SimulatorServer() as simulator, tempfile.TemporaryDirectory() as folder:
        rows = [failover.measure(Path(folder) / str(number), simulator, signal) for number in range(5)]
    values = {name: [row[name] for row in rows] for name in rows[0]}
    shown = {name: f"{statistics.median(v):.1f} ({min(v):.1f} to {max(v):.1f})" for name, v in values.items()}
    table((f"5 times, down-after-milliseconds {DOWN_MS}: median (least to most)", ""), list(shown.items()))


class TlsServer(Server):
    """Debian's server, listening for TLS beside."""

    def __init__(self, *options: str, program: str) -> None:
        super().__init__(program=program)
        self.tls_port = free_port()
        authority = CertificateAuthority(self.folder)
        own = authority.issue("server")
        self._ca = authority.certificate
        files = {"cert-file": own.certificate, "key-file": own.key, "ca-cert-file": self._ca}
        tls = {"port": self.tls_port, "auth-clients": "no", **files}
        self.options = [*options, *option_words({f"tls-{name}": value for name, value in tls.items()})]

    def url(self, database: int | None = None) -> str:
        """With TLS."""
        path = "" if database is None else f"/{database}"
        return f"rediss://127.0.0.1:{self.tls_port}{path}?ssl_ca_certs={self._ca}"


def tls() -> None:
    """`close` with and without TLS, on Debian's server."""
    program = shutil.which("redis-server")
    if not program:
        print("no redis-server: nothing said of TLS\n")
        return
    rows = []
    for name, make in (("without TLS", Server), ("with TLS", TlsServer)):
        with benches(server=partial(make, program=program)) as bench:
            rows.append(cpu_row(f"`close` {name}", drained(bench, "close")))
    table(CPU_HEAD, rows)


def rabbit() -> None:
    """`close` again, with RabbitMQ as broker."""
    if not installed():
        print("no rabbitmq-server: nothing said of RabbitMQ\n")
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        (node,) = stack.enter_context(running(RabbitNode(Path(folder))))
        bench = stack.enter_context(benches(more={"ORDERS_BROKER_URL": node.url}))
        before = node.cpu_seconds()
        found = drained(bench, "close", turns=TURNS)
        used = (node.cpu_seconds() - before) / (COUNT * TURNS) * 1e6
        table(CPU_HEAD, [cpu_row(f"`close`, RabbitMQ as broker (it takes {used:.0f} µs besides)", found)])


PARTS: Mapping[str, Callable[[], None]] = {
    "cpu": cpu,
    "latency": latency,
    "memory": memory,
    "records": records,
    "queued": queued,
    "failover": failovers,
    "hang": lambda: failovers("SIGSTOP"),
    "tls": tls,
    "rabbit": rabbit,
}


def main() -> int:
    """All parts that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.ha.measure", description=__doc__)
    most = ",".join(name for name in PARTS if name != "hang")
    parser.add_argument("--parts", default=most, help=f"some of {','.join(PARTS)}; hang: a master that is frozen")
    chosen = parser.parse_args().parts.split(",")
    told = machine("no peers here")
    print(f"{told['cores']} cores, {told['cpu']}, Python {told['python']}, {told['versions']}\n")
    for name in chosen:
        print(f"### {name}\n", flush=True)
        PARTS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
