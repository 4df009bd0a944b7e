"""How soon a rig recovers, as settings."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How soon things recover; seconds. The lease of an attempt follows from the two timeouts."""

    visibility: float = 3
    connect: float = 0.5
    read: float = 1
    budget: float = 5
    intent: float = 2
    attempts: int = 4

    def environment(self) -> dict[str, str]:
        """As the worker's environment."""
        return {
            "FAULTS_CELERY": self._celery(),
            "ORDERS_RETRY__INITIAL_SECONDS": "0.05",
            "ORDERS_RETRY__MAX_SECONDS": "0.5",
            "ORDERS_RETRY__BUDGET_SECONDS": str(self.budget),
            "ORDERS_RETRY__ATTEMPTS": str(self.attempts),
            "ORDERS_HTTP__CONNECT_TIMEOUT_SECONDS": str(self.connect),
            "ORDERS_HTTP__READ_TIMEOUT_SECONDS": str(self.read),
            "ORDERS_LEDGER__INTENT_SECONDS": str(self.intent),
            "ORDERS_LEDGER__TIMEOUT_SECONDS": "2",
            "ORDERS_RECONCILE__SETTLE_SECONDS": "1",
            "ORDERS_RECONCILE__APART_SECONDS": "0.5",
            # The simulator's own window, as docs/settings.md asks: a clock that is 5 s behind signs for 5 s later.
            "ORDERS_RECONCILE__ARRIVAL_SECONDS": "15",
        }

    def _celery(self) -> str:
        """Changes to the broker's transport options."""
        visibility = {"visibility_timeout": self.visibility, "unacked_mutex_expire": 3}
        return json.dumps({**visibility, "unacked_restore_interval": 1})
