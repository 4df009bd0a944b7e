"""Lanes while workers are killed: is the order of each kept at the venue, and does each go on?

python -m tests.faults.lanes                            1,000 closes in 20 lanes, one of four workers killed each second
python -m tests.faults.lanes --count 200 --lanes 10     fewer

Half of the lanes wait until an unknown outcome is settled, which an operator does by the venue's book; the others pass.
"""

import argparse
import random
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from signal import SIGKILL
from typing import Any

from producers.client import OrderClient
from producers.commands import Close
from producers.errors import BrokerUnavailable
from producers.report import Outcome, Reason
from tests.faults.fleet import until
from tests.faults.rig import Rig
from tests.faults.traffic import PAIR
from tests.support.checker.commands import KEYS
from worker.ledger.redis import RedisLedger
from worker.simulator.records import Change, Position

ACCOUNTS = (*KEYS,)
ENDS = ("settle", "abandon", "refuse", "resolve")
"""Events of the journal that end a command; each has its outcome."""
BATCH = 5
"""So many commands of a lane are enqueued at once."""


@dataclass
class LanesTrial:
    """Closes that the venue's book tells apart: every second by its quantity, the others by their markets, which may be
    sent again after their worker's death."""

    count: int
    lanes: int
    seed: int = 1
    kills: int = 0
    order: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By lane: ids as they were sent."""
    marks: dict[str, str] = field(default_factory=dict)
    """What the venue's book shows of a command, by id: its quantity, or its market."""

    def run(self, *, kills_every: float = 1.0, latency_ms: int = 100, seconds: float = 300.0) -> str:
        """Send everything, kill workers until it has ended, and check the order; what happened, in words.

        Raises:
            AssertionError, TimeoutError: something is wrong.
        """
        with Rig(one_server=True) as rig:
            for key in KEYS.values():
                pairs = [Position(pair=f"P_{number}", size=Decimal(1)) for number in range(self.count)]
                positions = (Position(pair=PAIR, size=Decimal(10**9)), *pairs)
                rig.venue.change(Change(api_key=key, positions=positions))
            rig.venue.configure(latency_ms=latency_ms)
            rig.fleet.start(4, keep=True)
            ended = threading.Event()
            beside = [
                threading.Thread(target=each, args=(rig, ended, kills_every)) for each in (self._kill, self._settle)
            ]
            for thread in beside:
                thread.start()
            try:
                self._send(rig)
                missing = self._missing(rig)
                until(lambda: not self._missing(rig), lambda: f"without an end: {missing[:3]}", seconds)
                until(rig.is_drained, lambda: "nothing is queued or unacknowledged", 60)
                until(lambda: not rig.broker.zcard("orders.lanes"), lambda: "no lane is held", 60)
            finally:
                ended.set()
                for thread in beside:
                    thread.join()
            return self._check(rig)

    def passes(self, lane: int) -> bool:
        """Whether a lane goes on after an unknown."""
        return lane % 2 == 0

    def _kill(self, rig: Rig, ended: threading.Event, every: float) -> None:
        dice = random.Random(self.seed)
        while not ended.wait(every):
            if living := rig.fleet.living():
                self.kills += dice.choice(living).signal(SIGKILL)

    def _settle(self, rig: Rig, ended: threading.Event, _: float) -> None:
        """An operator settles what is unknown in lanes that wait for it, once it can't arrive at the venue any more."""
        ledger, lane_of = RedisLedger(rig.ledger), {}
        while not ended.wait(0.5):
            lane_of = {each: lane for lane, ids in [*self.order.items()] for each in [*ids]}
            for command_id in rig.ledger.zrangebyscore("orders:unknown", "-inf", (time.time() - 2) * 1000):
                record = ledger.read(command_id)
                if record and record.report and not self.passes(lane_of[command_id]):
                    done = self.marks[command_id] in self._book(rig)
                    outcome, reason = (Outcome.ACCEPTED, Reason.OK) if done else (Outcome.NOT_SENT, Reason.UNAVAILABLE)
                    settled = record.report.model_copy(update={"outcome": outcome, "reason": reason})
                    ledger.resolve(settled, who="ann", why="the venue's book")

    def _send(self, rig: Rig) -> None:
        with OrderClient(rig.queue_settings) as client:
            for start in range(0, self.count, BATCH):
                lane = start // BATCH % self.lanes
                account = ACCOUNTS[lane % len(ACCOUNTS)]
                pairs = [
                    self._close(client, account, number) for number in range(start, min(start + BATCH, self.count))
                ]
                self.order[lane] += [command_id for _, command_id in pairs]
                on_unknown: Any = "pass" if self.passes(lane) else "hold"
                with suppress(BrokerUnavailable):
                    client.enqueue_many(pairs, lane=f"lane-{lane}", lane_on_unknown=on_unknown)

    def _close(self, client: OrderClient, account: str, number: int) -> tuple[Close, str]:
        command_id = client.command_id()
        by_quantity = number % 2 == 0
        qty = format((Decimal(1) + number).scaleb(-6), "f")
        self.marks[command_id] = str(Decimal(qty).normalize()) if by_quantity else f"P_{number}"
        whole = Close(account=account, pair=f"P_{number}")
        return (Close(account=account, pair=PAIR, qty=qty) if by_quantity else whole), command_id

    def _missing(self, rig: Rig) -> list[str]:
        found = rig.results([*self.marks])
        return [each for each in self.marks if each not in found]

    @staticmethod
    def _book(rig: Rig) -> list[str]:
        """The venue's book in its order."""
        rows = [each.fields for each in rig.venue.executions()]
        return [str(Decimal(row["qty"]).normalize()) if "qty" in row else row["pair"] for row in rows]

    def _check(self, rig: Rig) -> str:
        book, journal = self._book(rig), [fields for _, fields in rig.ledger.xrange("orders:journal")]
        assert len(set(book)) == len(book), "something was executed twice"
        place = {mark: at for at, mark in enumerate(book)}
        begun, over = defaultdict[str, list[int]](list), dict[str, int]()
        lanes = {each: lane for lane, ids in self.order.items() for each in ids}
        for at, entry in enumerate(journal):
            command_id = entry["id"]
            if entry["event"] == "begin":
                begun[command_id].append(at)
            elif entry["event"] in ENDS and (entry["outcome"] != "unknown" or self.passes(lanes[command_id])):
                over.setdefault(command_id, at)
        for lane, ids in self.order.items():
            executed = [place[self.marks[each]] for each in ids if self.marks[each] in place]
            assert executed == sorted(executed), f"lane {lane}: the book has another order"
            for before, after in pairwise(ids):
                first = min(begun[after], default=over[after])
                assert over[before] < first, f"lane {lane}: {after} began before {before} had ended"
                assert max(begun[before], default=-1) < first
        doubtful = sum(entry["outcome"] == "unknown" for entry in journal)
        taken_over = sum(len(times) - 1 for times in begun.values() if times)
        words = (
            f"{len(self.marks)} closes in {len(self.order)} lanes, {len(book)} executed, {doubtful} unknown at first"
        )
        return f"{words}, {taken_over} begun again, {self.kills} kills: the order of every lane was kept"


def main() -> None:
    """Run it, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--lanes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    started = time.monotonic()
    print(LanesTrial(chosen.count, chosen.lanes, chosen.seed).run(), f"({time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    sys.exit(main())
