"""A venue that refuses or hangs for a minute, and what its commands cost those of another venue."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stress.rig import Rig, Stream, endings, timed, waits_in
from tests.support.node import ROOT
from worker.simulator.accounts import most_within

MESSAGE = "Service unavailable"
"""Unlisted: it proves nothing, and a close of a whole position is sent again."""


@dataclass(frozen=True)
class Stress:
    """How venue A fails, and for how long."""

    closes: int = 2000
    seconds: float = 60
    hangs: bool = False
    limit: int = 100
    """Requests a second that A permits; 0 leaves that to the worker, which knows of no limit then."""
    cancels_at_a: float = 5
    cancels_at_b: float = 5
    """Cancels a second."""
    drain_seconds: float = 600
    worker_from: Path = ROOT

    @property
    def environment(self) -> dict[str, str]:
        """Settings of the workers."""
        return {"ORDERS_ACCOUNTS__A__RATE_LIMITS": f"{self.limit}/1s"} if self.limit else {}


def run(stress: Stress) -> dict[str, Any]:
    """One worker; closes for A, which fails, and cancels for both; the figures."""
    figures: dict[str, Any] = {}
    with Rig(worker_from=stress.worker_from, **stress.environment) as rig:
        rig.warm_up()
        closes = rig.closes("a", stress.closes)
        streams = [
            Stream(rig, alias, rate, int(rate * stress.seconds) or 1)
            for alias, rate in (("a", stress.cancels_at_a), ("b", stress.cancels_at_b))
        ]
        venue, since = rig.venue("a"), max(each.seq for each in rig.venue("a").arrivals())
        kind: dict[str, Any] = {"kind": "silent"} if stress.hangs else {"kind": "envelope", "message": MESSAGE}
        venue.fault(**kind, times=None)
        began = time.monotonic()
        with timed(figures, "seconds"):
            closed = rig.send(closes)
            with ExitStack() as sending:
                for stream in streams:
                    sending.enter_context(stream)
                time.sleep(max(0.0, began + stress.seconds - time.monotonic()))
            figures["a_requests_while_failing"] = len(venue.arrivals(since=since))
            venue.clear_faults()
            cancelled = [command_id for stream in streams for command_id in stream.sent]
            ends = rig.ends([*closed, *cancelled], stress.drain_seconds)
        rig.drained()
        arrivals = venue.arrivals(since=since)
        figures |= {"a_requests": len(arrivals), "a_most_in_a_second": most_within(arrivals, 1)}
        ended = {end.command_id: end for end in ends}
        for stream in streams:
            figures[f"cancels_at_{stream.alias}"] = endings(ended[each] for each in stream.sent)
            figures |= waits_in(stream.waits(rig.first_arrivals(stream.alias)), f"{stream.alias}_wire")
        figures["closes"] = endings(ends[: len(closed)])
    return figures
