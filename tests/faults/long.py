"""The long form: workers die every second for minutes under load, and everything else breaks in between.

``python -m tests.faults.long --minutes 10 --rate 100 --kill-every 1`` prints its progress, then a Markdown table,
writes the same as JSON, and ends with 1 if anything was lost, executed twice or told wrong. Everything runs on this
machine and stops by itself. ``--worker-from DIR`` tries the workers of another checkout, with its own hook
(``tests/faults/app.py``) and its own ``orders reconcile``; docs/faults.md has an example.
"""

import argparse
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

from tests.faults.evidence import Trial
from tests.faults.figures import Figures, markdown, save, summary, waits_after_kills
from tests.faults.fleet import ROOT, until
from tests.faults.long_phases import check_after_reconcile, empty_broker, logger, restart_each_pool
from tests.faults.rig import Rig
from tests.faults.schedule import EVERY, Schedule, draw
from tests.faults.timings import Timings
from tests.faults.traffic import EXCHANGE_WEIGHTS, WEIGHTS
from tests.support.checker.commands import Sent

BATCH = 500
"""Commands that are staged at the venue at once."""
TIMINGS = Timings(visibility=8, budget=10)
RATE_LIMITS = "40/1s"
"""Of each account, which is more than it is sent, and less than waits for it after a cool-down."""


def parse_options(parser: argparse.ArgumentParser, **defaults: object) -> argparse.Namespace:
    """The options of every long run; messages of progress go to standard error."""
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=100, help="commands a second")
    parser.add_argument("--kill-every", type=float, default=1, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("faults.json"), help="file for the figures")
    parser.set_defaults(**defaults)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    return parser.parse_args()


def _watch(trial: Trial, faults: Schedule) -> None:
    """See each report as soon as it is there, and tell every ten seconds how it goes."""
    started, next_word = time.monotonic(), 10
    while not faults.stopping.wait(0.2):
        missing = len(trial.missing())
        if time.monotonic() - started >= next_word:
            told = f"{next_word} s: {len(trial.sent):,} sent, {missing:,} without a report yet"
            logger.info("%s, %s kills, %s other faults", told, len(faults.kills), faults.done.total())
            next_word += 10


def run_under_faults(
    trial: Trial,
    chosen: argparse.Namespace,
    send: Callable[[Sent, int], object],
    every: Mapping[str, float] = EVERY,
    drain_seconds: float = 180.0,
    **schedule: Any,
) -> Figures:
    """Send commands at the rate while the schedule goes on, wait for their ends, and check nothing yet."""
    rig, seconds = trial.rig, chosen.minutes * 60
    started = time.monotonic()
    with Schedule(rig, draw(chosen.seed, seconds, every), chosen.kill_every, chosen.seed, **schedule) as faults:
        watch = threading.Thread(target=_watch, args=(trial, faults), daemon=True)
        watch.start()
        for number, command in enumerate(chain.from_iterable(trial.take(BATCH) for _ in count())):
            time.sleep(max(0.0, started + number / chosen.rate - time.monotonic()))
            if time.monotonic() - started >= seconds:
                break
            trial.sent[command.command_id] = command
            send(command, number)
    watch.join()
    figures = Figures(chosen.name, time.monotonic() - started, len(faults.kills), dict(sorted(faults.done.items())))
    for each in rig.venue.faults():
        if lie := each["fault"]["lie"]:
            name = lie + ("" if each["fault"]["execute"] else ", nothing executed")
            figures.lies[name] = figures.lies.get(name, 0) + each["applied"]
    rig.mend()
    logger.info("everything is whole again; waiting for the last reports")
    try:
        trial.wait_reports(drain_seconds)
        until(rig.is_drained, lambda: "nothing is queued or unacknowledged", drain_seconds)
    except TimeoutError as late:
        logger.info(late)
    figures.parkings = sum(step == "parked.after" for _, _, step, _ in rig.control.traces())
    figures.parked = faults.parked
    figures.worker_deaths = len(rig.fork_server.ended_workers)
    figures.waits = waits_after_kills(rig.control.traces(), faults.kills, trial.reported_at)
    return figures


def run(rig: Rig, chosen: argparse.Namespace) -> Figures:
    """The main part: all commands, all faults, and every 50th command twice."""
    trial = Trial(rig, chosen.seed, weights=WEIGHTS | (EXCHANGE_WEIGHTS if chosen.exchanges else {}))

    def send(command: Sent, number: int) -> None:
        trial.sender.send(command, copies=2 if number % 50 == 49 else 1)

    figures = run_under_faults(trial, chosen, send)
    findings = trial.check()
    figures.found = summary(findings)
    figures.faults["the same command sent twice"] = findings.commands // 50
    figures.notes += findings.first(20).splitlines()
    logger.info("%s commands checked: %s", f"{findings.commands:,}", figures.found["outcomes"])
    if chosen.reconcile:
        findings = check_after_reconcile(trial)
        figures.found_after_reconcile = summary(findings)
        figures.notes += findings.first(20).splitlines()
    return figures


def main() -> int:
    """Run all parts; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-reconcile", dest="reconcile", action="store_false")
    parser.add_argument("--no-exchanges", dest="exchanges", action="store_false", help="without Kraken Futures and OKX")
    parser.add_argument("--results-elsewhere", action="store_true", help="on a server of their own")
    parser.add_argument("--no-parts", dest="parts", action="store_false", help="the main part alone")
    parser.add_argument("--worker-from", type=Path, default=ROOT, metavar="DIR", help="another checkout's workers")
    parser.add_argument("--name", default="this worker", help="what the table calls it")
    chosen = parse_options(parser)
    checkout = {"worker_from": chosen.worker_from.resolve(), "exchanges": chosen.exchanges}
    servers = {"one_server": not chosen.results_elsewhere}
    with Rig(TIMINGS, log_level="WARNING", rate_limits=RATE_LIMITS, **servers, **checkout) as rig:
        rig.fleet.start(4, keep=True)
        figures = run(rig, chosen)
    problems = [] if figures.clean and not figures.worker_deaths else figures.notes
    print(markdown([figures]), flush=True)
    if chosen.parts:
        problems += empty_broker(chosen.seed)
        problems += restart_each_pool()
    save(chosen.json, [figures])
    for problem in problems:
        logger.info("%s", problem if len(problem) < 2000 else f"{problem[:400]} … {problem[-1500:]}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
