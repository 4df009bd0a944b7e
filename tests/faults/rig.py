"""The rig: servers, simulator and workers, and everything that can be done to them."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import redis
import requests

from producers.settings import QueueSettings
from tests.faults.fleet import ROOT, Fleet, Worker, until
from tests.faults.steps import FOLDER, Control
from tests.faults.timings import Pace
from tests.faults.traffic import KEYS
from tests.servers import Server
from worker.simulator.control import SimulatorControl
from worker.simulator.server import SimulatorServer
from worker.simulator.simulator import DEMO_BITZ_KEY, DEMO_BITZ_SECRET, DEMO_EVERSTRIKE_SECRET

QUEUES = ("orders.cancel", "orders.close", "orders.positions", "orders.withdraw")
THREADS = ("-P", "threads", "-c", "8")
QUIET = ("--without-mingle", "--without-gossip")
"""A worker that starts every second need not ask the others for revoked tasks."""
SMALL_MEMORY = 1


class PatientControl(SimulatorControl):
    """A remote control that tries again: ``reset_idle`` may hit the connection on which somebody is about to ask."""

    def _call(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        for _ in range(9):
            with contextlib.suppress(requests.ConnectionError):
                return super()._call(*args, **kwargs)
        return super()._call(*args, **kwargs)


class Rig:
    """One server for broker and ledger, one for results, one simulator, and a fleet of workers; a context manager."""

    def __init__(
        self,
        pace: Pace | None = None,
        *,
        app: str = "tests.faults.app",
        options: Sequence[str] = (*THREADS, *QUIET),
        log_level: str = "INFO",
        python: str | None = None,
        preload: Sequence[str] = ("worker.bootstrap", "worker.broker.transport", "tests.faults.steps"),
        one_server: bool = False,
        queues: Sequence[str] = QUEUES,
        worker_from: Path = ROOT,
    ) -> None:
        """``worker_from``: the checkout whose workers are tried, with its own hook; all else is this one's."""
        self.pace = pace or Pace()
        self.folder = Path(tempfile.mkdtemp(prefix="orders-faults-"))
        self.control = Control(self.folder)
        self.server = Server()
        self.backend = self.server if one_server else Server()
        self.simulator = SimulatorServer()
        self._argv = ["-A", app, "worker", "-l", log_level, *options]
        self._python = {"python": python} if python else {}
        self._preload = preload
        self._queue_names = queues
        self.worker_from = worker_from
        self.undone: frozenset[str] = frozenset()
        """Withdrawals that the venue took and was made to reject later."""
        self.read_up_to: dict[Path, int] = {}
        """How far each log was looked at."""
        self._fleet: Fleet | None = None
        self._clients: dict[str, Any] = {}
        self._timers: list[threading.Timer] = []

    # -- the parts ----------------------------------------------------------------------------------------------------

    @property
    def queues(self) -> QueueSettings:
        """What the product's client needs to know."""
        return QueueSettings(
            broker_url=self.server.url(0), result_backend=self.backend.url(1), ledger_url=self.server.url(2)
        )

    @property
    def environment(self) -> dict[str, str]:
        """What the workers are told."""
        told = {
            "ORDERS_BROKER_URL": self.server.url(0),
            "ORDERS_RESULT_BACKEND": self.backend.url(1),
            "ORDERS_LEDGER_URL": self.server.url(2),
            FOLDER: str(self.folder),
            **self.pace.environment(),
        }
        accounts = {alias.upper(): ("everstrike", key, DEMO_EVERSTRIKE_SECRET) for alias, key in KEYS.items()}
        accounts["BZ"] = ("bitz", DEMO_BITZ_KEY, DEMO_BITZ_SECRET)
        for alias, (venue, key, secret) in accounts.items():
            prefix = f"ORDERS_ACCOUNTS__{alias}__"
            told |= {prefix + "VENUE": venue, prefix + "API_KEY": key, prefix + "SECRET_KEY": secret}
            told[prefix + "BASE_URL"] = self.simulator.url
        return told

    @property
    def fleet(self) -> Fleet:
        """The workers."""
        if self._fleet is None:
            self._fleet = self.new_fleet()
        return self._fleet

    @property
    def venue(self) -> SimulatorControl:
        """The simulator's remote control."""
        return PatientControl(self.simulator.url)

    def client(self, database: int) -> Any:
        """A client of the broker's (0), results' (1) or ledger's (2) database."""
        server = self.backend if database == 1 else self.server
        return self._clients.setdefault(
            server.url(database), redis.Redis.from_url(server.url(database), decode_responses=True, socket_timeout=5)
        )

    def new_fleet(self, options: Sequence[str] | None = None, pace: Pace | None = None) -> Fleet:
        """Workers with another pool or pace; the caller closes it."""
        argv = self._argv if options is None else [*self._argv[:5], *options]
        environment = self.environment | (pace.environment() if pace else {})
        return Fleet(self.folder, argv, environment, preload=self._preload, checkout=self.worker_from, **self._python)

    # -- faults -------------------------------------------------------------------------------------------------------

    def stop_for(self, worker: Worker, seconds: float) -> bool:
        """SIGSTOP a worker, and SIGCONT it later; returns at once."""
        if not worker.signal(signal.SIGSTOP):
            return False
        self.later(seconds, lambda: worker.signal(signal.SIGCONT))
        return True

    def later(self, seconds: float, do: Any) -> None:
        """Do something in a while."""
        timer = threading.Timer(seconds, do)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def restart(self, server: Server, down: float = 0.0) -> None:
        """Kill a server and start it again with its data."""
        server.kill()
        time.sleep(down)
        _start(server)

    @contextmanager
    def frozen(self, server: Server) -> Iterator[None]:
        """SIGSTOP a server for as long as the block takes."""
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(server.process.pid, signal.SIGCONT)

    def cut(self) -> None:
        """Cut every connection of the broker's and the ledger's server."""
        for kind in ("normal", "pubsub"):
            self.client(0).execute_command("CLIENT", "KILL", "TYPE", kind)

    @contextmanager
    def full(self, server: Server) -> Iterator[None]:
        """Let a server refuse every write that needs memory."""
        with redis.Redis(port=server.port, socket_timeout=5) as client:
            client.config_set("maxmemory", SMALL_MEMORY)
            try:
                yield
            finally:
                client.config_set("maxmemory", 0)

    @contextmanager
    def read_only(self, server: Server) -> Iterator[None]:
        """Let a server be a replica that has lost its master: what clients meet after a failover gone wrong."""
        with redis.Redis(port=server.port, socket_timeout=5) as client:
            client.replicaof("127.0.0.1", "1")
            try:
                yield
            finally:
                client.replicaof("NO", "ONE")

    def continue_stopped(self) -> None:
        """SIGCONT for whoever is stopped."""
        for worker in self.fleet.workers if self._fleet is not None else ():
            worker.signal(signal.SIGCONT)

    # -- waiting ------------------------------------------------------------------------------------------------------

    def results(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What is stored of these commands; nothing while the backend is away."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), 500):
            page = ids[start : start + 500]
            try:
                raw = self.client(1).mget([f"celery-task-meta-{each}" for each in page])
            except redis.RedisError:
                continue
            found |= {each: json.loads(text) for each, text in zip(page, raw, strict=True) if text}
        return found

    def wait_reports(self, ids: Sequence[str], seconds: float = 40.0) -> None:
        """Wait until every command has a result.

        Raises:
            TimeoutError: naming some that have none.
        """
        missing = list(ids)

        def all_there() -> bool:
            missing[:] = [each for each in missing if each not in self.results(missing)]
            return not missing

        try:
            until(all_there, "", seconds, every=0.05)
        except TimeoutError:
            raise TimeoutError(f"{len(missing)} of {len(ids)} have no report: {missing[:5]}") from None

    def is_drained(self) -> bool:
        """Whether nothing is queued or unacknowledged."""
        try:
            broker = self.client(0)
            return not sum(broker.llen(queue) for queue in self._queue_names) and not broker.hlen("unacked")
        except redis.RedisError:
            return False

    # -- its life -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            for server in {self.server, self.backend}:
                server.port = _port()
                _start(server)
            self.simulator.start()
            for key in KEYS.values():
                self.venue.account("everstrike", key, DEMO_EVERSTRIKE_SECRET)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._fleet is not None:
            self.continue_stopped()
            self._fleet.close()
        for client in self._clients.values():
            client.close()
        self.simulator.stop()
        for server in {self.server, self.backend}:
            if server.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server.process.pid, signal.SIGCONT)
            server.remove()
        if not os.environ.get("FAULTS_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def fresh(self) -> None:
        """Forget what was ordered of workers and venue; what was sent stays."""
        self.control.clear()
        self.venue.clear_faults()
        self.continue_stopped()


def _port() -> int:
    """A free port that no outgoing connection is given.

    Clients that knock while a server is down would else, now and then, be given its port for their own end, and it
    could not start again.
    """
    while True:
        port = random.randrange(15_000, 31_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _start(server: Server) -> None:
    """Start a server, and make sure that who answers on its port is it."""
    server.start()
    with redis.Redis(port=server.port, socket_timeout=5) as client:
        found = client.info("server")["process_id"]
    if server.process is None or server.process.pid != found:
        raise RuntimeError(f"another server has port {server.port}")
