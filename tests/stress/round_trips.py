"""What an undisturbed command asks of the server: its round trips, alone and from a filled queue."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from producers.commands import Command, Positions, Withdraw
from tests.stress.rig import Rig
from tests.support.node import ROOT
from tests.support.redis_monitor import Monitor
from tests.support.waiting import until

OF_THE_TEST = ("LPUSH", "ECHO", "MGET", "HSET", "ZADD")
"""What sender and test ask themselves."""


@dataclass(frozen=True)
class RoundTrips:
    """How many commands of each kind a filled queue has."""

    queued: int = 300
    worker_from: Path = ROOT


def run(trips: RoundTrips) -> dict[str, Any]:
    """The figures of each kind of command."""
    figures: dict[str, Any] = {}
    with Rig(worker_from=trips.worker_from) as rig:
        rig.warm_up()
        rig.venue("b").balance("stress-key-b-0123456789", "ETH", "1000000")
        for kind in ("close", "cancel", "withdraw", "positions"):
            rig.ends(rig.send(commands(rig, kind, 2)))
            rig.drained()
            alone = asked(rig, commands(rig, kind, 1))
            figures[f"{kind}_asked"] = {f"{database} {name}": count for (database, name), count in alone.items()}
            figures[f"{kind}_alone"] = alone.total()
            figures[f"{kind}_queued"] = from_a_queue(rig, commands(rig, kind, trips.queued))
    return figures


def commands(rig: Rig, kind: str, count: int) -> list[Command]:
    """So many commands of a kind, which the venue accepts."""
    match kind:
        case "close":
            return rig.closes("b", count)
        case "cancel":
            return rig.cancels("b", count)
        case "withdraw":
            return [Withdraw(account="b", asset="ETH", qty="1", address=address) for address in rig.names(count)]
    return [Positions(account="b", pair=pair) for pair in rig.names(count)]


def asked(rig: Rig, command: list[Command]) -> Counter[tuple[int, str]]:
    """What is asked about one command: database and name of what was sent to the server."""
    with Monitor(rig.server.url(0)) as monitor:
        (command_id,) = rig.send(command)
        rig.ends([command_id])
        rig.drained()
        rig.broker.echo(f"seen {command_id}")
        until(lambda: f"seen {command_id}" in monitor.text(), "all that the server was asked")
        entries = [each for each in list(monitor.commands) if each["client_type"] != "lua"]
    names = [(int(each["db"]), each["command"].split()[0].upper()) for each in entries if command_id in each["command"]]
    return Counter(sorted(name for name in names if name[1] not in OF_THE_TEST))


def from_a_queue(rig: Rig, queued: list[Command]) -> float:
    """The server's reads of its clients for one command of a queue that is filled before the worker sees it."""
    (worker,) = rig.workers
    worker.kill("SIGSTOP")
    rig.send(queued)
    since = max((each.seq for each in rig.venue("b").arrivals(limit=1)), default=0)
    before = int(rig.broker.info("stats")["total_reads_processed"])
    worker.kill("SIGCONT")
    rig.venue("b").wait(arrivals=len(queued), since=since, timeout=60)
    time.sleep(0.3)  # until the last reports are stored, without asking the server for them
    reads = int(rig.broker.info("stats")["total_reads_processed"]) - before
    rig.drained()
    return round(reads / len(queued), 2)
