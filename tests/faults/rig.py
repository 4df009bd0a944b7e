"""The rig: servers, simulator and workers, and everything that can be done to them."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGCONT
from typing import Any, Self

import psutil
import redis
import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from producers.commands import COMMANDS
from producers.settings import QueueSettings
from tests.faults.fleet import ROOT, Fleet, ForkServer
from tests.faults.steps import FOLDER, Control
from tests.faults.timings import Timings
from tests.support.checker.commands import (
    ALL_KEYS,
    EXCHANGE_KEYS,
    EXCHANGE_SECRET,
    KEYS,
    KRAKEN,
    OKX,
    PASSPHRASE,
    VENUES,
)
from tests.support.servers import Server
from worker.simulator.control import SimulatorControl
from worker.simulator.server import SimulatorServer
from worker.simulator.simulator import DEMO_BITZ_SECRET, DEMO_EVERSTRIKE_SECRET

POOLS: Mapping[str, tuple[str, ...]] = {
    "threads": ("-P", "threads", "-c", "8"),
    "prefork": ("-P", "prefork", "-c", "2"),
    "solo": ("-P", "solo"),
    "thread": ("-P", "threads", "-c", "1"),
}
"""Celery's options for each pool. Plain commands go the direct way with threads alone."""
REFUSALS = {
    "full": (("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0)),
    "read-only": (("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE")),
}
"""Commands that let a server refuse writes, and accept them again."""
QUIET = ("--without-mingle", "--without-gossip")
"""A worker that starts every second need not ask the others for revoked tasks."""


class PatientControl(SimulatorControl):
    """A remote control that tries again: ``reset_idle`` may hit the connection on which somebody is about to ask."""

    _call = retry(retry=retry_if_exception_type(requests.ConnectionError), stop=stop_after_attempt(10), reraise=True)(
        SimulatorControl._call
    )


class Rig:
    """One server for broker and ledger, one for results, one simulator, and a fleet of workers; a context manager."""

    app = "tests.faults.app"
    queues: Sequence[str] = tuple(COMMANDS)
    preload: Sequence[str] = (
        "worker.bootstrap",
        "worker.broker.transport",
        "tests.faults.steps",
        "tests.faults.exchanges",
    )
    """What the workers import besides Celery."""
    python = sys.executable

    def __init__(
        self,
        timings: Timings | None = None,
        *,
        log_level: str = "INFO",
        one_server: bool = False,
        worker_from: Path = ROOT,
        rate_limits: str = "",
        exchanges: bool = True,
    ) -> None:
        """With ``one_server`` that of the broker stores the results too; the workers are those of the checkout
        ``worker_from``, with its own hook; without ``exchanges`` they have no accounts there, as those of a version
        that knows none."""
        self.timings = timings or Timings()
        self.folder = Path(tempfile.mkdtemp(prefix="orders-faults-"))
        self.control = Control(self.folder)
        self.server = Server()
        self.backend = self.server if one_server else Server()
        self.simulator = SimulatorServer()
        self.worker_from = worker_from
        self.rate_limits = rate_limits
        """Of each account; a worker of an earlier version does not know them."""
        self.keys = ALL_KEYS if exchanges else {**KEYS, "bz": ALL_KEYS["bz"]}
        self._argv = ["-A", self.app, "worker", "-l", log_level]

    # -- the parts ----------------------------------------------------------------------------------------------------

    @property
    def queue_settings(self) -> QueueSettings:
        """What the product's client needs to know."""
        urls = {"broker_url": self.server.url(0), "result_backend": self.backend.url(1)}
        return QueueSettings(**urls, ledger_url=self.server.url(2))

    @property
    def environment(self) -> dict[str, str]:
        """The workers' environment variables."""
        secrets = {"everstrike": DEMO_EVERSTRIKE_SECRET, "bitz": DEMO_BITZ_SECRET}
        more = {OKX: {"PASSPHRASE": PASSPHRASE, "ACCOUNT_MODE": "futures"}}
        accounts = {
            alias.upper(): {
                "VENUE": (venue := VENUES[alias]),
                "API_KEY": key,
                "SECRET_KEY": secrets.get(venue, EXCHANGE_SECRET),
                "BASE_URL": self.simulator.url if venue in secrets else self.exchange_url,
                **more.get(venue, {}),
            }
            for alias, key in self.keys.items()
        }
        variables = {
            "ORDERS_BROKER_URL": self.server.url(0),
            "ORDERS_RESULT_BACKEND": self.backend.url(1),
            "ORDERS_LEDGER_URL": self.server.url(2),
            **{f"ORDERS_ACCOUNTS__{alias}__RATE_LIMITS": self.rate_limits for alias in accounts if self.rate_limits},
            FOLDER: str(self.folder),
            **self.timings.environment(),
        }
        for alias, account in accounts.items():
            variables |= {f"ORDERS_ACCOUNTS__{alias}__{name}": value for name, value in account.items()}
        return variables

    def new_fleet(self, *options: str, timings: Timings | None = None) -> Fleet:
        """Workers with other options or timings; a context manager."""
        environment = self.environment | (timings.environment() if timings else {})
        return Fleet(self.fork_server, [*self._argv, *options], environment)

    @property
    def exchange_url(self) -> str:
        """The simulator by another name: Kraken limits requests by address, and is not to cool the others down."""
        return self.simulator.url.replace("127.0.0.1", "localhost")

    @property
    def venue(self) -> SimulatorControl:
        """The simulator's remote control."""
        return PatientControl(self.simulator.url)

    # -- faults -------------------------------------------------------------------------------------------------------

    @contextmanager
    def killed(self, server: Server) -> Iterator[None]:
        """Kill a server, and start it again with its data at the end of the block."""
        server.kill()
        try:
            yield
        finally:
            server.start()

    @contextmanager
    def frozen(self, server: Server) -> Iterator[None]:
        """SIGSTOP a server for as long as the block takes."""
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    def cut(self) -> None:
        """Cut every connection of the broker's and the ledger's server."""
        for kind in ("normal", "pubsub"):
            self.broker.execute_command("CLIENT", "KILL", "TYPE", kind)

    @contextmanager
    def refusing(self, server: Server, why: str = "full") -> Iterator[None]:
        """Let a server refuse writes: those that need memory, or, as a replica that has lost its master, all."""
        refuse, accept = REFUSALS[why]
        with redis.Redis(port=server.port, socket_timeout=5) as client:
            client.execute_command(*refuse)
            try:
                yield
            finally:
                client.execute_command(*accept)

    @contextmanager
    def slow_venue(self, milliseconds: int) -> Iterator[None]:
        """Let every answer of the venue take a while."""
        self.venue.configure(latency_ms=milliseconds)
        try:
            yield
        finally:
            self.venue.configure(latency_ms=0)

    # -- waiting ------------------------------------------------------------------------------------------------------

    def results(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What is stored of these commands; nothing while the backend is away."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), 500):
            page = ids[start : start + 500]
            with suppress(redis.RedisError):
                stored = self.backend_client.mget([f"celery-task-meta-{each}" for each in page])
                found |= {each: json.loads(text) for each, text in zip(page, stored, strict=True) if text}
        return found

    def is_drained(self) -> bool:
        """Whether nothing is queued, parked or unacknowledged."""
        waiting = (f"{queue}.{suffix}" for queue in self.queues for suffix in ("waiting", "parked", "parked.messages"))
        with suppress(redis.RedisError):
            return not self.broker.exists(*self.queues, *waiting, "unacked")
        return False

    def count_parked(self) -> int:
        """How many commands are parked at the broker, or wait there because their account can send none."""
        waiting = self.broker.scan_iter("orders.*.waiting:*")
        return sum(self.broker.hlen(f"{queue}.parked.messages") for queue in self.queues) + sum(
            self.broker.llen(name) for name in waiting
        )

    # -- its life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if not os.environ.get("FAULTS_KEEP"):
                stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            for server in {self.server, self.backend}:
                stack.enter_context(server)
            urls = (self.server.url(0), self.backend.url(1), self.server.url(2))
            self.broker, self.backend_client, self.ledger = (
                stack.enter_context(redis.Redis.from_url(url, decode_responses=True, socket_timeout=5)) for url in urls
            )
            stack.enter_context(self.simulator)
            for key in KEYS.values():
                self.venue.account("everstrike", key, DEMO_EVERSTRIKE_SECRET)
            for alias, key in EXCHANGE_KEYS.items():
                exchange = "krakenfutures" if VENUES[alias] == KRAKEN else "okx"
                self.venue.account(exchange, key, EXCHANGE_SECRET, PASSPHRASE)  # type: ignore[arg-type]
            fork_server = ForkServer(self.folder, self.preload, self.python, self.worker_from)
            self.fork_server = stack.enter_context(fork_server)
            self.fleet = stack.enter_context(self.new_fleet(*POOLS["threads"], *QUIET))
            """The workers that are there for all of the rig's life; none until they are started."""
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def mend(self) -> None:
        """Take back what was ordered of workers and venue; what was sent stays."""
        self.control.clear()
        self.venue.clear_faults()
        self.venue.release()
        self.fleet.signal(SIGCONT)
