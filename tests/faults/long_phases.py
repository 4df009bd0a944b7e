"""What the long form does besides its main part: a reconcile, an emptied broker, and each pool's restarted server."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import Any

from producers.client import OrderClient
from producers.commands import parse_command
from producers.errors import BrokerUnavailable
from tests.faults.evidence import Trial
from tests.faults.fleet import Fleet, until
from tests.faults.rig import Rig
from tests.faults.timings import Pace
from tests.faults.traffic import KEYS, Sent
from tests.support.checker.processes import Findings
from worker.simulator.records import Withdrawal

Say = Callable[[str], None]

POOLS: Mapping[str, tuple[str, ...]] = {
    "threads": ("-P", "threads", "-c", "8"),
    "prefork": ("-P", "prefork", "-c", "2"),
    "solo": ("-P", "solo"),
}
BACK_SECONDS = 30.0
"""So soon after a restart of the server each pool must report again."""
RECONCILE_SECONDS = 600.0
"""For each of two runs over all unknowns."""
REJECTED_LATER = 10
"""So many withdrawals of unknown fate, at most, the venue rejects before a reconcile."""


def reconciled(rig: Rig, trial: Trial, say: Say) -> Findings:
    """The judge's word after two looks at the venue for each unknown, by `orders reconcile --all` of the workers' own
    checkout. The venue lies about some of what it is asked, and rejects some of what it had taken."""
    pace = rig.pace.environment()
    # The last of them must have had the time to arrive and to be shown.
    shown_after = float(pace["ORDERS_RECONCILE__SETTLE_SECONDS"]) + float(pace["ORDERS_RECONCILE__ARRIVAL_SECONDS"])
    say(f"before the reconcile: {make_reads_lie(rig, trial)}")
    found: dict[str, dict[str, str]] = {}
    for _ in range(2):
        threading.Event().wait(shown_after)
        found |= {each["command_id"]: each for each in _reconcile(rig, say)}
    kinds = Counter(f"{each['command']} {each['finding']} {each['outcome']}" for each in found.values())
    for kind, count in kinds.items():
        such = next(each for each in found.values() if kind == f"{each['command']} {each['finding']} {each['outcome']}")
        say(f"reconcile: {count} x {kind}, such as {such['command_id']} {such['words']}")
    rig.venue.clear_faults()
    return trial.check()


def _reconcile(rig: Rig, say: Say) -> list[dict[str, str]]:
    asked = time.monotonic()
    command = [sys.executable, "-c", "from producers.cli.app import main; main()", "reconcile", "--all", "--json"]
    # Whoever reconciles is in no hurry: the venue may take as long as it does by default.
    told = {**os.environ, **rig.environment, "ORDERS_HTTP__READ_TIMEOUT_SECONDS": "10"}
    try:
        done = subprocess.run(
            command, cwd=rig.worker_from, env=told, capture_output=True, text=True, timeout=RECONCILE_SECONDS
        )
    except subprocess.TimeoutExpired:
        say(f"reconcile: not done within {RECONCILE_SECONDS:g} s; what it has settled stays so")
        return []
    try:
        found: list[dict[str, str]] = json.loads(done.stdout)["reconciled"]
    except (ValueError, KeyError):
        say(f"reconcile: exit code {done.returncode}, {done.stdout[-500:]} {done.stderr[-500:]}")
        return []
    say(f"reconcile: looked for {len(found)} in {time.monotonic() - asked:.0f} s")
    return found


def make_reads_lie(rig: Rig, trial: Trial) -> str:
    """What a reconcile must not believe: for an order of each account whose cancel was executed and is unknown the
    venue answers out of a cache from before, and some withdrawals of unknown fate it has rejected after all."""
    executed = {(each.api_key, each.fields.get("id") or each.fields.get("address")) for each in trial.executions()}
    unknown: dict[str, list[Sent]] = {"cancel": [], "withdraw": []}
    results = rig.results(list(trial.sender.sent))
    for command in trial.sender.sent.values():
        name = command.kwargs.get("order_id") or command.kwargs.get("address")
        doubtful = '"outcome": "unknown"' in json.dumps(results.get(command.command_id))
        if doubtful and command.kind in unknown and (KEYS[str(command.kwargs["account"])], name) in executed:
            unknown[command.kind].append(command)
    stale = [*{str(each.kwargs["account"]): each for each in unknown["cancel"]}.values()]
    undone = unknown["withdraw"][:REJECTED_LATER]
    for command in stale:
        cached = {"changes": {"status": "ACTIVE"}, "headers": {"Age": "600"}}
        rig.venue.fault("altered", path="/order", where={"id": command.kwargs["order_id"]}, times=None, **cached)
    for number, command in enumerate(undone):
        key = KEYS[str(command.kwargs["account"]).lower()]
        listed = rig.venue.holdings(key)["withdrawals"].values()
        record = next(each for each in listed if each["address"] == command.kwargs["address"])
        rejected = Withdrawal.model_validate({**record, "status": ("REJECTED", "FAILED")[number % 2]})
        rig.venue.withdrawal(key, rejected)
    rig.undone |= {each.command_id for each in undone}
    return f"{len(stale)} orders out of a cache, {len(undone)} withdrawals rejected later"


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
        return trial.check()


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
