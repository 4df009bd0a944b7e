"""A server that can be crashed, frozen and cut off, and the workers and the sender of one test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis
from celery import Celery

from tests.support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], Any], what: str, worker: Worker | None = None, seconds: float = 60) -> Any:
    """Return the first true value of `condition`, or fail saying `what` never came and what `worker` logged."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            if found := condition():
                return found
        time.sleep(0.05)
    pytest.fail(f"within {seconds:.0f} s: {what}\n{worker.said if worker else ''}")


class Broker(Server):
    """A durable server, seen as a broker: database 0 messages, 1 results, 2 traces of executions."""

    def db(self, number: int) -> Any:
        """Return a client of one database."""
        return redis.Redis(port=self.port, db=number, socket_timeout=5, decode_responses=True)

    def signal(self, number: int) -> None:
        """Send a signal to the server process."""
        if self.process is not None:
            self.process.send_signal(number)

    def executed(self) -> Counter[str]:
        """Return how often each number was executed."""
        return Counter(self.db(2).lrange("executed", 0, -1))

    def settled(self) -> bool:
        """Tell whether nothing is queued and nothing is unacked."""
        keys = self.db(0).scan_iter()
        return not [key for key in keys if key.endswith(("unacked", "unacked_index")) or "orders." in key.split("_")[0]]

    def done(self, ids: Iterable[str]) -> bool:
        """Tell whether every task has a stored success."""
        stored = self.db(1).mget([f"celery-task-meta-{one}" for one in ids])
        return all(value and json.loads(value)["status"] == "SUCCESS" for value in stored)


def crash(broker: Broker) -> None:
    """Kill the server and bring it back after a while, longer than the tasks in flight take."""
    broker.kill()
    time.sleep(4)
    broker.start()


def freeze(broker: Broker) -> None:
    """Stop the server's process for a while, its connections open."""
    broker.signal(signal.SIGSTOP)
    time.sleep(4)
    broker.signal(signal.SIGCONT)


def cut(broker: Broker) -> None:
    """Cut every connection while the server lives."""
    broker.db(0).execute_command("CLIENT", "KILL", "TYPE", "normal")
    broker.db(0).execute_command("CLIENT", "KILL", "TYPE", "pubsub")


class Worker:
    """A worker process and its log."""

    def __init__(self, broker: Broker, log: Path, options: tuple[str, ...], environment: dict[str, str]) -> None:
        self.log = log
        command = [sys.executable, "-m", "celery", "-A", "tests.integration.channel_app", "worker", "-l", "INFO"]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "-n", f"{log.stem}@%h", *options],
                cwd=ROOT,
                env={**os.environ, "CHANNEL_URL": broker.url(), **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        """What it has logged."""
        return self.log.read_text()

    @property
    def alive(self) -> bool:
        """Whether the process that was started still runs."""
        return self.process.poll() is None

    def ready(self) -> Worker:
        """Wait until it consumes."""
        until(lambda: " ready." in self.said or not self.alive, "a worker that is ready", self)
        assert self.alive, self.said
        return self

    def stop(self) -> int:
        """Stop it in good order and return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """End it and its children at once."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
        self.process.kill()
        self.process.wait()


class Fleet:
    """The workers of one test, and the client that sends to them."""

    def __init__(self, broker: Broker, folder: Path, **environment: str) -> None:
        self.broker = broker
        self.workers: list[Worker] = []
        self._folder = folder
        self.environment = environment
        self.client = Celery("client", broker=broker.url(0), backend=broker.url(1), set_as_current=False)

    def worker(self, *options: str, **environment: str) -> Worker:
        """Start a worker; it may not be ready yet."""
        log = self._folder / f"worker{len(self.workers)}.log"
        self.workers.append(Worker(self.broker, log, options, {**self.environment, **environment}))
        return self.workers[-1]

    def send(self, number: int, seconds: float = 0.0, queue: str = "orders.close", **options: Any) -> str:
        """Send one `work`; return its id."""
        return str(self.client.send_task("work", (number, seconds), queue=queue, **options).id)

    def stop(self) -> None:
        """End everything."""
        for worker in self.workers:
            worker.kill()
        self.client.close()
