"""Way two: ``acks_late`` around ccxt, whose ``maxRetriesOnFailure`` sends again after every network error."""

import time
from typing import Any
from urllib.parse import urlencode

import ccxt

from tests.faults.baselines.common import TIMEOUT, VENUE, make_app, signed

app = make_app()


class Venue(ccxt.Exchange):  # type: ignore[misc]
    """ccxt's own base class, taught this venue's address and signature and nothing else."""

    def describe(self) -> Any:
        """What ccxt wants to know of an exchange."""
        return self.deep_extend(
            super().describe(),
            {
                "id": "venue",
                "urls": {"api": {"private": VENUE}},
                "enableRateLimit": False,
                "timeout": int(TIMEOUT * 1000),
                "options": {"maxRetriesOnFailure": 3, "maxRetriesOnFailureDelay": 200},
            },
        )

    def sign(
        self,
        path: str,
        api: Any = "private",
        method: str = "POST",
        params: Any = None,
        headers: Any = None,
        body: Any = None,
    ) -> dict[str, Any]:
        """ccxt asks here before each attempt."""
        encoded = urlencode({**(params or {}), "timestamp": int(time.time() * 1000)})
        return {"url": f"{VENUE}/{path}", "method": method, "body": encoded, "headers": signed(encoded)}


@app.task(name="withdraw", acks_late=True, reject_on_worker_lost=True)  # type: ignore[untyped-decorator]
def withdraw(asset: str, qty: str, address: str) -> Any:
    """Withdraw; what is sent again is ccxt's decision."""
    exchange = Venue()
    answer = exchange.request("auth/withdraw", "private", "POST", {"asset": asset, "qty": qty, "address": address})
    return answer["result"]
