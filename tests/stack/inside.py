"""What the stack's test does inside a container on the networks `queue` and `venue`: sending with `OrderClient`, and
judging what became of it. Reads one JSON object from standard input, writes one to standard output.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
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

VENUE = "http://simulator:9100"
WEIGHTS = {"withdraw": 25, "close_part": 20, "close_limit": 5, "close_whole": 20, "cancel": 20, "positions": 10}


def accounts(asked: dict[str, Any]) -> dict[str, Any]:
    """Make keys known at the venue: ``{"keys": [[api_key, secret]], "funds": api keys that may withdraw}``."""
    venue = SimulatorControl(VENUE)
    for key, secret in asked["keys"]:
        venue.account("everstrike", key, secret)
    for key in asked["funds"]:
        venue.change(Change(api_key=key, balances={"ETH": Decimal(10**9)}))
    return {}


def load(asked: dict[str, Any]) -> dict[str, Any]:
    """Send ``count`` commands at ``rate`` a second through `OrderClient`; what was sent, and how often a broker failed.

    A publication that fails, or may have, is made again under its own id, as the client's documentation says.
    """
    venue = SimulatorControl(VENUE)
    venue.configure(latency_ms=asked["latency_ms"])
    since = max((each.seq for each in venue.executions(limit=1)), default=0)
    commands = Mix(asked["seed"], WEIGHTS).take(asked["count"])
    stage(venue, commands)
    failed = 0
    lock = threading.Lock()
    with OrderClient() as client:

        def send(command: Sent) -> None:
            nonlocal failed
            while True:
                try:
                    client.enqueue(parse_command(command.task, command.kwargs), command.command_id)
                    return
                except BrokerUnavailable:
                    with lock:
                        failed += 1
                    time.sleep(0.2)

        _at_rate(commands, asked["rate"], send)
    sent = [[each.command_id, each.task, dict(each.kwargs)] for each in commands]
    return {"sent": sent, "failed": failed, "since": since}


def _at_rate(commands: list[Sent], rate: float, send: Callable[[Sent], None]) -> None:
    """So many a second, whether or not earlier ones are through."""
    started = time.monotonic()
    threads = []
    for number, command in enumerate(commands):
        time.sleep(max(0.0, started + number / rate - time.monotonic()))
        threads.append(threading.Thread(target=send, args=(command,), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()


def wait(asked: dict[str, Any]) -> dict[str, Any]:
    """Wait with `OrderClient` until every one of ``ids`` has its report, at most ``seconds``; the longest wait."""
    with OrderClient() as client:
        reports = client.wait_many(asked["ids"], asked["seconds"])
    late = max((each.finished_at or 0) - (each.enqueued_at or 0) for each in reports)
    return {
        "outcomes": [[each.command_id, str(each.outcome), str(each.reason)] for each in reports],
        "longest_ms": late,
    }


def verdict(asked: dict[str, Any]) -> dict[str, Any]:
    """What the judge of tests/faults says: ``sent`` held against results, journal and the venue's book.

    ``since``: the venue's last record before. ``aliases``: API key of a withdrawal to the key under which the judge
    knows the account.
    """
    sent = {command_id: Sent(command_id, task, kwargs) for command_id, task, kwargs in asked["sent"]}
    url, venue = asked["url"], SimulatorControl(VENUE)
    results: Any = redis.Redis.from_url(f"{url}/1", decode_responses=True)
    ledger: Any = redis.Redis.from_url(f"{url}/2", decode_responses=True)
    stored = results.mget([f"celery-task-meta-{each}" for each in sent])
    metas = {each: json.loads(raw) for each, raw in zip(sent, stored, strict=True) if raw}
    journal = [(int(at.partition("-")[0]), fields) for at, fields in ledger.xrange("orders:journal")]
    executions = venue.executions(since=asked["since"])
    keys: dict[str, str] = asked["aliases"]
    stray = [each.path for each in executions if (each.api_key in keys) != (each.path == "/auth/withdraw")]
    known = [
        SimpleNamespace(path=e.path, api_key=keys.get(e.api_key, e.api_key), fields=e.fields, time_ms=e.time_ms)
        for e in executions
    ]
    found = check(
        Evidence(sent=sent, results=metas, journal=[e for e in journal if e[1]["id"] in sent], executions=known)
    )
    return {
        "commands": found.commands, "lost": found.lost, "twice": found.twice, "untrue": found.untrue,
        "outcomes": {"/".join(key): count for key, count in sorted(found.outcomes.items())},
        "executions": len(known), "under_the_wrong_key": stray,
    }  # fmt: skip


def main() -> None:
    """Do what the one argument names."""
    ways = {"accounts": accounts, "load": load, "wait": wait, "verdict": verdict}
    print(json.dumps(ways[sys.argv[1]](json.loads(sys.stdin.read()))))


if __name__ == "__main__":
    main()
