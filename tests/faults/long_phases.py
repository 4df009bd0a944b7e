"""What the long form does besides its main part: a reconcile, an emptied broker, and each pool's restarted server."""

import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import psutil
from tenacity import Retrying, retry_if_exception_type

from producers.client import OrderClient
from producers.commands import parse_command
from producers.errors import BrokerUnavailable
from tests.faults.evidence import Trial
from tests.faults.fleet import until
from tests.faults.rig import POOLS, Rig
from tests.faults.timings import Timings
from tests.support.checker.commands import KEYS, Sent
from tests.support.checker.processes import Findings
from worker.simulator.records import Withdrawal

logger = logging.getLogger("faults")

RECONCILE_SECONDS = 600.0
"""For each of two runs over all unknowns."""
REJECTED_LATER = 10
"""So many withdrawals of unknown fate, at most, the venue rejects before a reconcile."""


def check_after_reconcile(trial: Trial) -> Findings:
    """Look twice at the venue for each unknown, by `orders reconcile --all` of the workers' own checkout, and check
    again. The venue lies about some of what it is asked, and rejects some of what it had taken."""
    environment = trial.rig.environment
    # The last of them must have had the time to arrive and to be shown.
    shown_after = sum(float(environment[f"ORDERS_RECONCILE__{part}_SECONDS"]) for part in ("SETTLE", "ARRIVAL"))
    logger.info("before the reconcile: %s", make_reads_lie(trial))
    found: dict[str, dict[str, str]] = {}
    for _ in range(2):
        time.sleep(shown_after)
        found |= {each["command_id"]: each for each in _reconcile(trial.rig)}
    kinds = {each["command_id"]: f"{each['command']} {each['finding']} {each['outcome']}" for each in found.values()}
    for kind, count in Counter(kinds.values()).items():
        example = next(each for each in found.values() if kinds[each["command_id"]] == kind)
        logger.info("reconcile: %s x %s, such as %s %s", count, kind, example["command_id"], example["words"])
    trial.rig.venue.clear_faults()
    return trial.check()


def _reconcile(rig: Rig) -> list[dict[str, str]]:
    started = time.monotonic()
    command = [sys.executable, "-c", "from producers.cli.app import main; main()", "reconcile", "--all", "--json"]
    # Whoever reconciles is in no hurry: the venue may take as long as it does by default.
    environment = {**os.environ, **rig.environment, "ORDERS_HTTP__READ_TIMEOUT_SECONDS": "10"}
    try:
        done = subprocess.run(
            command, cwd=rig.worker_from, env=environment, stdout=subprocess.PIPE, timeout=RECONCILE_SECONDS
        )
        found: list[dict[str, str]] = json.loads(done.stdout)["reconciled"]
    except (subprocess.TimeoutExpired, ValueError, KeyError) as failure:
        logger.info("reconcile: %r; what it has settled stays so", failure)
        return []
    logger.info("reconcile: looked for %s in %.0f s", len(found), time.monotonic() - started)
    return found


def make_reads_lie(trial: Trial) -> str:
    """What a reconcile must not believe: for an order of each account whose cancel was executed and is unknown the
    venue answers out of a cache from before, and some withdrawals of unknown fate it has rejected after all."""
    rig = trial.rig
    executed = {(each.api_key, each.fields.get("id") or each.fields.get("address")) for each in trial.executions()}
    unknown: dict[str, list[Sent]] = {"cancel": [], "withdraw": []}
    for command_id, stored in rig.results([*trial.sent]).items():
        command = trial.sent[command_id]
        name = command.kwargs.get("order_id") or command.kwargs.get("address")
        is_unknown = '"outcome": "unknown"' in json.dumps(stored)
        at_everstrike = command.account in KEYS
        if is_unknown and at_everstrike and command.kind in unknown and (KEYS[command.account], name) in executed:
            unknown[command.kind].append(command)
    stale = {each.account: each for each in unknown["cancel"]}.values()
    for command in stale:
        cached = {"changes": {"status": "ACTIVE"}, "headers": {"Age": "600"}}
        rig.venue.fault("altered", path="/order", where={"id": command.kwargs["order_id"]}, times=None, **cached)
    undone = unknown["withdraw"][:REJECTED_LATER]
    for number, command in enumerate(undone):
        key = KEYS[command.account]
        listed = rig.venue.holdings(key)["withdrawals"].values()
        record = next(each for each in listed if each["address"] == command.kwargs["address"])
        status = ("REJECTED", "FAILED")[number % 2]
        rig.venue.withdrawal(key, Withdrawal.model_validate({**record, "status": status}))
    trial.undone |= {each.command_id for each in undone}
    return f"{len(stale)} orders out of a cache, {len(undone)} withdrawals rejected later"


def enqueue(client: OrderClient, trial: Trial, command: Sent) -> None:
    """Send a command with ``OrderClient`` until it is known to be enqueued."""
    trial.sent[command.command_id] = command
    for attempt in Retrying(retry=retry_if_exception_type(BrokerUnavailable)):
        with attempt:
            client.enqueue(parse_command(command.task, command.kwargs), command.command_id)


def empty_broker(seed: int) -> list[str]:
    """The broker is emptied every two seconds while ``OrderClient`` sends: what its intents promise is kept."""
    weights = {"withdraw": 40, "close_part": 30, "close_whole": 15, "cancel": 15}
    with Rig(Timings(visibility=8)) as rig:
        trial = Trial(rig, seed + 1, weights=weights)
        rig.fleet.start(3, keep=True)
        emptied_at, emptied = time.monotonic(), 0
        with OrderClient(rig.queue_settings) as client:
            for command in trial.take(1000):
                enqueue(client, trial, command)
                time.sleep(0.01)
                if time.monotonic() - emptied_at > 2:
                    rig.broker.flushdb()
                    emptied_at, emptied = time.monotonic(), emptied + 1
        with suppress(TimeoutError):
            trial.wait_reports(90)
        findings = trial.check()
    logger.info("broker emptied %s times under 1000 commands of OrderClient: lost %s", emptied, len(findings.lost))
    return [f"emptied broker: {line}" for line in findings.first().splitlines()]


def restart_under_load(rig: Rig, pool: str, seed: int) -> tuple[float, set[bool]]:
    """Kill the server under load and start it again; nobody helps the workers.

    Returns the seconds from the moment at which the server was back to the next report, and whether each worker had
    processes of its own.
    """
    trial = Trial(rig, seed, deadlines=0)
    with rig.new_fleet(*POOLS[pool]) as fleet:
        forks = {bool(psutil.Process(worker.pid).children()) for worker in fleet.start(2, keep=True)}
        with rig.slow_venue(100):
            trial.send(60)
            trial.wait_arrivals(10)
            with rig.killed(rig.server):
                time.sleep(1)
            back, waiting = time.monotonic(), len(trial.missing())
            until(lambda: len(trial.missing()) < waiting, lambda: "a report after the restart")
            seconds = time.monotonic() - back
        trial.finish(90)
    return seconds, forks


def restart_each_pool() -> list[str]:
    """How soon the workers of each pool report again."""
    problems = []
    with Rig(Timings(visibility=8), one_server=True) as rig:
        for number, pool in enumerate(POOLS):
            try:
                seconds, _ = restart_under_load(rig, pool, 900 + number)
            except (TimeoutError, AssertionError) as failure:
                problems.append(f"{pool}: {failure}")
            else:
                logger.info("%s: first report %.1f s after the server was back; all ended", pool, seconds)
    return problems
