"""A venue that bans for the request that is one too many: how its limits are kept, and how a ban is heeded."""

import time
from dataclasses import dataclass
from typing import Any

from tests.stress.rig import Rig, endings, key
from worker.simulator.accounts import most_within
from worker.simulator.records import Arrival
from worker.venues.everstrike.adapter import Everstrike

DEFAULT_LIMITS = " ".join(map(str, Everstrike.rate_limits))
"""As they hold at the venue's own address; at a simulator's none does unless it is set."""


@dataclass(frozen=True)
class Ban:
    """When the venue bans, and what is sent meanwhile."""

    requests: int = 10
    """More than so many in a second begin a ban."""
    seconds: float = 30
    workers: int = 4
    commands: int = 200
    limits: str = DEFAULT_LIMITS
    watched_seconds: float = 60
    """How long the limits are watched while a backlog waits."""
    latency_ms: int = 300

    @property
    def environment(self) -> dict[str, str]:
        """Settings of the workers; a command may wait for the end of a ban."""
        return {"ORDERS_ACCOUNTS__A__RATE_LIMITS": self.limits, "ORDERS_RETRY__BUDGET_SECONDS": f"{3 * self.seconds:g}"}


def run_within_limits(ban: Ban) -> dict[str, Any]:
    """A backlog under the limits: the figures tell of bans."""
    with Rig(workers=ban.workers, **ban.environment) as rig:
        venue = rig.venue("a")
        venue.limit(ban.requests, 1.0, ban_seconds=ban.seconds)
        rig.send(rig.closes("a", ban.commands))
        time.sleep(ban.watched_seconds)
        arrivals, (limit,) = venue.arrivals(), venue.limits()
        return {
            "requests": len(arrivals),
            "bans": len(limit["bans"]),
            "limited": limit["limited"],
            "most_in_1_s": most_within(arrivals, 1),
            "most_in_20_s": most_within(arrivals, 20),
        }


def run_forced(ban: Ban, *, backlog: bool = False) -> dict[str, Any]:
    """A ban by hand, which one command meets; then all the others, or with ``backlog`` the others before it; the
    figures tell of requests during the ban, and of the first ones after it."""
    with Rig(workers=ban.workers, **ban.environment | {"ORDERS_ACCOUNTS__A__RATE_LIMITS": f"{ban.requests}/1s"}) as rig:
        rig.warm_up(2)
        venue = rig.venue("a")
        venue.configure(latency_ms=ban.latency_ms)
        limit_id = venue.limit(ban.requests, 1.0, ban_seconds=ban.seconds)
        commands = rig.closes("a", ban.commands + 1)
        since = venue.arrivals()[-1].seq
        if backlog:
            closed = rig.send(commands)
            venue.wait(arrivals=ban.commands // 4, since=since, timeout=60)
            venue.ban(limit_id, key("a"))
        else:
            venue.ban(limit_id, key("a"))
            closed = rig.send(commands[:1])
            venue.wait(arrivals=1, since=since, timeout=60)
            time.sleep(ban.latency_ms / 1000 + 0.2)  # until its answer is read and on record
            closed += rig.send(commands[1:])
        ends = rig.ends(closed, ban.seconds + ban.commands / ban.requests + 120)
        (limit,) = venue.limits()
        return {"closes": endings(ends), **_around(venue.arrivals(since=since), limit["bans"], ban)}


def _around(arrivals: list[Arrival], bans: list[dict[str, Any]], ban: Ban) -> dict[str, Any]:
    """What came during the first ban and right after it."""
    began, ends = bans[0]["began"], bans[0]["ends"]
    during = [each.monotonic for each in arrivals if began <= each.monotonic < ends]
    after = sorted(each.monotonic for each in arrivals if each.monotonic >= ends)
    return {
        "bans": len(bans),
        "requests_during": len(during),
        "last_of_them_ms": 1000 * (max(during) - min(during)),
        "probe_after_end_ms": 1000 * (after[0] - ends),
        "until_the_probe_is_answered": sum(each < after[0] + ban.latency_ms / 1000 for each in after),
        "requests_after": len(after),
        "most_in_1_s": most_within(arrivals, 1),
    }
