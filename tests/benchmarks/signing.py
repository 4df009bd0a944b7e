"""Times signing and building one request, as the executor asks a venue for it: prints µs a request as JSON.

An exchange of ccxt is timed as well, beside what ccxt alone takes for the same order.
"""

import contextlib
import json
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

from producers.commands import Close, Submit
from tests.benchmarks.rig import KEY, SECRET
from tests.benchmarks.timing import microseconds
from tests.unit.worker.venues.ccxt.small_exchange import ACCOUNT as FUTURES
from tests.unit.worker.venues.ccxt.small_exchange import CONTRACT, exchange_with
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Plan
from worker.venues.ccxt.adapter import CcxtVenue
from worker.venues.ccxt.binding import Captured, copy_for
from worker.venues.everstrike.adapter import Everstrike

COMMAND = Close(account="main", pair="USD_BTC_PERP", qty=Decimal("0.001"), price=Decimal("64000.5"))
ACCOUNT = Account("main", "everstrike", "https://venue.invalid", Credentials(KEY, SECRET))
ORDER = Submit(account="k", pair=CONTRACT, side="buy", qty=Decimal("0.001"), price=Decimal("64000.5"))


def now_ms() -> int:
    """UNIX milliseconds."""
    return time.time_ns() // 1_000_000


def through_ccxt() -> dict[str, float]:
    """An order at Kraken Futures by the adapter, and by ccxt alone up to where it would send."""
    exchange = exchange_with()
    venue = CcxtVenue("krakenfutures")
    plan = venue.plan(ORDER, "id", FUTURES, lambda url, sign: replace(exchange(url, sign), headers={}))
    planned: Any = plan.details

    def alone() -> None:
        with contextlib.suppress(Captured):
            mine = copy_for(planned.exchange, FUTURES.credentials, now_ms(), {})
            mine.create_order(*planned.call.args, dict(planned.call.params))

    return {
        "ours, ccxt:krakenfutures": microseconds(lambda: venue.request(plan, now_ms())),
        "create_order of ccxt's krakenfutures": microseconds(alone),
    }


if __name__ == "__main__":
    everstrike = Everstrike()
    ours = microseconds(lambda: everstrike.request(Plan(COMMAND, ACCOUNT), now_ms()))
    print(json.dumps({"ours": ours, **through_ccxt()}))
