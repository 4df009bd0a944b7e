"""A server, a venue and one contender's workers, ready to be measured."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

import redis

from tests.benchmarks.contenders import Contender
from tests.benchmarks.processes import Sender, Workers
from tests.benchmarks.venue import VenueManager
from tests.support.node import ROOT
from tests.support.servers import Server

START_SECONDS = 60.0
WARM_UP_COMMANDS = 64
"""Sent again and again until every worker process has a connection to the venue."""
FIRST_NUMBER = 1_000_000
"""Commands are numbered from here on; each number is used once in a run."""
KEY, SECRET = "bench-key-0123456789", "bench-secret-0123456789"
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
"""The interpreter with the peers' libraries, which ``make bench`` makes."""


class Rig:
    """Server and venue for a whole run; the contenders work on them one after the other."""

    def __init__(
        self,
        peers: str,
        fsync: str = "always",
        server: Callable[..., Server] = Server,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """``server`` makes one of the server's options; ``more`` are further settings of the project's own worker."""
        self.peers = peers
        self.server = server("--appendfsync", fsync)
        self._settings = dict(more or {})
        self._next_number = FIRST_NUMBER

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.server)
            self.folder = Path(tempfile.mkdtemp(prefix="orders-bench-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.redis = stack.enter_context(redis.Redis(port=self.server.port, decode_responses=True))
            # A fork would take this process's connections along.
            self.venue = stack.enter_context(VenueManager(ctx=get_context("spawn"))).Venue()
            self._on_exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._on_exit.close()

    def _environment(self, contender: Contender, *, sending: bool) -> dict[str, str]:
        url, venue = self.server.url(), f"http://127.0.0.1:{self.venue.port()}"
        return {
            "PYTHONPATH": str(contender.tree),
            "BENCH_VENUE": venue,
            "BENCH_BROKER": f"{url}/0",
            "BENCH_RESULTS": f"{url}/1",
            "BENCH_SENDING": "1" if sending else "",
            "BENCH_CONCURRENCY": str(contender.layout.concurrency),
            "BENCH_KEY": KEY,
            "BENCH_SECRET": SECRET,
            "ORDERS_REDIS_URL": url,
            "ORDERS_ACCOUNTS__MAIN__VENUE": "everstrike",
            "ORDERS_ACCOUNTS__MAIN__API_KEY": KEY,
            "ORDERS_ACCOUNTS__MAIN__SECRET_KEY": SECRET,
            "ORDERS_ACCOUNTS__MAIN__BASE_URL": venue,
            **self._settings,
        }

    @contextmanager
    def working(self, contender: Contender, **settings: str) -> Iterator["Bench"]:
        """The contender's sender and its warm workers, on an empty server; ``settings`` are the workers' alone."""
        commands = contender.worker_commands(self.peers)
        environment = {**self._environment(contender, sending=False), **settings}
        with (
            self.sending(contender) as sender,
            Workers(commands, self.folder, environment, contender.tree) as workers,
        ):
            bench = Bench(self, contender, workers, sender)
            bench.warm_up()
            yield bench

    @contextmanager
    def sending(self, contender: Contender) -> Iterator[Sender]:
        """The contender's sender alone, on an empty server."""
        self.server.flush()
        environment = self._environment(contender, sending=True)
        command, log = contender.sender_command(self.peers), self.folder / "sender.log"
        with Sender(command, environment, log, contender.tree) as sender:
            yield sender

    def numbers(self, count: int) -> int:
        """Reserve so many command numbers; the first of them."""
        first, self._next_number = self._next_number, self._next_number + count
        return first


class Bench:
    """One contender at work."""

    def __init__(self, rig: Rig, contender: Contender, family: Workers, sender: Sender) -> None:
        self.rig, self.contender, self.family, self.sender = rig, contender, family, sender
        self.venue = rig.venue

    def send(self, count: int, **order: object) -> tuple[int, dict[str, Any]]:
        """Enqueue so many commands; the number of the first and the sender's answer."""
        first = self.rig.numbers(count)
        return first, self.sender.ask(first=first, count=count, **order)

    def warm_up(self) -> None:
        """Send until every process has worked: then modules are loaded, connections open, scripts known."""
        self.venue.reset(latency_ms=20)
        ends_at, sent = time.monotonic() + START_SECONDS, 0
        while time.monotonic() < ends_at:
            self.send(WARM_UP_COMMANDS)
            sent += WARM_UP_COMMANDS
            while not self.venue.wait_for(sent, 0.5) and time.monotonic() < ends_at:
                self.family.check()
            connected = self.family.connected_to(self.venue.port())
            if connected >= self.contender.layout.processes and sent >= 4 * WARM_UP_COMMANDS:
                self.settle()
                return
        raise TimeoutError(f"{self.contender.label} was not ready in {START_SECONDS:g} s")

    def settle(self) -> None:
        """Give workers the time to store and acknowledge what the venue has answered."""
        time.sleep(0.3)
