"""What processes and containers have in common as nodes of a test."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_celery import CeleryTestContainer

from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
"""How long a node may take until it is ready: far more than it needs, for machines that are busy."""


def outer_environment() -> dict[str, str]:
    """This process's environment, without settings of the product that happen to be in it."""
    return {key: value for key, value in os.environ.items() if not key.upper().startswith("ORDERS_")}


class Node(CeleryTestContainer):
    """A node with pytest-celery's names and meanings, and what our tests need besides.

    `logs()` is everything it ever said, `ready()` looks only at what it said since its last start.
    """

    environment: Mapping[str, str]
    _log_start = 0

    # -- what a role says ---------------------------------------------------------------------------------------------

    def arguments(self) -> Sequence[str]:
        """The command line."""
        raise NotImplementedError

    def is_up(self) -> bool:
        """Whether it does its work, given that it runs."""
        raise NotImplementedError

    # -- what a kind of node does -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it; returns at once."""
        raise NotImplementedError

    def stop(self, timeout: float = 10) -> None:
        """SIGTERM, and SIGKILL when that takes longer than `timeout`."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The process id, on this machine, of the present or the last run."""
        raise NotImplementedError

    @property
    def exit_code(self) -> int | None:
        """What it exited with; None while it runs."""
        raise NotImplementedError

    def log_size(self) -> int:
        """A mark for `logs_from`."""
        return len(self.logs().encode())

    def logs_from(self, mark: int) -> str:
        """What it said since the mark was taken."""
        return self.logs().encode()[mark:].decode(errors="replace")

    # -- the same for all ---------------------------------------------------------------------------------------------

    def logs_since_start(self) -> str:
        """What it said since it was last started."""
        return self.logs_from(self._log_start)

    def ready(self) -> bool:
        """Wait until it does its work; fails with its log when it ends instead."""

        def up() -> bool:
            assert self.status == "running", f"{self.name} ended with {self.exit_code}\n{self.tail()}"
            return self.is_up()

        return until(up, lambda: f"{self.name} ready\n{self.tail()}", START_SECONDS)

    def restart(self, timeout: float = 10) -> None:
        """End it, with SIGTERM first, start it anew and wait until it is ready."""
        self.stop(timeout)
        self.start()
        self.ready()

    def wait_for_exit(self, timeout: float = 30) -> int:
        """Wait until it has ended by itself; its exit code."""
        until(lambda: self.status == "exited", lambda: f"{self.name} ending\n{self.tail()}", timeout)
        assert self.exit_code is not None
        return self.exit_code

    def tail(self, lines: int = 40) -> str:
        """The end of its log, for failure messages."""
        return "\n".join(line[:300] for line in self.logs().splitlines()[-lines:])
