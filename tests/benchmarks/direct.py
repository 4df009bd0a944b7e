"""CPU time of one short script on the server: by redis-py's client, and past it (``producers.redis.direct``).

``python -m tests.benchmarks.direct`` prints µs a call as JSON, with one thread and with eight.
"""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from producers.redis.direct import DirectClient
from tests.benchmarks.timing import microseconds
from tests.support.servers import Server
from worker.ledger.connection import connect

SOURCE = "return {'begun', '1', '1', '0', '', '', ''}"
KEYS = [f"orders:{name}" for name in ("command:1", "journal", "unknown", "halts", "due:outbox:close", "outbox:close")]
ARGUMENTS = ["begin", "1", "host:1:token", 1_000_000, "f" * 64, "close", "main", '{"pair":"A"}', "1", 17_000, 1]
CALLS = 2000


def in_threads(call: Callable[[], object], threads: int) -> float:
    """CPU time of one call in µs, with the calls divided among threads."""

    def repeat(count: int) -> None:
        for _ in range(count):
            call()

    def batch() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(repeat, [CALLS // threads] * threads))

    return microseconds(batch, calls=1, timer=time.process_time) / CALLS


def main() -> None:
    """Measure and print."""
    with Server() as server:
        client = connect(server.url(0))
        script, direct = client.register_script(SOURCE), DirectClient(client)
        ways: dict[str, Callable[[], object]] = {
            "client": lambda: script(KEYS, ARGUMENTS),
            "direct": lambda: direct.script(SOURCE, script.sha, KEYS, ARGUMENTS),
        }
        found = {(name, threads): in_threads(call, threads) for threads in (1, 8) for name, call in ways.items()}
    print(json.dumps({f"{name}, {threads} threads": round(us, 1) for (name, threads), us in found.items()}))


if __name__ == "__main__":
    main()
