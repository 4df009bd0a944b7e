"""Worker processes out of the nursery: started, killed, stopped, continued, and replaced when they die."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
PRELOAD = (
    "celery.__main__",
    "celery.bin.celery",
    "celery.apps.worker",
    "celery.app.log",
    "celery.app.events",
    "celery.backends.redis",
    "celery.concurrency.thread",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.autoscale",
    "celery.worker.pidbox",
    "kombu.transport.redis",
)
"""What every Celery worker imports, and nothing that builds an app."""
NAMES = itertools.count(1)
READY_FILE = "FAULTS_READY"
"""Environment variable: the file that a worker makes once it consumes."""
START_SECONDS = 60.0


def until(condition: Callable[[], object], what: str, seconds: float = 30.0, every: float = 0.02) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it did not, in so many seconds.
    """
    ends_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= ends_at:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(every)


@dataclass
class Worker:
    """One worker process."""

    slot: int
    log: Path
    ready_file: Path
    pid: int = 0
    exit_code: int | None = None
    began: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def alive(self) -> bool:
        """Whether its process exists."""
        return not self.over.is_set()

    @property
    def ready(self) -> bool:
        """Whether it consumes."""
        return self.ready_file.exists()

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; False when it has ended."""
        if self.over.is_set() or not self.pid:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False

    def kill(self, children: bool = False) -> bool:
        """SIGKILL; with ``children`` also what it forked, as a machine that dies would."""
        forked = self._children() if children else []
        done = self.signal(signal.SIGKILL)
        for child in forked:
            with contextlib.suppress(psutil.Error):
                child.kill()
        return done

    def _children(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.pid).children(recursive=True)
        return []


class Fleet:
    """Workers of one kind; ``keep`` replaces each that dies."""

    def __init__(
        self,
        folder: Path,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        preload: Sequence[str] = (),
        python: str = sys.executable,
        checkout: Path = ROOT,
    ) -> None:
        """``argv`` is what follows ``celery`` on the command line; ``-n`` is added. ``checkout`` is where everything is
        imported from."""
        self._folder = folder
        self._checkout = checkout
        self._argv = list(argv)
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._waiting: dict[str, Worker] = {}
        self._by_pid: dict[int, Worker] = {}
        self._kept = False
        self._ended: list[tuple[int, int, float]] = []
        self.started = 0
        self.workers: list[Worker] = []
        """The present ones, one a slot."""
        self.surprises: list[str] = []
        """Ends that nobody ordered: everything but SIGKILL."""
        self.on_end: Callable[[Worker], None] = lambda worker: None
        names = ",".join((*PRELOAD, *preload))
        with (folder / "nursery.log").open("ab") as log:
            self._nursery = subprocess.Popen(
                [python, "-m", "tests.faults.fork_server", "--preload", names],
                cwd=checkout,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._listener = threading.Thread(target=self._listen, name="fleet", daemon=True)
        self._nursery_ready = threading.Event()
        self._listener.start()

    def start(self, count: int = 1, *, keep: bool = False, wait: bool = True) -> list[Worker]:
        """Start workers; with ``keep`` they are replaced when they die. Returns once they consume, unless told not
        to."""
        self._kept = keep
        begun = [self._start(len(self.workers) + number) for number in range(count)]
        self.workers += begun
        if wait:
            self.wait_ready()
        return begun

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until every slot has a worker that consumes."""
        try:
            until(lambda: all(each.ready for each in list(self.workers)), "", seconds)
        except TimeoutError:
            late = [f"{each.pid} {each.exit_code}: {tail(each.log)}" for each in self.workers if not each.ready]
            raise TimeoutError(f"not consuming within {seconds:g} s: {late}") from None

    def _start(self, slot: int) -> Worker:
        with self._lock:
            self.started += 1
            name = f"w{slot}-{next(NAMES)}"
            worker = Worker(slot, self._folder / f"{name}.log", self._folder / f"{name}.ready")
            self._waiting[name] = worker
            environment = {**self._environment, READY_FILE: str(worker.ready_file)}
            order = {"name": name, "argv": [*self._argv, "-n", f"{name}@faults"], "cwd": str(self._checkout)}
            line = json.dumps({**order, "env": environment, "log": str(worker.log)})
            assert self._nursery.stdin is not None
            self._nursery.stdin.write(line.encode() + b"\n")
            self._nursery.stdin.flush()
        return worker

    def _listen(self) -> None:
        assert self._nursery.stdout is not None
        for line in self._nursery.stdout:
            said = json.loads(line)
            if "name" in said:
                worker = self._waiting.pop(said["name"])
                worker.pid = said["pid"]
                self._by_pid[worker.pid] = worker
                worker.began.set()
            elif "ended" in said:
                self._over(self._by_pid.pop(said["pid"]), said["ended"])

    def _over(self, worker: Worker, code: int) -> None:
        worker.exit_code = code
        worker.over.set()
        self.on_end(worker)
        if not self._kept:
            return
        if code != -signal.SIGKILL:
            self.surprises.append(f"worker {worker.pid} ended by itself with {code}: {tail(worker.log)}")
        self.workers[worker.slot] = self._start(worker.slot)

    def living(self) -> list[Worker]:
        """The workers that have a process and consume."""
        return [each for each in list(self.workers) if each.alive and each.pid and each.ready]

    def release(self) -> None:
        """Replace no more workers."""
        self._kept = False

    def stop(self, seconds: float = 60.0) -> list[int | None]:
        """SIGTERM for all; their exit codes."""
        self.release()
        for each in self.workers:
            each.signal(signal.SIGTERM)
        for each in self.workers:
            if not each.over.wait(seconds):
                each.kill(children=True)
        return [each.exit_code for each in self.workers]

    def close(self) -> None:
        """Kill everything, and the nursery."""
        self.release()
        for each in self.workers:
            each.began.wait(5)
            each.kill(children=True)
        if self._nursery.stdin is not None:
            self._nursery.stdin.close()
        try:
            self._nursery.wait(20)
        except subprocess.TimeoutExpired:
            self._nursery.kill()
            self._nursery.wait()
        self._listener.join(5)


def tail(log: Path, characters: int = 3000) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-characters:] if log.exists() else ""
