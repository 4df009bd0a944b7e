"""What observing costs: microseconds of a command's time, for one that is accepted at its first attempt.

``python -m tests.benchmarks.observers`` makes the calls that the executor makes for such a command (began, attempted,
ended, two timed calls of the ledger) without anything between them. Log lines are formatted and written to /dev/null.
"""

import logging
import time
from pathlib import Path

from prometheus_client import CollectorRegistry

from producers.report import Outcome, Reason, Report
from tests.benchmarks.timing import microseconds
from worker.execution.events import CommandRef, Observer, Observers, attempt_event, command_ref, end_event
from worker.execution.retry_policy import Decision
from worker.observability.json_format import JsonFormatter
from worker.observability.log_lines import LogObserver
from worker.observability.metrics import Metrics
from worker.venues.base import Proof, Verdict
from worker.venues.http.base import Response, Timing

ANSWER = Response(200, b"{}", {"date": "Fri, 20 Nov 2026 19:00:00 GMT"}, Timing(1.0, 1.002))
VERDICT = Verdict(Proof.EXECUTED, "the venue took it", http_status=200)
REPORT = Report(
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


def observe(observer: Observer, metrics: Metrics | None) -> None:
    """What the executor and the ledger tell while they execute one command."""
    for call in ("begin", "settle"):
        started = time.perf_counter()
        if metrics is not None:
            metrics.answered(call, time.perf_counter() - started)
    observer.began(CommandRef(REPORT.command_id, REPORT.command, "main", "everstrike"), 0.003, 1, 1)
    subject = CommandRef(REPORT.command_id, REPORT.command, "main", "everstrike")
    observer.attempted(subject, attempt_event(ANSWER, VERDICT, Decision.ACCEPT, 1, 0.9998, 1_700_000_000_005))
    observer.ended(command_ref(REPORT), end_event(REPORT))


def main() -> None:
    """Measure and print."""
    metrics = Metrics(CollectorRegistry(), ["main"])
    console, in_json = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"), JsonFormatter()
    rows: list[tuple[str, logging.Formatter, int, Observer, Metrics | None]] = [
        ("no observer", console, logging.WARNING, Observer(), None),
        ("log lines, level WARNING", console, logging.WARNING, Observers(LogObserver()), None),
        ("log lines, level INFO, console", console, logging.INFO, Observers(LogObserver()), None),
        ("log lines, level INFO, JSON", in_json, logging.INFO, Observers(LogObserver()), None),
        ("metrics alone", console, logging.WARNING, Observers(metrics), metrics),
        ("metrics, and JSON lines at INFO", in_json, logging.INFO, Observers(LogObserver(), metrics), metrics),
    ]
    print(f"{'µs a command':>40}")
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        handler = logging.StreamHandler(nowhere)
        for name, formatter, level, observer, counted in rows:
            handler.setFormatter(formatter)
            logging.basicConfig(handlers=[handler], level=level, force=True)
            us = microseconds(lambda observer=observer, counted=counted: observe(observer, counted), calls=5000)
            print(f"{name:<32} {us:7.1f}")


if __name__ == "__main__":
    main()
