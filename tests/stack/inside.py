"""What the stack's test does inside a container on the networks `queue` and `venue`: it sends with `OrderClient`, and
judges what became of it. `python -m tests.stack.inside WAY` reads the arguments as one JSON object from standard input,
and writes one to standard output.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import redis

from producers.client import OrderClient
from producers.commands import parse_command
from producers.errors import BrokerUnavailable
from tests.faults.traffic import Mix, Sent, stage
from tests.support.checker.processes import Evidence, check
from worker.simulator.control import SimulatorControl
from worker.simulator.records import Change

VENUE = SimulatorControl("http://simulator:9100")
WEIGHTS = {"withdraw": 25, "close_part": 20, "close_limit": 5, "close_whole": 20, "cancel": 20, "positions": 10}


def arrivals(path: str | None) -> dict[str, Any]:
    """How many requests have reached the venue, at one path or at all."""
    return {"count": len(VENUE.arrivals(path=path))}


def fault(**fields: Any) -> dict[str, Any]:
    """Arm a fault of the simulator."""
    return {"id": VENUE.fault(**fields)}


def accounts(pairs: list[tuple[str, str]], withdraw_keys: list[str]) -> dict[str, Any]:
    """Make pairs of an API key and its secret known at the venue; some of the keys may withdraw."""
    for key, secret in pairs:
        VENUE.account("everstrike", key, secret)
    for key in withdraw_keys:
        VENUE.change(Change(api_key=key, balances={"ETH": Decimal(10**9)}))
    return {}


def load(seed: int, count: int, rate: float, latency_ms: int) -> dict[str, Any]:
    """Send so many commands at so many a second, whether or not earlier ones are through: what was sent, how often the
    broker failed, and the number of the venue's last record before."""
    VENUE.configure(latency_ms=latency_ms)
    since = max((each.seq for each in VENUE.executions(limit=1)), default=0)
    commands = Mix(seed, WEIGHTS).take(count)
    stage(VENUE, commands)
    with OrderClient() as client, ThreadPoolExecutor(count) as pool:
        started, sending = time.monotonic(), []
        for number, command in enumerate(commands):
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            sending.append(pool.submit(_send, client, command))
        failed = sum(each.result() for each in sending)
    sent = [[each.command_id, each.task, dict(each.kwargs)] for each in commands]
    return {"sent": sent, "failed": failed, "since": since}


def _send(client: OrderClient, command: Sent) -> int:
    """How often the broker failed. A publication that fails, or may have, is made again under its own id, as the
    client's documentation says."""
    failed = 0
    while True:
        try:
            client.enqueue(parse_command(command.task, command.kwargs), command.command_id)
            return failed
        except BrokerUnavailable:
            failed += 1
            time.sleep(0.2)


def wait(ids: list[str], seconds: float) -> dict[str, Any]:
    """Wait with `OrderClient` until every one of ``ids`` has its report; the reports, and how long the slowest took."""
    with OrderClient() as client:
        reports = client.wait_many(ids, seconds)
    return {
        "outcomes": [[each.command_id, str(each.outcome), str(each.reason)] for each in reports],
        "longest_ms": max((each.finished_at or 0) - (each.enqueued_at or 0) for each in reports),
    }


def verdict(sent: list[Any], url: str, since: int, aliases: dict[str, str], **_: Any) -> dict[str, Any]:
    """What the judge of tests/faults says: ``sent`` held against results, journal and the venue's records ``since``.

    ``aliases``: the API key of a withdrawal to the key under which the judge knows the account.
    """
    commands = {command_id: Sent(command_id, task, kwargs) for command_id, task, kwargs in sent}
    results: Any = redis.Redis.from_url(f"{url}/1", decode_responses=True)
    ledger: Any = redis.Redis.from_url(f"{url}/2", decode_responses=True)
    stored = results.mget([f"celery-task-meta-{each}" for each in commands])
    metas = {each: json.loads(raw) for each, raw in zip(commands, stored, strict=True) if raw}
    journal = [(int(at.partition("-")[0]), fields) for at, fields in ledger.xrange("orders:journal")]
    executions = VENUE.executions(since=since)
    known = [
        SimpleNamespace(path=e.path, api_key=aliases.get(e.api_key, e.api_key), fields=e.fields, time_ms=e.time_ms)
        for e in executions
    ]
    ours = [entry for entry in journal if entry[1]["id"] in commands]
    found = check(Evidence(sent=commands, results=metas, journal=ours, executions=known))
    return {
        "lost": found.lost,
        "twice": found.twice,
        "untrue": found.untrue,
        "outcomes": {"/".join(key): count for key, count in sorted(found.outcomes.items())},
        "executions": len(known),
        "under_the_wrong_key": [e.path for e in executions if (e.api_key in aliases) != (e.path == "/auth/withdraw")],
    }


if __name__ == "__main__":
    ways = {way.__name__: way for way in (arrivals, fault, accounts, load, wait, verdict)}
    print(json.dumps(ways[sys.argv[1]](**json.load(sys.stdin))))
