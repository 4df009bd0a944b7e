"""The long form: workers die every second for minutes under load, and everything else breaks in between.

``python -m tests.faults.long --minutes 10 --rate 100 --kill-every 1`` prints its progress, then a Markdown table,
writes the same as JSON, and ends with 1 if anything was lost, executed twice or told wrong. Everything runs on this
machine and stops by itself.

``--worker-from DIR`` tries the workers of another checkout, with its own hook (``tests/faults/app.py``) and its own
``orders reconcile``, under the same commands, schedule, venue and judge:

    git worktree add ../before c3442b3
    python -m tests.faults.long --worker-from ../before --no-parts --json before.json
    python -m tests.faults.long --no-parts --json after.json
    python -m tests.faults.figures before.json after.json
"""

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.evidence import Trial
from tests.faults.figures import Figures, markdown, save, waits_after_kills
from tests.faults.fleet import ROOT, until
from tests.faults.long_phases import empty_broker, reconciled, restarts
from tests.faults.rig import QUIET, Rig
from tests.faults.schedule import Mayhem, draw
from tests.faults.timings import Pace
from tests.faults.traffic import Sent, stage

BATCH = 500
PACE = Pace(visibility=8)
DRAIN_SECONDS = 180.0


def say(words: str) -> None:
    """Progress, for people."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


class Watch:
    """Sees each report as soon as it is there."""

    def __init__(self, rig: Rig, sent: dict[str, Sent]) -> None:
        self._rig = rig
        self._sent = sent
        self._stopping = threading.Event()
        self.seen: dict[str, float] = {}
        """Command id to when its report was first there, UNIX seconds."""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(30)

    def missing(self) -> list[str]:
        """Commands without a report."""
        return [each for each in list(self._sent) if each not in self.seen]

    def _run(self) -> None:
        while not self._stopping.wait(0.2):
            for command_id in self._rig.results(self.missing()):
                self.seen[command_id] = time.time()


def endless(trial: Trial) -> Iterator[Sent]:
    """Commands without end, staged at the venue before they are sent."""
    while True:
        commands = trial.mix.take(BATCH)
        stage(trial.rig.venue, commands)
        yield from commands


def run(rig: Rig, chosen: argparse.Namespace) -> Figures:
    """The main part."""
    seconds = chosen.minutes * 60
    trial = Trial(rig, chosen.seed)
    watch = Watch(rig, trial.sender.sent)
    mayhem = Mayhem(rig, draw(chosen.seed, seconds), chosen.kill_every, chosen.seed)
    copies = threading.local()

    def sometimes_twice() -> int:
        copies.count = getattr(copies, "count", 0) + 1
        return 2 if copies.count % 50 == 0 else 1

    sending = threading.Thread(
        target=trial.sender.at_rate, args=(endless(trial), chosen.rate, seconds, sometimes_twice), daemon=True
    )
    started = time.monotonic()
    watch.start()
    mayhem.start()
    sending.start()
    while sending.is_alive():
        sending.join(10)
        told = (
            f"{time.monotonic() - started:.0f} s: {len(trial.sender.sent):,} sent, {len(watch.missing()):,} without a"
        )
        say(f"{told} report yet, {len(mayhem.kills)} kills, {sum(mayhem.done.values())} other faults")
    mayhem.stop()
    figures = Figures(chosen.name, seconds=time.monotonic() - started)
    figures.lies = lied(rig)
    rig.fresh()
    say("everything is whole again; waiting for the last reports")
    settle(lambda: not watch.missing() and rig.is_drained())
    watch.stop()
    trial.sender.close()
    findings = trial.check()
    figures.take(findings)
    figures.kills, figures.workers_started = len(mayhem.kills), rig.fleet.started
    figures.faults = {**dict(sorted(mayhem.done.items())), "the same command sent twice": figures.commands // 50}
    figures.worker_deaths = len(rig.fleet.surprises)
    figures.take_waits(waits_after_kills(rig.control.traces(), mayhem.kills, watch.seen))
    figures.notes += [*findings.first(20).splitlines(), *rig.fleet.surprises[:5]]
    say(f"{figures.commands:,} commands judged: {json.dumps(figures.outcomes)}")
    if chosen.reconcile:
        after = reconciled(rig, trial, say)
        figures.take_after(after)
        figures.notes += after.first(20).splitlines()
    return figures


def lied(rig: Rig) -> dict[str, int]:
    """How many answers were which lie, and whether the venue had executed what they were about."""
    told: Counter[str] = Counter()
    for each in rig.venue.faults():
        if each["fault"]["lie"]:
            executed = "" if each["fault"]["execute"] else ", nothing executed"
            told[each["fault"]["lie"] + executed] += each["applied"]
    return dict(sorted(told.items()))


def settle(condition: Callable[[], bool]) -> None:
    """Wait for an end that the judge will miss if it does not come."""
    try:
        until(condition, "", DRAIN_SECONDS, every=0.2)
    except TimeoutError:
        say(f"not everything has ended after {DRAIN_SECONDS:g} s")


def main() -> int:
    """Run all parts; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=100, help="commands a second")
    parser.add_argument("--kill-every", type=float, default=1, help="seconds")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-reconcile", dest="reconcile", action="store_false")
    parser.add_argument("--no-parts", dest="parts", action="store_false", help="the main part alone")
    parser.add_argument("--json", type=Path, default=Path("faults.json"), help="file for the figures")
    parser.add_argument("--worker-from", type=Path, default=ROOT, metavar="DIR", help="another checkout's workers")
    parser.add_argument("--name", default="this worker", help="what the table calls it")
    chosen = parser.parse_args()
    options = ("-P", "threads", "-c", str(chosen.threads), *QUIET)
    with Rig(PACE, options=options, log_level="WARNING", worker_from=chosen.worker_from.resolve()) as rig:
        rig.fleet.start(chosen.workers, keep=True)
        columns = [run(rig, chosen)]
    problems = [] if columns[0].clean and not columns[0].worker_deaths else columns[0].notes
    print(markdown(columns), flush=True)
    if chosen.parts:
        problems += empty_broker(chosen.seed, say)
        problems += restarts(say)
    save(chosen.json, columns)
    for problem in problems:
        say(problem if len(problem) < 2000 else f"{problem[:400]} … {problem[-1500:]}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
