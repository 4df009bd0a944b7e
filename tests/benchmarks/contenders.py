"""Who is measured: how each one's workers and sender are started, and in which layout.

A contender is named ``name`` or ``name@POOL:CONCURRENCYxPROCESSES``: ``ours@threads:4x2`` are two processes of four
threads, ``ours@solo:1x2`` two that do one command at a time. The default layout is two processes of sixteen.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.benchmarks.processes import ROOT

KEY, SECRET = "bench-key-0123456789", "bench-secret-0123456789"
LAYOUT = re.compile(r"(?P<name>[a-z]+)(?:@(?P<pool>[a-z]+):(?P<concurrency>\d+)x(?P<processes>\d+))?")


@dataclass(frozen=True, slots=True)
class Layout:
    """How many at once."""

    pool: str = "threads"
    concurrency: int = 16
    """Commands under way at once in one process."""
    processes: int = 2

    @property
    def at_once(self) -> int:
        """In all processes."""
        return self.concurrency * self.processes


@dataclass(frozen=True, slots=True)
class Place:
    """Where server and venue are."""

    redis_url: str
    venue_url: str
    more: Mapping[str, str] = field(default_factory=dict)
    """Other settings of this worker's own."""


Command = Callable[[str, Layout, int], Sequence[str]]
"""From interpreter, layout and number of the worker to a command line."""


HERE = "tests.benchmarks"
PEERS = f"{HERE}.peers"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work."""

    name: str
    about: str
    worker: Command
    module: str = ""
    """What the sender imports; ``peers/NAME_app.py`` when not told."""
    layout: Layout = Layout()
    own: bool = False
    """Runs under the project's own interpreter, not under the peers'."""
    leaders: int = 0
    """Worker programs that are started; 0: one for each process of the layout."""
    single: bool = False
    """Does one command at a time in each process, whatever is asked for."""

    @property
    def label(self) -> str:
        """Name and layout."""
        layout = self.layout
        return f"{self.name}@{layout.pool}:{layout.concurrency}x{layout.processes}"

    def commands(self, peers: str) -> list[Sequence[str]]:
        """The command lines of all its workers."""
        count = self.leaders or self.layout.processes
        return [self.worker(self.python(peers), self.layout, number) for number in range(count)]

    def python(self, peers: str) -> str:
        """Its interpreter."""
        return sys.executable if self.own else peers

    def sender(self, peers: str) -> list[str]:
        """The command line of its sender."""
        return [self.python(peers), "-m", "tests.benchmarks.sender", self.module or f"{PEERS}.{self.name}_app"]


def _celery(app: str) -> Command:
    def command(python: str, layout: Layout, number: int) -> Sequence[str]:
        pool = ["-P", layout.pool, "-c", str(layout.concurrency)]
        return [python, "-m", "celery", "-A", app, "worker", "-n", f"w{number}@bench", "-l", "WARNING", *pool]

    return command


def _dramatiq(python: str, layout: Layout, number: int) -> Sequence[str]:
    counts = ["--processes", str(layout.processes), "--threads", str(layout.concurrency)]
    return [python, "-m", "dramatiq", "tests.benchmarks.peers.dramatiq_app", *counts]


def _rq(python: str, layout: Layout, number: int) -> Sequence[str]:
    # Where the server is it reads from RQ_REDIS_URL.
    return [python, "-m", "rq.cli", "worker", "--quiet", "--worker-class", "rq.SimpleWorker"]


def _arq(python: str, layout: Layout, number: int) -> Sequence[str]:
    return [python, "-m", "arq", f"{PEERS}.arq_app.WorkerSettings"]


def _taskiq(python: str, layout: Layout, number: int) -> Sequence[str]:
    counts = ["--workers", str(layout.processes), "--max-async-tasks", str(layout.concurrency)]
    return [python, "-m", "taskiq", "worker", f"{PEERS}.taskiq_app:broker", "--log-level", "WARNING", *counts]


def _huey(python: str, layout: Layout, number: int) -> Sequence[str]:
    counts = ["-w", str(layout.concurrency), "-k", "thread", "-g", "TERM"]
    return [python, "-m", "huey.bin.huey_consumer", f"{PEERS}.huey_app.huey", "-q", *counts]


ASYNCIO = Layout("asyncio")
ALL: Mapping[str, Contender] = {
    each.name: each
    for each in (
        Contender("ours", "this worker, ledger and journal included", _celery("worker"), f"{HERE}.ours", own=True),
        Contender("celery", "a bare Celery task on stock kombu", _celery(f"{PEERS}.celery_app"), own=True),
        Contender("once", "Celery with celery-once, autoretry_for and acks_late", _celery(f"{PEERS}.once_app")),
        Contender("dramatiq", "Dramatiq with Results", _dramatiq, leaders=1),
        Contender(
            "rq",
            "RQ, SimpleWorker: no fork, one job at a time in each process",
            _rq,
            layout=Layout("solo", 1),
            single=True,
        ),
        Contender("arq", "arq, asyncio and aiohttp; asks for jobs every 0.5 s", _arq, layout=ASYNCIO),
        Contender(
            "taskiq",
            "taskiq, lists and results of taskiq-redis, asyncio and aiohttp",
            _taskiq,
            layout=ASYNCIO,
            leaders=1,
        ),
        Contender("huey", "Huey", _huey),
    )
}


def named(text: str) -> Contender:
    """The contender of a name, with or without a layout.

    Raises:
        ValueError: when there is none.
    """
    found = LAYOUT.fullmatch(text)
    if found is None or found["name"] not in ALL:
        raise ValueError(
            f"no contender {text!r}; there are {', '.join(ALL)}, each with @POOL:CONCURRENCYxPROCESSES or not"
        )
    contender = ALL[found["name"]]
    layout = contender.layout
    if found["pool"]:
        layout = Layout(found["pool"], int(found["concurrency"]), int(found["processes"]))
    if contender.single:
        layout = replace(layout, concurrency=1)
    return replace(contender, layout=layout)


def environment(place: Place, layout: Layout | None = None, *, sending: bool = False) -> dict[str, str]:
    """What every contender is told; without settings of the product that happen to be in this environment."""
    outer = {name: value for name, value in os.environ.items() if not name.upper().startswith("ORDERS_")}
    return {
        **outer,
        "PYTHONPATH": str(ROOT),
        "BENCH_VENUE": place.venue_url,
        "BENCH_BROKER": f"{place.redis_url}/0",
        "BENCH_RESULTS": f"{place.redis_url}/1",
        "BENCH_SENDING": "1" if sending else "",
        "BENCH_CONCURRENCY": str((layout or Layout()).concurrency),
        "RQ_REDIS_URL": f"{place.redis_url}/0",
        "BENCH_KEY": KEY,
        "BENCH_SECRET": SECRET,
        "ORDERS_REDIS_URL": place.redis_url,
        "ORDERS_ACCOUNTS__MAIN__VENUE": "everstrike",
        "ORDERS_ACCOUNTS__MAIN__API_KEY": KEY,
        "ORDERS_ACCOUNTS__MAIN__SECRET_KEY": SECRET,
        "ORDERS_ACCOUNTS__MAIN__BASE_URL": place.venue_url,
        **place.more,
    }


def default_peers() -> str:
    """The peers' interpreter that ``make bench`` makes."""
    return str(Path(ROOT) / ".venv-bench" / "bin" / "python")
