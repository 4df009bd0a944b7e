"""CPU time of this process for one short script on the server: by redis-py's client and by ``producers.redis.direct``.

``python -m tests.benchmarks.direct`` prints µs a call as JSON, with one thread and with eight.
"""

import json
import statistics
import threading
import time
from collections.abc import Callable

from producers.redis.direct import DirectClient
from tests.support.servers import Server
from worker.ledger.connection import connect

SOURCE = "return {'begun', '1', '1', '0', '', '', ''}"
KEYS = ["orders:command:1", "orders:journal", "orders:unknown", "orders:halts", "orders:intents", "orders:messages"]
ARGUMENTS = ["begin", "1", "host:1:token", 1_000_000, "f" * 64, "close", "main", '{"pair":"A"}', "1", 17_000, 1]
CALLS, BATCHES = 2000, 7


def processor_microseconds(call: Callable[[], object], threads: int) -> float:
    """Of one call, the median over batches, after one to warm up."""

    def some() -> None:
        for _ in range(CALLS // threads):
            call()

    found = []
    for _ in range(BATCHES + 1):
        running = [threading.Thread(target=some) for _ in range(threads)]
        started = time.process_time()
        for each in running:
            each.start()
        for each in running:
            each.join()
        found.append((time.process_time() - started) / CALLS * 1e6)
    return statistics.median(found[1:])


def main() -> None:
    """Measure and print."""
    with Server() as server:
        client = connect(server.url(0))
        script, direct = client.register_script(SOURCE), DirectClient(client)
        ways: dict[str, Callable[[], object]] = {
            "client": lambda: script(KEYS, ARGUMENTS),
            "direct": lambda: direct.script(SOURCE, script.sha, KEYS, ARGUMENTS),
        }
        told = {
            f"{name}, {threads} threads": round(processor_microseconds(call, threads), 1)
            for threads in (1, 8)
            for name, call in ways.items()
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
