"""The workers' timeouts and intervals, shortened so that recovery takes seconds."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that differ between rigs. The lease of an attempt follows from the HTTP timeouts: 5.5 s by default."""

    visibility: float = 3
    read: float = 1
    budget: float = 5

    def environment(self) -> dict[str, str]:
        """The environment variables of a worker."""
        transport = {"visibility_timeout": self.visibility, "unacked_mutex_expire": 3, "unacked_restore_interval": 1}
        return {
            "FAULTS_CELERY": json.dumps(transport),
            "ORDERS_RETRY__INITIAL_SECONDS": "0.05",
            "ORDERS_RETRY__MAX_SECONDS": "0.5",
            "ORDERS_RETRY__BUDGET_SECONDS": str(self.budget),
            "ORDERS_RETRY__ATTEMPTS": "4",
            "ORDERS_HTTP__CONNECT_TIMEOUT_SECONDS": "0.5",
            "ORDERS_HTTP__READ_TIMEOUT_SECONDS": str(self.read),
            "ORDERS_LEDGER__INTENT_SECONDS": "2",
            "ORDERS_LEDGER__TIMEOUT_SECONDS": "2",
            "ORDERS_RECONCILE__SETTLE_SECONDS": "1",
            "ORDERS_RECONCILE__APART_SECONDS": "0.5",
            # The simulator's own window, as docs/settings.md asks: a clock that is 5 s behind signs for 5 s later.
            "ORDERS_RECONCILE__ARRIVAL_SECONDS": "15",
        }
