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
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.faults.evidence import Trial
from tests.faults.figures import Figures, markdown, save, summary
from tests.faults.fleet import ROOT
from tests.faults.long import TIMINGS, logger, parse_options, run_under_faults
from tests.faults.rig import Rig
from tests.support.checker.commands import Sent
from tests.support.checker.processes import Findings

EVERY = {"server killed and restarted": 20.0, "storm of 429": 20.0, "replies spoilt": 5.0, "the venue lies": 5.0}
BASELINES = {"autoretry, acks_late, celery-once": "once", "ccxt, maxRetriesOnFailure": "ccxt"}
TASKS = "tests.faults.baselines.tasks"


class BaselineRig(Rig):
    """A rig whose workers run the tasks of the usual ways."""

    app = TASKS
    queues = ("celery",)
    preload = ("requests", "celery_once", "ccxt")


class OtherSender:
    """A process that enqueues under the other interpreter; a context manager."""

    def __init__(self, python: str, task: str, environment: dict[str, str]) -> None:
        self._process: Any = subprocess.Popen(
            [python, "-m", TASKS, task],
            cwd=ROOT,
            env={**os.environ, **environment, "ORDERS_RESULT_BACKEND": "disabled://"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, command: Sent) -> None:
        """Send a command, and return once it is enqueued."""
        kwargs = {name: command.kwargs[name] for name in ("asset", "qty", "address")}
        print(json.dumps({"id": command.command_id, "kwargs": kwargs}), file=self._process.stdin, flush=True)
        self._process.stdout.readline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def check_task_states(trial: Trial) -> Findings:
    """What can be said of ways that have no reports: a success means executed, a failure not executed."""
    findings = Findings(commands=len(trial.sent))
    executions = Counter(execution.fields["address"] for execution in trial.executions())
    results = trial.rig.results([*trial.sent])
    for command_id, command in trial.sent.items():
        times = executions[command.kwargs["address"]]
        status = results.get(command_id, {}).get("status")
        told = f"{command_id}: {status}, executed {times} times"
        if times > 1:
            findings.twice.append(told)
        if status not in ("SUCCESS", "FAILURE"):
            findings.lost.append(told)
            continue
        findings.outcomes["withdraw", status.lower(), ""] += 1
        if (status == "SUCCESS") != (times > 0):
            findings.untrue.append(told)
    return findings


def run_column(chosen: argparse.Namespace, task: str = "") -> Figures:
    """This worker, or one of the usual ways, by the name of its task."""
    with ExitStack() as stack:
        rig = stack.enter_context((BaselineRig if task else Rig)(TIMINGS, log_level="WARNING", one_server=True))
        trial = Trial(rig, chosen.seed, weights={"withdraw": 1}, deadlines=0, accounts=("main",))
        rig.fleet.start(3, keep=True)
        sender = stack.enter_context(OtherSender(chosen.python, task, rig.environment)) if task else trial.sender
        only = {"commands": ("withdraw",), "kill_at_steps": False}
        figures = run_under_faults(trial, chosen, lambda command, _: sender.send(command), EVERY, 90, **only)
        findings = check_task_states(trial) if task else trial.check()
        figures.found = summary(findings)
        if task:
            executed = Counter(execution.fields["address"] for execution in trial.executions())
            lost = sum("executed 0 times" not in each for each in findings.lost)
            too_many = executed.total() - len(executed)
            figures.notes.append(f"{lost} of the lost were executed; {too_many} payments too many")
        else:
            figures.notes += findings.first(10).splitlines()
    return figures


def main() -> int:
    """All three; 1 when this worker lost something, executed it twice, or told wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="interpreter with celery, celery-once and ccxt")
    chosen = parse_options(parser, minutes=2, rate=50, json=Path("faults-baselines.json"))
    BaselineRig.python = chosen.python
    columns = []
    for name, task in {"this worker": "", **BASELINES}.items():
        logger.info(name)
        chosen.name = name
        columns.append(run_column(chosen, task))
    print(markdown(columns), flush=True)
    for column in columns:
        for note in column.notes:
            logger.info("%s: %s", column.name, note)
    save(chosen.json, columns)
    return 0 if columns[0].clean else 1


if __name__ == "__main__":
    sys.exit(main())
