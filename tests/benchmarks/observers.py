"""What watching costs: microseconds of a command's time, for one that is accepted at its first attempt.

``python -m tests.benchmarks.observers`` makes the calls that the executor makes for such a command (began, attempted,
ended, two timed calls of the ledger) without anything between them, and prints the median of several rounds. Log lines
are formatted and written to /dev/null. It ends by itself within seconds.
"""

import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from producers.report import Outcome, Reason, Report
from worker.execution.events import CommandRef, Observer, Observers, attempt_event, command_ref, end_event
from worker.execution.retry_policy import Decision
from worker.observability.log_lines import LogObserver
from worker.observability.metrics import Metrics
from worker.venues.base import Proof, Verdict
from worker.venues.http.base import Response, Timing

ROUNDS, COMMANDS = 9, 5000
HEADERS = {"date": "Fri, 20 Nov 2026 19:00:00 GMT"}
ANSWER = Response(200, b"{}", HEADERS, Timing(1.0, 1.002))
VERDICT = Verdict(Proof.EXECUTED, "the venue took it", http_status=200)


def report() -> Report:
    """A report as the executor makes it; not part of what is measured."""
    return Report(
        command_id="0b9c4c1c-7d0e-4bb0-bd0c-5b4f5c1d2a3e",
        command="close",
        account="main",
        venue="everstrike",
        outcome=Outcome.ACCEPTED,
        reason=Reason.OK,
        message="the venue took it",
        fingerprint="0" * 64,
        attempts=1,
        enqueued_at=1_700_000_000_000,
        finished_at=1_700_000_000_005,
    )


def one_command(observer: Observer, metrics: Metrics | None) -> Callable[[], None]:
    """What the executor does for its observer while it executes one command."""
    made = report()

    def run() -> None:
        started = time.perf_counter()
        if metrics is not None:
            metrics.answered("begin", time.perf_counter() - started)
        subject = CommandRef(made.command_id, made.command, "main", "everstrike")
        observer.began(subject, 0.003, 1, 1)
        subject = CommandRef(made.command_id, made.command, "main", "everstrike")
        tried = attempt_event(ANSWER, VERDICT, Decision.ACCEPT, 1, 0.9998, 1_700_000_000_005)
        observer.attempted(subject, tried)
        started = time.perf_counter()
        if metrics is not None:
            metrics.answered("settle", time.perf_counter() - started)
        observer.ended(command_ref(made), end_event(made))

    return run


def microseconds(run: Callable[[], None]) -> float:
    """Of one call: the median of the rounds."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(COMMANDS):
            run()
        rounds.append((time.perf_counter() - started) / COMMANDS * 1e6)
    return statistics.median(rounds)


def log_to(handler: logging.Handler, level: int) -> None:
    """Send every line there."""
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


def main() -> None:
    """Measure and print."""
    from worker.observability.json_format import JsonFormatter

    metrics = Metrics(CollectorRegistry(), ["main"])
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        console, lines = logging.StreamHandler(nowhere), logging.StreamHandler(nowhere)
        console.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        lines.setFormatter(JsonFormatter())
        rows: list[tuple[str, logging.Handler, int, Observer, Metrics | None]] = [
            ("nobody watches", console, logging.WARNING, Observer(), None),
            ("log lines, level WARNING", console, logging.WARNING, Observers(LogObserver()), None),
            ("log lines, level INFO, console", console, logging.INFO, Observers(LogObserver()), None),
            ("log lines, level INFO, JSON", lines, logging.INFO, Observers(LogObserver()), None),
            ("metrics alone", console, logging.WARNING, Observers(metrics), metrics),
            ("metrics, and JSON lines at INFO", lines, logging.INFO, Observers(LogObserver(), metrics), metrics),
        ]
        print(f"{'µs a command':>40}")
        for name, handler, level, observer, counted in rows:
            log_to(handler, level)
            print(f"{name:<32} {microseconds(one_command(observer, counted)):7.1f}")


if __name__ == "__main__":
    main()
