"""What process and container nodes of a test have in common."""

import os
import signal as signals
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
"""How long a node may take to be ready, or to end: far more than it needs, for machines that are busy."""

AnyNode = TypeVar("AnyNode", bound="Node")


def outer_environment() -> dict[str, str]:
    """This process's environment, without settings of the product that happen to be in it."""
    return {key: value for key, value in os.environ.items() if not key.upper().startswith("ORDERS_")}


class Node:
    """A program that a test runs. Its names and their meanings are those of pytest-celery's containers.

    `logs()` is everything that the program ever printed; `ready()` looks only at what it printed since its last start.
    A role has `arguments()`, the command line, and `is_up()`: whether the program, which runs, does its work. A kind of
    node has `status`, `pid`, `exit_code`, `logs`, `start`, `stop`, `teardown` and `exec_run`.
    """

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.id = uuid4().hex
        self.name = f"{name}-{self.id[:6]}"
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environment = dict(environment or {})
        self._log_start = 0

    def reload(self) -> None:
        """Do nothing, where pytest-celery fetches a container's attributes: here they are fetched when asked for."""

    def kill(self, signal: str | int = signals.SIGKILL) -> None:
        """Send a signal, by number or name. After SIGKILL the program is gone when this returns."""
        if self.status == "running":
            self._signal(signals.Signals[signal] if isinstance(signal, str) else signals.Signals(signal))

    def log_size(self) -> int:
        """A mark for `logs_from`."""
        return len(self.logs().encode())

    def logs_from(self, mark: int) -> str:
        """What the program printed since the mark was taken."""
        return self.logs().encode()[mark:].decode(errors="replace")

    def logs_since_start(self) -> str:
        """What the program printed since it was last started."""
        return self.logs_from(self._log_start)

    def ready(self) -> bool:
        """Wait until the program does its work; fails with its log when it ends instead."""

        def up() -> bool:
            assert self.status == "running", f"{self.name} ended with {self.exit_code}\n{self.tail()}"
            return self.is_up()

        return until(up, lambda: f"{self.name} ready\n{self.tail()}", START_SECONDS)

    def restart(self, timeout: float = 10) -> None:
        """Stop the program, start it again, and wait until it is ready."""
        self.stop(timeout)
        self.start()
        self.ready()

    def wait_for_exit(self) -> int:
        """Wait until the program has ended by itself; its exit code."""
        until(lambda: self.status == "exited", lambda: f"{self.name} ending\n{self.tail()}", START_SECONDS)
        assert self.exit_code is not None
        return self.exit_code

    def tail(self) -> str:
        """The end of the log, for failure messages."""
        return "\n".join(line[:300] for line in self.logs().splitlines()[-40:])


@contextmanager
def running(*nodes: AnyNode) -> Iterator[tuple[AnyNode, ...]]:
    """Start these nodes and wait until all are ready; they end with the block."""
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            node.ready()
        yield nodes
    finally:
        for node in reversed(nodes):
            node.teardown()
