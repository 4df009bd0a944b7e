"""What the long form does besides its main part: a reconcile, an emptied broker, and each pool's restarted server."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import Any

from producers.client import OrderClient
from producers.commands import parse_command
from producers.errors import BrokerUnavailable
from tests.faults.court import Trial
from tests.faults.fleet import Fleet, until
from tests.faults.judge import Findings
from tests.faults.pace import Pace
from tests.faults.rig import Rig

Say = Callable[[str], None]

POOLS: Mapping[str, tuple[str, ...]] = {
    "threads": ("-P", "threads", "-c", "8"),
    "prefork": ("-P", "prefork", "-c", "2"),
    "solo": ("-P", "solo"),
}
BACK_SECONDS = 30.0
"""So soon after a restart of the server each pool must report again."""
RECONCILE_SECONDS = 360.0
"""For each of two runs over all unknowns."""


def reconciled(rig: Rig, trial: Trial, say: Say) -> Findings | None:
    """The judge's word after two looks at the venue for each unknown; None where there is no reconcile to run."""
    try:
        from worker.reconcile_task import build_reconciler, desk_app, result_publisher
        from worker.settings import load
    except ImportError:
        say("no reconcile in this version")
        return None
    with environment(rig.environment), desk_app(settings := load()) as app:
        reconciler = build_reconciler(settings, result_publisher(app))
        left: dict[str, str] = {}
        words: dict[str, str] = {}
        for _ in range(2):
            # The last of them must have had the time to arrive and to be shown.
            threading.Event().wait(settings.reconcile.settle_seconds + settings.reconcile.arrival_seconds)
            ends_at = time.monotonic() + RECONCILE_SECONDS
            for found in reconciler.all():
                left[found.command_id] = f"{found.command} {found.finding} {found.outcome}"
                words[left[found.command_id]] = f"{found.command_id} {found.words}"
                if time.monotonic() > ends_at:
                    say(f"reconcile: no more time, {len(left)} looked for so far")
                    break
    for kind, count in Counter(left.values()).items():
        say(f"reconcile: {count} x {kind}, such as {words[kind]}")
    return trial.judge()


@contextmanager
def environment(told: Mapping[str, str]) -> Any:
    """The rig's, for what reads this process's own."""
    before = dict(os.environ)
    os.environ.update(told)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def empty_broker(seed: int, say: Say, *, count: int = 1000, rate: float = 100.0) -> list[str]:
    """The broker is emptied every two seconds while ``OrderClient`` sends: what its intents promise is kept."""
    with Rig(Pace(visibility=8)) as rig:
        rig.fleet.start(3, keep=True)
        trial = Trial(rig, seed + 1, weights={"withdraw": 40, "close_part": 30, "close_whole": 15, "cancel": 15})
        over = threading.Event()
        emptied = 0

        def empty() -> None:
            nonlocal emptied
            while not over.wait(2):
                rig.client(0).flushdb()
                emptied += 1

        thread = threading.Thread(target=empty, daemon=True)
        thread.start()
        with OrderClient(rig.queues) as client:
            for command in trial.take(count):
                trial.sender.sent[command.command_id] = command
                _enqueue(client, command)
                over.wait(1 / rate)
        over.set()
        thread.join()
        findings = _finished(trial)
        trial.close()
        say(f"broker emptied {emptied} times under {count} commands of OrderClient: lost {len(findings.lost)}")
        return [f"emptied broker: {line}" for line in findings.first().splitlines()]


def _enqueue(client: OrderClient, command: Any) -> None:
    while True:
        try:
            client.enqueue(parse_command(command.task, command.kwargs), command.command_id)
            return
        except BrokerUnavailable:
            continue


def _finished(trial: Trial) -> Findings:
    try:
        return trial.finish(90)
    except TimeoutError:
        return trial.judge()


def restarts(say: Say) -> list[str]:
    """How soon the workers of each pool report again after their server was restarted under load."""
    problems: list[str] = []
    with Rig(Pace(visibility=8), one_server=True) as rig:
        for number, (pool, options) in enumerate(POOLS.items()):
            fleet = rig.new_fleet(options)
            trial = Trial(rig, 900 + number, deadlines=0)
            try:
                problems += _restart(rig, fleet, trial, pool, say)
            finally:
                trial.close()
                fleet.close()
    return problems


def _restart(rig: Rig, fleet: Fleet, trial: Trial, pool: str, say: Say) -> list[str]:
    fleet.start(2, keep=True)
    rig.venue.configure(latency_ms=100)
    early = trial.send(60)
    trial.arrived(10)
    rig.server.kill()
    threading.Event().wait(1)
    reported = set(rig.results(early)) if rig.server.process else set()
    rig.server.start()
    back = time.monotonic()
    reported |= set(rig.results(early))
    try:
        until(lambda: set(rig.results(early)) - reported, "", BACK_SECONDS, every=0.05)
    except TimeoutError:
        return [f"{pool}: no report within {BACK_SECONDS:g} s after a restart of the server"]
    took = time.monotonic() - back
    rig.venue.configure(latency_ms=0)
    findings = _finished(trial)
    say(f"{pool}: first report {took:.1f} s after the server was back; all ended, {findings.commands} commands")
    return [f"{pool}: {line}" for line in (*findings.first().splitlines(), *fleet.surprises)]
