"""Everything the demo runs: server, simulator, worker and, when it stays up, Flower; in one temporary folder."""

import http.client
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from producers.client import publisher_app
from producers.settings import QueueSettings
from worker.demo.process import Part
from worker.simulator.control import SimulatorControl
from worker.simulator.simulator import DEMO_BITZ_KEY, DEMO_BITZ_SECRET, DEMO_EVERSTRIKE_KEY, DEMO_EVERSTRIKE_SECRET

FOREIGN = ("ORDERS_", "CELERY_", "FLOWER_")
"""Environment variables that the demo never takes over: somebody's real accounts, broker or policy."""

PACKAGES = str(Path(__file__).resolve().parents[2])


def environment() -> dict[str, str]:
    """This process' environment without foreign settings, and with these packages importable."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN)}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (PACKAGES, kept.get("PYTHONPATH"))))
    # A log is read when something went wrong: by then every line must be in it.
    kept["PYTHONUNBUFFERED"] = "1"
    return kept


@contextmanager
def foreign_settings_hidden() -> Iterator[None]:
    """The same for this process: Celery and our settings read the environment when they are used."""
    hidden = {name: os.environ.pop(name) for name in [*os.environ] if name.upper().startswith(FOREIGN)}
    try:
        yield
    finally:
        os.environ.update(hidden)


REMOVE_SECONDS = 5.0
"""How long the demo insists on leaving no folder behind."""


class House:
    """Starts the parts one by one and stops them in the opposite order."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="orders-demo-"))
        self.redis_url = ""
        self.simulator_url = ""
        self.flower_url = ""
        self._parts: list[Part] = []

    @property
    def control(self) -> SimulatorControl:
        """The simulator's remote control."""
        return SimulatorControl(self.simulator_url)

    def queue_settings(self) -> QueueSettings:
        """Settings of a producer that talks to this house."""
        return QueueSettings(redis_url=self.redis_url)

    def start_server(self) -> str:
        """An embedded server, with its data in the folder; returns its URL. Raises PartFailed, as all of these do."""
        (self.folder / "data").mkdir()
        command = [sys.executable, "-m", "worker.demo.server", str(self.folder / "data"), str(_free_port())]
        self.redis_url = self._add("server", command, environment(), ready_fd=True).start()
        return self.redis_url

    def start_simulator(self) -> str:
        """Both venues, as `worker.simulator.server.SimulatorServer` runs them, but with a log; returns its URL."""
        command = [sys.executable, "-m", "worker.simulator", "--port", "0", "--stop-with-stdin", "--ready-fd"]
        self.simulator_url = self._add("simulator", command, environment(), ready_fd=True).start()
        return self.simulator_url

    def start_worker(self) -> str:
        """A worker as anyone starts it, with accounts at the simulator; returns its name once it answers."""
        # Asking other workers at the start costs a second, and there are none.
        options = ["-n", "demo@%h", "--loglevel", "INFO", "--without-mingle", "--without-gossip"]
        part = self._add("worker", self._celery("worker", *options), {**environment(), **self._worker_settings()})
        part.start()
        app = publisher_app(self.queue_settings().broker_url)
        names: list[str] = []

        def answers() -> bool:
            names.extend(name for reply in app.control.ping(timeout=0.5, limit=1) or [] for name in reply)
            return bool(names)

        try:
            part.wait_until(answers)
        finally:
            app.close()
        return names[0]

    def start_flower(self) -> str:
        """Flower, for looking only; returns its address once it lists the worker and is told of what that does."""
        port = _free_port()
        # Without a password Flower offers no API, and read-only it hides and refuses what would change a worker.
        options = ["--address=127.0.0.1", f"--port={port}", "--read_only=True", "--persistent=False"]
        settings = {"ORDERS_REDIS_URL": self.redis_url}
        part = self._add("flower", self._celery("flower", *options), {**environment(), **settings})
        part.start()
        part.wait_until(lambda: self._events_flow() and "demo@" in _page(port, "/workers?json=1"))
        self.flower_url = f"http://127.0.0.1:{port}"
        return self.flower_url

    def _events_flow(self) -> bool:
        """Let the worker tell its events, as Flower itself asks of it some seconds later; whether it does."""
        app = publisher_app(self.queue_settings().broker_url)
        try:
            return bool(app.control.enable_events(reply=True, timeout=0.5, limit=1))
        finally:
            app.close()

    def check(self) -> None:
        """Raise PartFailed when a part is not running any more."""
        for part in self._parts:
            part.check()

    def worker_log(self) -> str:
        """The last lines of the worker's log."""
        return next((part.tail() for part in self._parts if part.name == "worker"), "")

    def stop(self) -> None:
        """Stop every part; does nothing when that was done."""
        for part in reversed(self._parts):
            part.stop()

    def all_gone(self) -> bool:
        """Whether no process is left, and nobody listens any more where the parts did."""
        urls = (self.redis_url, self.simulator_url, self.flower_url)
        return not any(part.running for part in self._parts) and not any(_listens(url) for url in urls if url)

    def remove(self) -> None:
        """Delete the folder with logs and data.

        A part that Ctrl-C met in the moment of its start ends by itself, and may still write here until then: so the
        folder must be found gone twice.
        """
        ends_at, gone = time.monotonic() + REMOVE_SECONDS, 0
        while gone < 2 and time.monotonic() < ends_at:
            gone = 0 if self.folder.exists() else gone + 1
            shutil.rmtree(self.folder, ignore_errors=True)
            if gone < 2:
                time.sleep(0.1)

    def _add(self, name: str, command: list[str], environ: dict[str, str], *, ready_fd: bool = False) -> Part:
        part = Part(name, command, self.folder, environ, ready_fd=ready_fd)
        self._parts.append(part)
        return part

    def _celery(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "worker.demo.stdin_watchdog", "celery", "-A", "worker", *arguments]

    def _worker_settings(self) -> dict[str, str]:
        accounts = {
            "MAIN": ("everstrike", DEMO_EVERSTRIKE_KEY, DEMO_EVERSTRIKE_SECRET),
            "ARCHIVE": ("bitz", DEMO_BITZ_KEY, DEMO_BITZ_SECRET),
        }
        settings = {
            "ORDERS_REDIS_URL": self.redis_url,
            # Nobody wants to watch a demo wait.
            "ORDERS_RETRY__INITIAL_SECONDS": "0.1",
            "ORDERS_RETRY__MAX_SECONDS": "0.5",
        }
        for alias, (venue, key, secret) in accounts.items():
            prefix = f"ORDERS_ACCOUNTS__{alias}__"
            settings |= {f"{prefix}VENUE": venue, f"{prefix}API_KEY": key, f"{prefix}SECRET_KEY": secret}
            settings[f"{prefix}BASE_URL"] = self.simulator_url
        return settings


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _page(port: int, path: str) -> str:
    """What it answers; nothing while it does not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read().decode() if answer.status == http.HTTPStatus.OK else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    with suppress(OSError), socket.create_connection((parts.hostname, parts.port or 0), timeout=1):
        return True
    return False
