"""Workers of the product, started as an operator starts them: `celery -A worker worker`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.backend import BaseNode

READY = " ready."
"""The last line that Celery prints when it starts; the blank keeps it from matching a word inside another."""

QUICK = {
    "ORDERS_RETRY__INITIAL_SECONDS": "0.05",
    "ORDERS_RETRY__MAX_SECONDS": "0.2",
    "ORDERS_RETRY__ATTEMPTS": "3",
    "ORDERS_RETRY__BUDGET_SECONDS": "10",
    "ORDERS_HTTP__CONNECT_TIMEOUT_SECONDS": "1",
    "ORDERS_HTTP__READ_TIMEOUT_SECONDS": "2",
}
"""Settings of a worker whose retries and timeouts end soon enough for tests."""


class WorkerNode(BaseNode):
    """One worker, with a node name of its own, so that several live on one machine."""

    app = "worker"

    def __init__(self, folder: Path, environment: Mapping[str, str], options: Sequence[str] = ()) -> None:
        super().__init__("worker", folder, environment)
        self.options = tuple(options)

    def arguments(self) -> Sequence[str]:
        """The command line."""
        level = self.environment.get("TEST_LOG_LEVEL", "INFO")
        return [*self.celery, "-A", self.app, "worker", "-n", self.node_name, "-l", level, *self.options]

    def is_up(self) -> bool:
        """Whether the worker has said since its last start that it consumes."""
        return READY in self.logs_since_start()

    @classmethod
    def worker_name(cls) -> str:
        """The first half of the node name; pytest-celery asks for it."""
        return "w1"

    @property
    def node_name(self) -> str:
        """What Celery calls this worker."""
        return f"{self.worker_name()}@{self.id[:12]}"
