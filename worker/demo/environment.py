"""The processes of the demo in one temporary folder: server, simulator, worker and, if it stays up, Flower and the
desk."""

import http.client
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from producers.client import publisher_app
from producers.settings import QueueSettings
from worker.demo.process import DemoProcess
from worker.settings import WorkerSettings
from worker.simulator.control import SimulatorControl
from worker.simulator.simulator import DEMO_ACCOUNTS

FOREIGN_PREFIXES = ("ORDERS_", "CELERY_", "FLOWER_")
"""Prefixes of environment variables that the demo ignores: they may configure real accounts and servers."""

ACCOUNTS = (
    DEMO_ACCOUNTS["main"],
    replace(DEMO_ACCOUNTS["bitz"], alias="archive"),
    replace(DEMO_ACCOUNTS["kraken"], alias="futures"),
)
"""The worker's accounts at the simulator."""

PACKAGES = str(Path(__file__).resolve().parents[2])


def child_environ() -> dict[str, str]:
    """The environment of the child processes: without foreign settings, and with these packages importable."""
    environ = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN_PREFIXES)}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (PACKAGES, environ.get("PYTHONPATH"))))
    # Every line must be in the log at once, because the log is read after a failure.
    environ["PYTHONUNBUFFERED"] = "1"
    return environ


@contextmanager
def foreign_settings_hidden() -> Iterator[None]:
    """Remove foreign settings from this process's environment, which Celery and the project's settings read when
    used."""
    hidden = {name: os.environ.pop(name) for name in [*os.environ] if name.upper().startswith(FOREIGN_PREFIXES)}
    try:
        yield
    finally:
        os.environ.update(hidden)


class DemoEnvironment:
    """Starts the processes one by one, and stops them in reverse order."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="orders-demo-"))
        self.redis_url = ""
        self.simulator_url = ""
        self.flower_url = ""
        self.desk_url = ""
        self.desk_link = ""
        self._processes: list[DemoProcess] = []

    @property
    def control(self) -> SimulatorControl:
        """The client of the simulator's control API."""
        return SimulatorControl(self.simulator_url)

    def queue_settings(self) -> QueueSettings:
        """The settings of a producer that uses this environment."""
        return QueueSettings(redis_url=self.redis_url)

    def worker_settings(self) -> WorkerSettings:
        """The settings of an operator who uses this environment, without accounts."""
        return WorkerSettings(redis_url=self.redis_url)

    def start_server(self, port: int = 0) -> str:
        """Start an embedded Redis-compatible server with its data in the folder; returns its URL. ``port`` 0 takes a
        free one.

        Raises:
            ProcessFailed: the server did not start. All ``start_`` methods raise this.
        """
        (self.folder / "data").mkdir()
        command = [sys.executable, "-m", "worker.demo.server", str(self.folder / "data"), str(port or _free_port())]
        self.redis_url = self._add("server", command, child_environ(), ready_fd=True).start()
        return self.redis_url

    def start_simulator(self) -> str:
        """Start the simulator of all venues, as `SimulatorServer` does but with a log; returns its URL."""
        command = [sys.executable, "-m", "worker.simulator", "--port", "0", "--stop-with-stdin", "--ready-fd"]
        self.simulator_url = self._add("simulator", command, child_environ(), ready_fd=True).start()
        return self.simulator_url

    def start_worker(self) -> str:
        """Start a worker in the ordinary way, with accounts at the simulator; returns its name once it responds."""
        # There are no other workers, and looking for them at the start takes a second.
        options = ["-n", "demo@%h", "--loglevel", "INFO", "--without-mingle", "--without-gossip"]
        process = self._add("worker", self._celery("worker", *options), {**child_environ(), **self._worker_settings()})
        process.start()
        app = publisher_app(self.queue_settings().broker_url)
        names: list[str] = []

        def responds() -> bool:
            names.extend(name for reply in app.control.ping(timeout=0.5, limit=1) or [] for name in reply)
            return bool(names)

        try:
            process.wait_until(responds)
        finally:
            app.close()
        return names[0]

    def start_flower(self) -> str:
        """Start Flower, read-only; returns its address once it lists the worker and receives its events."""
        port = _free_port()
        # Without a password Flower has no API; read-only, it hides and refuses whatever would change a worker.
        options = ["--address=127.0.0.1", f"--port={port}", "--read_only=True", "--persistent=False"]
        options.append("--tasks_columns=uuid,name,state,exception,received,runtime")
        settings = {"ORDERS_REDIS_URL": self.redis_url}
        process = self._add("flower", self._celery("flower", *options), {**child_environ(), **settings})
        process.start()
        process.wait_until(lambda: self._events_flow() and "demo@" in _flower_page(port, "/workers?json=1"))
        self.flower_url = f"http://127.0.0.1:{port}"
        return self.flower_url

    def start_desk(self) -> str:
        """Start the desk on this machine alone; returns the link that opens it once."""
        command = [sys.executable, "-m", "worker.demo.stdin_watchdog", "producers.cli", "desk", "--port", "0", "--json"]
        process = self._add("desk", command, {**child_environ(), **self._worker_settings()})
        process.start()
        process.wait_until(lambda: bool(_first_document(process.log)))
        listening = _first_document(process.log)
        self.desk_url, self.desk_link = listening["url"], listening["link"]
        return self.desk_link

    def _events_flow(self) -> bool:
        """Tell the worker to send events, as Flower does some seconds later; returns whether it does."""
        app = publisher_app(self.queue_settings().broker_url)
        try:
            return bool(app.control.enable_events(reply=True, timeout=0.5, limit=1))
        finally:
            app.close()

    def check(self) -> None:
        """Raise ProcessFailed if a process has ended."""
        for process in self._processes:
            process.check()

    def worker_log(self) -> str:
        """The last lines of the worker's log."""
        return next((process.tail() for process in self._processes if process.name == "worker"), "")

    def stop(self) -> None:
        """Stop every process; does nothing if they are stopped."""
        for process in reversed(self._processes):
            process.stop()

    def all_gone(self) -> bool:
        """Whether all processes have ended and their ports are closed."""
        urls = (self.redis_url, self.simulator_url, self.flower_url, self.desk_url)
        return not any(process.running for process in self._processes) and not any(_listens(url) for url in urls if url)

    def remove(self) -> None:
        """Delete the folder with logs and data, once every process has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _add(self, name: str, command: list[str], environ: dict[str, str], *, ready_fd: bool = False) -> DemoProcess:
        process = DemoProcess(name, command, self.folder, environ, ready_fd=ready_fd)
        self._processes.append(process)
        return process

    def _celery(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "worker.demo.stdin_watchdog", "celery", "-A", "worker", *arguments]

    def _worker_settings(self) -> dict[str, str]:
        settings = {
            "ORDERS_REDIS_URL": self.redis_url,
            # Short delays, so that the demo is fast.
            "ORDERS_RETRY__INITIAL_SECONDS": "0.1",
            "ORDERS_RETRY__MAX_SECONDS": "0.5",
        }
        for account in ACCOUNTS:
            settings |= account.settings(self.simulator_url)
        return settings


def _first_document(log: Path) -> dict[str, str]:
    """The first JSON document in a log, which is a whole line; empty while there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    first = next((line for line in lines if line.startswith("{") and line.endswith("\n")), "{}")
    return dict(json.loads(first))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _flower_page(port: int, path: str) -> str:
    """The body of Flower's response, or an empty string while it does not respond."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read().decode() if response.status == http.HTTPStatus.OK else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    with suppress(OSError), socket.create_connection((parts.hostname, parts.port or 0), timeout=1):
        return True
    return False
