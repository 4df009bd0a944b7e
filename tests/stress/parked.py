"""Thousands of parked commands: what they cost, when they come, and that a kill loses and repeats none of them."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.benchmarks.figures import spread
from tests.stress.floods import body, message, push
from tests.stress.refusing import MESSAGE
from tests.stress.rig import Rig, endings, timed
from tests.support.servers import Server
from tests.support.stack import Ended
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
    """Whether all workers and the server are killed once everything is parked."""
    kill_at_half: bool = True
    """Whether all workers are killed once more when half of it is due. What they have under way then, others get after
    the visibility timeout, and what they had begun to send ends as unknown."""

    @property
    def budget_seconds(self) -> float:
        """Of the retries. The visibility timeout is longer than it, by less than a minute."""
        return 2.5 * self.retry_seconds

    @property
    def environment(self) -> dict[str, str]:
        """Settings of the workers."""
        return {
            "ORDERS_RETRY__INITIAL_SECONDS": f"{self.retry_seconds:g}",
            "ORDERS_RETRY__MAX_SECONDS": f"{2 * self.retry_seconds:g}",
            "ORDERS_RETRY__BUDGET_SECONDS": f"{self.budget_seconds:g}",
        }


def run(parking: Parking) -> dict[str, Any]:
    """Park, kill, start again, and look when each command came; the figures."""
    figures: dict[str, Any] = {}
    with Rig(workers=parking.workers, **parking.environment) as rig, timed(figures, "seconds"):
        rig.warm_up()
        figures["worker_mb_before"] = rig.memory_mb() / parking.workers
        before = server_bytes(rig)
        pairs = _park(rig, parking)
        figures["worker_mb_parked"] = rig.memory_mb() / parking.workers
        figures |= _told(rig, len(pairs), server_bytes(rig) - before)
        dues = due_times(rig)
        assert dues.keys() == pairs.keys(), "a command is parked under another id"
        away: list[tuple[float, float]] = []
        if parking.kill:
            away.append(_kill(rig, rig.server))
            assert due_times(rig) == dues, "what is parked has changed through the kill"
        if parking.kill_at_half:
            at_half = sorted(dues.values())[len(dues) // 2]
            time.sleep(max(0.0, at_half / 1000 - time.time()))
            away.append(_kill(rig))
        ends = rig.ends([*pairs], parking.first_seconds + parking.spread_seconds + parking.budget_seconds + 120)
        rig.drained()
        figures["closes"] = endings(ends)
        figures |= _kept_times(rig, {end.command_id: (pairs[end.command_id], end) for end in ends}, dues, away)
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
    _wait_parked(rig, count, parking)
    retried = rig.closes("a", parking.by_retry)
    rig.venue("a").fault("envelope", message=MESSAGE, times=max(1, parking.by_retry))
    sent = rig.send(retried)
    pairs |= {command_id: each.arguments()["pair"] for command_id, each in zip(sent, retried, strict=True)}
    _wait_parked(rig, len(pairs), parking)
    return pairs


def _wait_parked(rig: Rig, count: int, parking: Parking) -> None:
    def parked() -> int:
        return int(rig.broker.zcard(PARKED))

    until(
        lambda: parked() == count, lambda: f"{count} parked, and there are {parked()}", parking.first_seconds, every=0.1
    )


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


def _kill(rig: Rig, *servers: Server) -> tuple[float, float]:
    """SIGKILL for all workers, and for servers; they start again. From when to when they were away, UNIX ms."""
    began = time.time()
    for node in (*rig.workers, *servers):
        node.kill()
    for server in servers:
        server.start()
    for worker in rig.workers:
        worker.start()
    for worker in rig.workers:
        worker.ready()
    return began * 1000, time.time() * 1000


def _kept_times(
    rig: Rig,
    ended: Mapping[str, tuple[str, Ended]],
    dues: Mapping[str, float],
    away: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """How often each command was executed, and how late it came when workers were there."""
    executed: dict[str, list[float]] = {pair: [] for pair, _ in ended.values()}
    for alias in rig.simulators:
        for each in rig.venue(alias).executions(path="/auth/close"):
            executed[each.fields["pair"]].append(each.time_ms)
    late = [
        executed[pair][0] - dues[command_id]
        for command_id, (pair, _) in ended.items()
        # What was due shortly before a kill may have been under way then.
        if executed[pair] and not any(since - 1000 <= dues[command_id] <= back for since, back in away)
    ]
    accepted = [pair for pair, end in ended.values() if end.report["outcome"] == "accepted"]
    return {
        "lost": sum(not executed[pair] for pair in accepted),
        "repeated": sum(len(times) > 1 for times in executed.values()),
        "late_count": len(late),
        "early": sum(each < 0 for each in late),
        **spread(late, "late"),
    }
