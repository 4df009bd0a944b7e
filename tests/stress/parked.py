"""Thousands of parked commands: what they cost, when they come, and that a kill loses and repeats none of them."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.benchmarks.figures import spread
from tests.stress.floods import body, message, push
from tests.stress.refusing import MESSAGE
from tests.stress.rig import Rig, now_ms, timed
from tests.support.waiting import until

QUEUE = "orders.close"
PARKED, MESSAGES = f"{QUEUE}.parked", f"{QUEUE}.parked.messages"


@dataclass(frozen=True)
class Parking:
    """How many commands are parked, until when, and what is killed meanwhile."""

    by_eta: int = 8000
    by_retry: int = 2000
    first_seconds: float = 75
    """From now to the first ``eta``."""
    spread_seconds: float = 60
    """From the first ``eta`` to the last."""
    retry_seconds: float = 30
    """The wait before a second attempt, which is lengthened by up to as much again."""
    workers: int = 2
    kill: bool = True
    """Whether all workers and the server are killed once everything is parked, and the workers once more when half is
    done."""


def run(parking: Parking) -> dict[str, Any]:
    """Park, kill, start again, and look when each command came; the figures."""
    retries = {
        "ORDERS_RETRY__INITIAL_SECONDS": f"{parking.retry_seconds:g}",
        "ORDERS_RETRY__MAX_SECONDS": f"{2 * parking.retry_seconds:g}",
        "ORDERS_RETRY__BUDGET_SECONDS": f"{10 * parking.retry_seconds:g}",
    }
    figures: dict[str, Any] = {}
    with Rig(workers=parking.workers, **retries) as rig, timed(figures, "seconds"):
        rig.warm_up()
        figures["worker_mb_before"] = rig.memory_mb() / parking.workers
        before = server_bytes(rig)
        pairs = _park(rig, parking)
        figures["worker_mb_parked"] = rig.memory_mb() / parking.workers
        figures |= _told(rig, len(pairs), server_bytes(rig) - before)
        dues = due_times(rig)
        assert dues.keys() == pairs.keys(), "a command is parked under another id"
        undisturbed = [(0.0, now_ms())]
        if parking.kill:
            _kill_everything(rig)
            back = now_ms()
            assert due_times(rig) == dues, "what is parked has changed through the kill"
            at_half = sorted(dues.values())[len(dues) // 2]
            time.sleep(max(0.0, (at_half - now_ms()) / 1000))
            undisturbed = [(back, now_ms() - 1000)]
            _kill_workers(rig)
            undisturbed.append((now_ms(), float("inf")))
        else:
            undisturbed = [(0.0, float("inf"))]
        rig.ends([*pairs], parking.first_seconds + parking.spread_seconds + 120)
        rig.drained()
        figures |= _kept_times(rig, pairs, dues, undisturbed)
    return figures


def _park(rig: Rig, parking: Parking) -> dict[str, str]:
    """Let everything be parked; the pair of each command, by its id."""
    count = parking.by_eta
    closes = [close.arguments()["pair"] for close in rig.closes("b", count)]
    first = time.time() + parking.first_seconds
    texts, pairs = [], {}
    for number, pair in enumerate(closes):
        eta = datetime.fromtimestamp(first + number / count * parking.spread_seconds, UTC).isoformat()
        text = message(QUEUE, body(account="b", pair=pair, qty="1"), eta=eta)
        texts.append(text)
        pairs[json.loads(text)["headers"]["id"]] = pair
    push(rig, QUEUE, texts)
    retried = rig.closes("a", parking.by_retry)
    rig.venue("a").fault("envelope", message=MESSAGE, times=max(1, parking.by_retry))
    pairs |= {command_id: each.arguments()["pair"] for command_id, each in zip(rig.send(retried), retried, strict=True)}
    until(
        lambda: rig.broker.zcard(PARKED) == len(pairs),
        lambda: f"{len(pairs)} parked, and there are {rig.broker.zcard(PARKED)}",
        parking.first_seconds,
        every=0.1,
    )
    return pairs


def due_times(rig: Rig) -> dict[str, float]:
    """When each parked command is due, by its id: UNIX ms, as the server's clock says."""
    messages = rig.broker.hgetall(MESSAGES)
    return {
        json.loads(messages[tag].partition("\n")[2])["headers"]["id"]: due
        for tag, due in rig.broker.zrange(PARKED, 0, -1, withscores=True)
    }


def server_bytes(rig: Rig) -> int:
    """The server's memory but for what it reads from and writes to its clients."""
    info: Mapping[str, Any] = rig.broker.info("memory")
    return int(info["used_memory"]) - int(info.get("mem_clients_normal", 0))


def _told(rig: Rig, count: int, grown: int) -> dict[str, float]:
    own = sum(int(rig.broker.memory_usage(name, samples=0) or 0) for name in (PARKED, MESSAGES))
    return {"parked": count, "bytes_parked": own / count, "server_bytes_a_command": grown / count}


def _kill_workers(rig: Rig) -> None:
    for worker in rig.workers:
        worker.kill()
    for worker in rig.workers:
        worker.start()
    for worker in rig.workers:
        worker.ready()


def _kill_everything(rig: Rig) -> None:
    """SIGKILL for workers and server; both start again."""
    for worker in rig.workers:
        worker.kill()
    rig.server.kill()
    rig.server.start()
    for worker in rig.workers:
        worker.start()
    for worker in rig.workers:
        worker.ready()


def _kept_times(
    rig: Rig, pairs: Mapping[str, str], dues: Mapping[str, float], undisturbed: list[tuple[float, float]]
) -> dict[str, Any]:
    """How late each command came that was due while workers were there, and how often each was executed."""
    executed: dict[str, list[float]] = {pair: [] for pair in pairs.values()}
    for alias in rig.simulators:
        for each in rig.venue(alias).executions(path="/auth/close"):
            executed[each.fields["pair"]].append(each.time_ms)
    late = [
        executed[pair][0] - dues[command_id]
        for command_id, pair in pairs.items()
        if executed[pair] and any(since <= dues[command_id] <= until_ms for since, until_ms in undisturbed)
    ]
    return {
        "lost": sum(not times for times in executed.values()),
        "repeated": sum(len(times) > 1 for times in executed.values()),
        "late_count": len(late),
        "early": sum(each < 0 for each in late),
        **spread(late, "late"),
    }
