"""Times signing and building one request, as the executor asks a venue for it: prints µs a request as JSON."""

import json
import time
from decimal import Decimal

from producers.commands import Close
from tests.benchmarks.rig import KEY, SECRET
from tests.benchmarks.timing import microseconds
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Plan
from worker.venues.everstrike.adapter import Everstrike

COMMAND = Close(account="main", pair="USD_BTC_PERP", qty=Decimal("0.001"), price=Decimal("64000.5"))
ACCOUNT = Account("main", "everstrike", "https://venue.invalid", Credentials(KEY, SECRET))

if __name__ == "__main__":
    venue = Everstrike()
    print(
        json.dumps({"ours": microseconds(lambda: venue.request(Plan(COMMAND, ACCOUNT), time.time_ns() // 1_000_000))})
    )
