"""Which Celery pool suits commands that wait for a venue? The whole way of a command, ledger and journal included.

``python -m tests.benchmarks.pools`` prints a table: commands a second from a filled queue, with a venue that answers at
once and one that takes 100 ms; time from enqueueing to the wire at a light load; CPU of the idle workers. Layouts are
interleaved over several rounds and medians shown, because machines drift. Everything runs on this machine and stops by
itself.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import psutil

from producers.client import OrderClient
from producers.commands import Close
from producers.settings import QueueSettings
from tests.support.servers import Server
from worker.simulator.server import SimulatorServer
from worker.simulator.simulator import DEMO_EVERSTRIKE_KEY, DEMO_EVERSTRIKE_SECRET

LAYOUTS: dict[str, tuple[int, list[str]]] = {
    "1 x threads -c 16": (1, ["-P", "threads", "-c", "16"]),
    "2 x threads -c 16": (2, ["-P", "threads", "-c", "16"]),
    "2 x threads -c 8": (2, ["-P", "threads", "-c", "8"]),
    "1 x prefork -c 16": (1, ["-P", "prefork", "-c", "16"]),
    "1 x prefork -c 2": (1, ["-P", "prefork", "-c", "2"]),
    "2 x solo": (2, ["-P", "solo"]),
}
PAIR = "USD_BTC_PERP"


@contextmanager
def workers(count: int, options: Sequence[str], environment: dict[str, str]) -> Iterator[list[psutil.Process]]:
    """So many workers, ready; all gone afterwards."""
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"{number}.log" for number in range(count)]
        try:
            for number, log in enumerate(logs):
                command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-n", f"w{number}@bench"]
                with log.open("wb") as out:
                    started.append(
                        subprocess.Popen([*command, "-l", "INFO", *options], env=environment, stdout=out, stderr=out)
                    )
            wait_until(lambda: all(b" ready." in log.read_bytes() for log in logs), 60)
            yield [psutil.Process(process.pid) for process in started]
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(timeout=60)


def wait_until(condition: object, seconds: float) -> None:
    """Wait for a condition, or raise."""
    ends_at = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > ends_at:
            raise TimeoutError
        time.sleep(0.05)


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """CPU of the workers and their children so far."""
    family = [member for process in processes for member in (process, *process.children(recursive=True))]
    return sum(sum(member.cpu_times()[:2]) for member in family)


def rate(client: OrderClient, count: int) -> float:
    """Commands a second from a filled queue."""
    commands = [Close(account="main", pair=PAIR, qty=Decimal("0.001")) for _ in range(count)]
    started = time.monotonic()
    reports = client.wait_many(client.enqueue_many(commands), timeout=120)
    elapsed = time.monotonic() - started
    if {report.outcome.value for report in reports} != {"accepted"}:
        raise RuntimeError("not every command was accepted")
    return count / elapsed


def to_wire(client: OrderClient, count: int) -> list[int]:
    """Milliseconds from enqueueing to the signature, one command at a time."""
    found = []
    for _ in range(count):
        report = client.wait(client.enqueue(Close(account="main", pair=PAIR, qty=Decimal("0.001"))), timeout=30)
        found.append((report.first_sent_at or 0) - (report.enqueued_at or 0))
    return found


def measure(layout: str, server: Server, simulator: SimulatorServer, commands: int) -> dict[str, float]:
    """One round of one layout."""
    count, options = LAYOUTS[layout]
    server.flush()
    simulator.control.reset()
    simulator.control.position(DEMO_EVERSTRIKE_KEY, PAIR, 1_000_000)
    environment = {
        **os.environ,
        "ORDERS_REDIS_URL": server.url(),
        "ORDERS_ACCOUNTS__MAIN__VENUE": "everstrike",
        "ORDERS_ACCOUNTS__MAIN__API_KEY": DEMO_EVERSTRIKE_KEY,
        "ORDERS_ACCOUNTS__MAIN__SECRET_KEY": DEMO_EVERSTRIKE_SECRET,
        "ORDERS_ACCOUNTS__MAIN__BASE_URL": simulator.url,
    }
    with (
        workers(count, options, environment) as processes,
        OrderClient(QueueSettings(redis_url=server.url())) as client,
    ):
        rate(client, 50)  # connections, scripts and imports are warm
        figures = {"at once": rate(client, commands)}
        waits = sorted(to_wire(client, 100))
        figures |= {"p50 ms": statistics.median(waits), "p99 ms": waits[98]}
        before = cpu_seconds(processes)
        time.sleep(5)
        figures["idle CPU %"] = (cpu_seconds(processes) - before) / 5 * 100
        simulator.control.configure(latency_ms=100)
        figures["after 100 ms"] = rate(client, commands // 2)
        simulator.control.configure(latency_ms=0)
        return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--commands", type=int, default=1000)
    chosen = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {layout: [] for layout in LAYOUTS}
    with Server() as server, SimulatorServer() as simulator:
        for number in range(chosen.rounds):
            for layout in LAYOUTS:
                found[layout].append(measure(layout, server, simulator, chosen.commands))
                print(f"round {number + 1} {layout} {found[layout][-1]}", file=sys.stderr, flush=True)
    columns = list(found[next(iter(found))][0])
    print("| workers | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for layout, rounds in found.items():
        medians = [statistics.median(figures[column] for figures in rounds) for column in columns]
        print(
            f"| {layout} | " + " | ".join(f"{value:.0f}" if value >= 10 else f"{value:.1f}" for value in medians) + " |"
        )


if __name__ == "__main__":
    main()
