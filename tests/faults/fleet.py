"""Worker processes: forked, signalled, killed, and replaced when they die."""

import itertools
import json
import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, Signals
from typing import IO, Self

from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
PRELOAD = (
    *("celery.__main__", "celery.bin.celery", "celery.apps.worker", "celery.app.log", "celery.app.events"),
    *("celery.backends.redis", "celery.concurrency.thread", "celery.concurrency.prefork", "celery.concurrency.solo"),
    *("celery.worker.components", "celery.worker.consumer", "celery.worker.autoscale", "celery.worker.pidbox"),
    "kombu.transport.redis",
)
"""What every Celery worker imports, and nothing that builds an app."""
READY_FILE = "FAULTS_READY"
"""Environment variable: the file that a worker makes once it consumes."""
NUMBERS = itertools.count(1)


@dataclass(eq=False)
class Worker:
    """One worker process, which leads its own process group."""

    slot: int
    log: Path
    ready_file: Path
    pid: int = 0
    exit_code: int | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def ready(self) -> bool:
        """Whether it consumes."""
        return self.ready_file.exists()

    def signal(self, number: Signals) -> bool:
        """Send a signal to it and what it forked, as when a machine dies or stands still; False when it has ended."""
        with suppress(ProcessLookupError):
            if not self.ended.is_set():
                os.killpg(self.pid, number)
                return True
        return False

    def __str__(self) -> str:
        written = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"worker {self.pid}, exit code {self.exit_code}: {written[-3000:]}"


class ForkServer:
    """The process that workers are forked from, and that takes them along when it ends; a context manager."""

    def __init__(self, folder: Path, preload: Sequence[str], python: str, checkout: Path) -> None:
        """``checkout`` is where it and the workers import from."""
        self.folder = folder
        """Where the workers' logs are."""
        self.ended_workers: list[str] = []
        """Kept workers that ended though nobody killed them."""
        self._address = str(folder / "fork-server.sock")
        outer = {name: value for name, value in os.environ.items() if not name.upper().startswith("ORDERS_")}
        with socket.socket(socket.AF_UNIX) as listening, (folder / "fork-server.log").open("ab") as log:
            listening.bind(self._address)
            listening.listen(100)
            self._process = subprocess.Popen(
                [python, "-P", str(ROOT / "tests/faults/fork_server.py"), *PRELOAD, *preload],
                cwd=checkout,
                env={**outer, "PYTHONPATH": str(checkout)},
                stdin=listening,
                stderr=log,
            )

    def fork(self, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> tuple[int, IO[str]]:
        """Fork a worker: its pid, and the file in which its exit code will be."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._address)
            connection.sendall(json.dumps({"argv": argv, "env": environment, "log": str(log)}).encode() + b"\n")
            answers = connection.makefile()
        return int(answers.readline()), answers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


class Fleet:
    """Workers of one kind, one a slot; a context manager."""

    def __init__(self, server: ForkServer, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """``argv`` is what follows ``celery`` on the command line; ``-n`` is added."""
        self._server, self._argv, self._environment = server, argv, environment
        self._lock = threading.Lock()
        self._kept = False
        self.workers: list[Worker] = []
        """The present ones, by slot."""

    def start(self, count: int = 1, *, keep: bool = False, wait: bool = True) -> list[Worker]:
        """Start workers, and unless told otherwise return once they consume; ``keep`` replaces each that dies."""
        self._kept = keep
        with self._lock:
            started = [self._start(len(self.workers) + number) for number in range(count)]
            self.workers += started
        if wait:
            self.wait_ready()
        return started

    def wait_ready(self) -> None:
        """Wait until every slot has a worker that consumes."""
        until(
            lambda: all(each.ready for each in self.workers),
            lambda: f"consuming: {[str(each) for each in self.workers if not each.ready]}",
            60,
        )

    def _start(self, slot: int) -> Worker:
        name, folder = f"w{slot}-{next(NUMBERS)}", self._server.folder
        worker = Worker(slot, folder / f"{name}.log", folder / f"{name}.ready")
        environment = {**self._environment, READY_FILE: str(worker.ready_file)}
        worker.pid, answers = self._server.fork([*self._argv, "-n", f"{name}@faults"], environment, worker.log)
        threading.Thread(target=self._follow, args=(worker, answers), daemon=True).start()
        return worker

    def _follow(self, worker: Worker, answers: IO[str]) -> None:
        """Wait for a worker's end, and replace it."""
        with answers:
            worker.exit_code = int(answers.readline() or -SIGKILL)
        worker.ended.set()
        with self._lock:
            if self._kept:
                if worker.exit_code != -SIGKILL:
                    self._server.ended_workers.append(str(worker))
                self.workers[worker.slot] = self._start(worker.slot)

    def living(self) -> list[Worker]:
        """The workers that consume and have not ended."""
        return [each for each in self.workers if each.ready and not each.ended.is_set()]

    def signal(self, number: Signals) -> None:
        """Send every worker a signal."""
        for worker in self.workers:
            worker.signal(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._kept = False
        self.signal(SIGKILL)
        for worker in self.workers:
            worker.ended.wait(20)
