"""ccxt's `sign`, for exchanges that take an HMAC-SHA256 over the parameters: prints µs a request as JSON.

`sign` makes address, body and headers. What goes on the wire ccxt has requests build from them, as our venue does; that
is told as well.
"""

import json
from collections.abc import Callable
from typing import Any

import ccxt
import requests

from tests.benchmarks.timing import microseconds

PARAMS = {"symbol": "BTCUSDT", "qty": "0.001", "price": "64000.5"}
KEYS = {"apiKey": "bench-key-0123456789", "secret": "bench-secret-0123456789"}


def signer(exchange: Any, path: str) -> Callable[[], Any]:
    """Signs one order."""
    return lambda: exchange.sign(path, ["private"], "POST", PARAMS)


def built(sign: Callable[[], Any]) -> Callable[[], Any]:
    """Signs one order and has requests build what leaves."""

    def build() -> Any:
        told = sign()
        return requests.Request(told["method"], told["url"], headers=told["headers"], data=told["body"]).prepare()

    return build


def main() -> None:
    """Measure and print."""
    found = {}
    for exchange, path in ((ccxt.binance(KEYS), "order"), (ccxt.bybit(KEYS), "v5/order/create")):
        sign = signer(exchange, path)
        found[f"ccxt {exchange.id}, sign"] = microseconds(sign)
        found[f"ccxt {exchange.id}, sign and requests' prepare"] = microseconds(built(sign))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
