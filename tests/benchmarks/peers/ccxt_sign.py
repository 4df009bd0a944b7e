"""Times ccxt's `sign` for exchanges that take an HMAC-SHA256 over the parameters; prints µs a request as JSON.

`sign` makes address, body and headers; ccxt has requests build from them what goes on the wire. Both are timed.
"""

import json
from typing import Any

import ccxt
import requests

from tests.benchmarks.timing import microseconds

PARAMETERS = {"symbol": "BTCUSDT", "qty": "0.001", "price": "64000.5"}
KEYS = {"apiKey": "bench-key-0123456789", "secret": "bench-secret-0123456789"}


def main() -> None:
    """Measure and print."""
    found = {}
    for exchange, path in ((ccxt.binance(KEYS), "order"), (ccxt.bybit(KEYS), "v5/order/create")):

        def sign(exchange: Any = exchange, path: str = path) -> Any:
            return exchange.sign(path, ["private"], "POST", PARAMETERS)

        def build(sign: Any = sign) -> Any:
            made = sign()
            return requests.Request(made["method"], made["url"], headers=made["headers"], data=made["body"]).prepare()

        found[f"ccxt {exchange.id}, sign"] = microseconds(sign)
        found[f"ccxt {exchange.id}, sign and requests' prepare"] = microseconds(build)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
