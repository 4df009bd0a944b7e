"""A steady stream of commands, with the venue refusing and failing now and then."""

import threading
import time
from typing import Self

import redis

from tests.support.stack import Stack

PAIR = "USD_BTC_PERP"
RATE = 20
"""Commands a second."""


class Load:
    """Sends commands of every kind for the time of a ``with`` block; a broker that is away gets none."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="load")
        self.sent = 0

    def _run(self) -> None:
        while not self._over.wait(1 / RATE):
            try:
                self._send(self.sent)
                self.sent += 1
            except (redis.RedisError, OSError):
                time.sleep(0.1)

    def _send(self, number: int) -> None:
        if number % 5 == 1:
            self._stack.send("orders.positions", account="main")
        elif number % 10 == 2:
            self._stack.send("orders.cancel", account="main", order_id=f"none-{number}")
        elif number % 10 == 3:
            self._stack.send("orders.withdraw", account="main", asset="ETH", qty="0.0001", address="0xabc")
        else:
            self._stack.send("orders.close", account="main", pair=PAIR, qty="0.001")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
