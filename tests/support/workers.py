"""A worker as a process: `celery -A worker worker`, as an operator starts it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import celery

from tests.support.backend import Kind

READY = " ready."
"""Celery's last line of starting; the blank keeps it from matching a word inside another."""

QUICK = {
    "ORDERS_RETRY__INITIAL_SECONDS": "0.05",
    "ORDERS_RETRY__MAX_SECONDS": "0.2",
    "ORDERS_RETRY__ATTEMPTS": "3",
    "ORDERS_RETRY__BUDGET_SECONDS": "10",
    "ORDERS_HTTP__CONNECT_TIMEOUT_SECONDS": "1",
    "ORDERS_HTTP__READ_TIMEOUT_SECONDS": "2",
}
"""Settings of a worker whose retries and timeouts end soon enough for tests."""


class WorkerNode(Kind):
    """The twin of pytest-celery's `CeleryWorkerContainer`."""

    def __init__(self, folder: Path, environment: Mapping[str, str], options: Sequence[str] = ()) -> None:
        super().__init__("worker", folder, environment)
        self.options = tuple(options)

    def arguments(self) -> Sequence[str]:
        """The command line; a node's own name, so that several live on one machine."""
        node = f"{self.worker_name()}@{self.id[:12]}"
        level = self.environment.get("TEST_LOG_LEVEL", self.log_level())
        return [*self.celery, "-A", "worker", "worker", "-n", node, "-l", level, *self.options]

    def is_up(self) -> bool:
        """Whether it has said since its last start that it consumes."""
        return READY in self.logs_since_start()

    @property
    def celeryconfig(self) -> dict[str, Any]:
        """A worker gives no configuration to others."""
        return {}

    @property
    def ready_prompt(self) -> str:
        """What `ready` waits for."""
        return READY

    @classmethod
    def version(cls) -> str:
        """The Celery that is installed here."""
        version: str = celery.__version__
        return version

    @classmethod
    def log_level(cls) -> str:
        """What an operator would use."""
        return "INFO"

    @classmethod
    def worker_name(cls) -> str:
        """The first half of its node name."""
        return "w1"

    @classmethod
    def worker_queue(cls) -> str:
        """A queue it consumes from; it consumes from all of its commands' queues."""
        return "orders.positions"
