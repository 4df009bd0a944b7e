"""The same faults for this worker and for two usual ways, on withdrawals: who loses some, who pays some twice?

``python -m tests.faults.baselines.compare --python V/bin/python --minutes 2`` prints a table and writes JSON.
The interpreter needs what the product does not: ``python -m venv V && V/bin/pip install 'celery[redis]>=5.7,<5.8'
celery-once ccxt requests``. Commands, kills and all other faults are drawn from one seed.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.evidence import Trial
from tests.faults.figures import Figures, markdown, save
from tests.faults.fleet import ROOT, until
from tests.faults.long import lied
from tests.faults.rig import QUIET, THREADS, Rig
from tests.faults.schedule import Mayhem, draw
from tests.faults.timings import Pace
from tests.faults.traffic import Sent, stage
from tests.support.checker.processes import Findings

EVERY = {"server killed and restarted": 20.0, "storm of 429": 20.0, "replies spoilt": 5.0, "the venue lies": 5.0}
PACE = Pace(visibility=8)
DRAIN_SECONDS = 90.0
NAIVE = {
    "autoretry, acks_late, celery-once": "tests.faults.baselines.once_app",
    "ccxt, maxRetriesOnFailure": "tests.faults.baselines.tasks",
}

Send = Callable[[Sent], None]


def say(words: str) -> None:
    """Progress, for people."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


class Helper:
    """A sender that runs under the other interpreter."""

    def __init__(self, python: str, app: str, environment: Mapping[str, str]) -> None:
        told = {**os.environ, **environment, "ORDERS_RESULT_BACKEND": "disabled://"}
        self._process = subprocess.Popen(
            [python, "-m", "tests.faults.baselines.sender", app],
            cwd=ROOT,
            env=told,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, command: Sent) -> None:
        """Send it, and return once it is enqueued."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        kwargs = {name: command.kwargs[name] for name in ("asset", "qty", "address")}
        self._process.stdin.write(json.dumps({"id": command.command_id, "kwargs": kwargs}) + "\n")
        self._process.stdin.flush()
        self._process.stdout.readline()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def broken(rig: Rig, trial: Trial, send: Send, chosen: argparse.Namespace) -> Figures:
    """Send withdrawals at the rate while the schedule runs, and wait for the end."""
    seconds = chosen.minutes * 60
    events = draw(chosen.seed, seconds, EVERY)
    mayhem = Mayhem(rig, events, chosen.kill_every, chosen.seed, commands=("withdraw",), ordered_kills=False)
    started = time.monotonic()
    mayhem.start()
    number = 0
    while time.monotonic() - started < seconds:
        commands = trial.mix.take(100)
        stage(rig.venue, commands)
        for command in commands:
            threading.Event().wait(max(0.0, started + number / chosen.rate - time.monotonic()))
            trial.sender.sent[command.command_id] = command
            send(command)
            number += 1
    mayhem.stop()
    figures = Figures("", seconds=time.monotonic() - started, kills=len(mayhem.kills), faults=dict(mayhem.done))
    figures.lies = lied(rig)
    rig.venue.clear_faults()
    rig.fleet.wait_ready()
    ids = list(trial.sender.sent)
    try:
        until(lambda: len(rig.results(ids)) == len(ids) and rig.is_drained(), "", DRAIN_SECONDS, every=0.5)
    except TimeoutError:
        say(
            f"{len(ids) - len(rig.results(ids))} without a result after {DRAIN_SECONDS:g} s; drained {rig.is_drained()}"
        )
    figures.worker_deaths = len(rig.fleet.surprises)
    return figures


def plain_judge(sent: Mapping[str, Sent], results: Mapping[str, Mapping[str, Any]], book: Sequence[Any]) -> Findings:
    """As the judge, as far as ways without reports can be judged: a success means executed, a failure not executed."""
    findings = Findings(commands=len(sent))
    executed = Counter(execution.fields["address"] for execution in book)
    for command_id, command in sent.items():
        times = executed[command.kwargs["address"]]
        status = results.get(command_id, {}).get("status")
        if times > 1:
            findings.twice.append(f"{command_id}: {times} times, {status}")
        if status not in ("SUCCESS", "FAILURE"):
            findings.lost.append(f"{command_id}: {status}, executed {times} times")
            continue
        findings.outcomes["withdraw", status.lower(), ""] += 1
        if (status == "SUCCESS") != (times > 0):
            findings.untrue.append(f"{command_id}: {status}, executed {times} times")
    return findings


def naive(name: str, app: str, chosen: argparse.Namespace) -> Figures:
    """One of the usual ways."""
    preload = ["requests", "celery_once", *(["ccxt"] if "tasks" in app else [])]
    with Rig(
        PACE,
        app=app,
        options=(*THREADS, *QUIET),
        log_level="WARNING",
        python=chosen.python,
        preload=preload,
        one_server=True,
        queues=("celery",),
    ) as rig:
        rig.fleet.start(chosen.workers, keep=True)
        trial = Trial(rig, chosen.seed, weights={"withdraw": 1}, deadlines=0, accounts=("main",))
        helper = Helper(chosen.python, app, rig.environment)
        try:
            figures = broken(rig, trial, helper.send, chosen)
        finally:
            helper.close()
            trial.close()
        figures.name = name
        findings = plain_judge(trial.sender.sent, rig.results(list(trial.sender.sent)), rig.venue.executions())
        figures.take(findings)
        paid = Counter(execution.fields["address"] for execution in rig.venue.executions())
        ghosts = sum("executed 0 times" not in each for each in findings.lost)
        figures.notes.append(f"{ghosts} of the lost were executed; {sum(paid.values()) - len(paid)} payments too many")
    return figures


def ours(chosen: argparse.Namespace) -> Figures:
    """This worker."""
    with Rig(PACE, log_level="WARNING", one_server=True) as rig:
        rig.fleet.start(chosen.workers, keep=True)
        trial = Trial(rig, chosen.seed, weights={"withdraw": 1}, deadlines=0, accounts=("main",))
        figures = broken(rig, trial, trial.sender.send, chosen)
        trial.close()
        figures.name = "this worker"
        findings = trial.check()
        figures.take(findings)
        figures.notes += findings.first(10).splitlines()
    return figures


def main() -> int:
    """All three; 1 when this worker lost something, executed it twice, or told wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="interpreter with celery, celery-once and ccxt")
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--kill-every", type=float, default=1)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("faults-naive.json"))
    chosen = parser.parse_args()
    columns = []
    say("this worker")
    columns.append(ours(chosen))
    for name, app in NAIVE.items():
        say(name)
        columns.append(naive(name, app, chosen))
    print(markdown(columns), flush=True)
    for each in columns:
        for note in each.notes:
            say(f"{each.name}: {note}")
    save(chosen.json, columns)
    return 0 if columns[0].clean else 1


if __name__ == "__main__":
    sys.exit(main())
