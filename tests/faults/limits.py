"""Withdrawals under limits, with workers killed all the time, lost replies and a server that is restarted.

python -m tests.faults.limits                 200 withdrawals, four workers, one killed each second
python -m tests.faults.limits --count 50      fewer
"""

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from signal import SIGKILL
from typing import Any
from uuid import UUID

from producers.report import Outcome, Reason, Report
from tests.faults.fleet import until
from tests.faults.rig import Rig
from tests.faults.traffic import Sender
from tests.support.checker.commands import Sent
from worker.ledger.redis import RedisLedger

WINDOW_MS = 86_400_000
KEYS = (f"main/ETH/{WINDOW_MS}", f"main/ETH/{7 * WINDOW_MS}")
FAULTS: tuple[dict[str, Any] | None, ...] = (
    *(None,) * 8,
    *({"kind": "cut_after"},) * 4,
    *({"kind": "cut_before"},) * 2,
    {"kind": "silent"},
    *({"kind": "envelope", "message": "Invalid request"},) * 3,
    *({"kind": "envelope", "status": 429, "message": "Too many requests"},) * 2,
)
"""What the venue does to a withdrawal, drawn for each: nothing; executed or not and its reply lost; refused for
good, or for the moment."""
MAY_BE_EXECUTED = (Outcome.ACCEPTED, Outcome.UNKNOWN)


class LimitedRig(Rig):
    """Workers with a policy: one cap on the total, another on the total and the number."""

    def __init__(self, addresses: list[str], total: Decimal, count: int) -> None:
        super().__init__(one_server=True)
        destinations = (
            f'[[withdrawals.main.to]]\nname = "to-{number}"\nasset = "ETH"\naddress = "{address}"\n'
            for number, address in enumerate(addresses)
        )
        limits = ("24h", f'total = "{total}"'), ("7d", f'total = "{total * 2}"\ncount = {count}')
        rules = (f'[[withdrawals.main.limit]]\nasset = "ETH"\nwindow = "{window}"\n{most}\n' for window, most in limits)
        text = "\n".join(["[withdrawals.main]", *destinations, *rules, "[approvers]"])
        (self.folder / "policy.toml").write_text(text)

    @property
    def environment(self) -> dict[str, str]:
        """The workers' environment variables."""
        policy = {"ORDERS_POLICY__MODE": "require", "ORDERS_POLICY_FILE": str(self.folder / "policy.toml")}
        return {**super().environment, **policy}


@dataclass
class LimitsTrial:
    """Withdrawals that together want three times what the limits permit."""

    count: int
    seed: int = 1
    total: Decimal = field(init=False)
    sent: dict[str, Sent] = field(default_factory=dict)
    amounts: dict[str, Decimal] = field(default_factory=dict)
    by_address: dict[str, str] = field(default_factory=dict)
    kills: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        for number in range(self.count):
            command_id = str(UUID(int=self._random.getrandbits(128), version=4))
            address = f"0x{self._random.getrandbits(64):016x}-{number}"
            # Three decimal places more than are counted, so that each is rounded up.
            amount = Decimal(self._random.randrange(10**11, 10**12)).scaleb(-12)
            arguments = {"account": "main", "asset": "ETH", "qty": format(amount, "f"), "address": address}
            self.sent[command_id] = Sent(command_id, "orders.withdraw", arguments)
            self.amounts[command_id], self.by_address[address] = amount, command_id
        self.total = (sum(self.amounts.values(), Decimal(0)) / 3).quantize(Decimal("0.01"))

    def run(self, *, kills_every: float = 1.0, seconds: float = 0.0) -> str:
        """Send everything, over so many seconds, break everything, and check what is left; what happened, in words.

        Raises:
            AssertionError, TimeoutError: something is wrong.
        """
        with LimitedRig([*self.by_address], self.total, self.count // 3) as rig:
            for command in self.sent.values():
                if fault := self._random.choice(FAULTS):
                    rig.venue.fault(**fault, path="withdraw", where={"address": command.kwargs["address"]}, times=1)
            rig.venue.configure(latency_ms=300)
            rig.fleet.start(4, keep=True)
            ended = threading.Event()
            killer = threading.Thread(target=self._kill, args=(rig, ended, kills_every))
            killer.start()
            try:
                self._send_all(rig, ended, seconds / self.count)
            finally:
                ended.set()
                killer.join()
            return self._check(rig)

    def _kill(self, rig: Rig, ended: threading.Event, every: float) -> None:
        while not ended.wait(every):
            if living := rig.fleet.living():
                self.kills += self._random.choice(living).signal(SIGKILL)

    def _send_all(self, rig: Rig, ended: threading.Event, pause: float) -> None:
        sender = Sender(rig.server.url(0))
        commands = [*self.sent.values()]
        for at, command in enumerate(commands):
            time.sleep(pause)
            sender.send(command)
            if at % 10 == 0:
                sender.send(command)  # a sender that tries again
            if at == len(commands) // 2:
                rig.venue.wait(arrivals=5, timeout=30)
                with rig.killed(rig.server):
                    time.sleep(0.5)
                sender = Sender(rig.server.url(0))
        missing: list[str] = []

        def all_reported() -> bool:
            found = rig.results([*self.sent])
            missing[:] = [each for each in self.sent if each not in found]
            if len(missing) < len(self.sent) // 4:
                ended.set()  # what is left ends in peace
            return not missing

        until(all_reported, lambda: f"without a report: {missing[:5]}", 120)
        until(rig.is_drained, lambda: "nothing is queued or unacknowledged", 60)

    # -- what is left --------------------------------------------------------------------------------------------------

    def _check(self, rig: Rig) -> str:
        ledger = RedisLedger(rig.ledger)
        reports = {each: self._report(ledger, each) for each in self.sent}
        executions = rig.venue.executions(path="/auth/withdraw")
        executed = Counter(self.by_address[each.fields["address"]] for each in executions)
        paid = sum((self.amounts[each] for each in executed), Decimal(0))
        assert set(executed.values()) == {1}, executed.most_common(3)
        assert paid <= self.total, f"{paid} was executed, and {self.total} is permitted"
        assert len(executed) <= self.count // 3
        counted = {each for each, report in reports.items() if report.outcome in MAY_BE_EXECUTED}
        assert executed.keys() <= counted
        self._check_counters(rig, counted)
        unknown = [each for each in reports.values() if each.outcome is Outcome.UNKNOWN]
        for report in unknown:  # an operator settles them, each by what the venue has done
            done = report.command_id in executed
            outcome, reason = (Outcome.ACCEPTED, Reason.OK) if done else (Outcome.NOT_SENT, Reason.UNAVAILABLE)
            settled = report.model_copy(update={"outcome": outcome, "reason": reason})
            for _ in range(2):  # the second time changes nothing
                ledger.resolve(settled, who="ann", why="the venue's book")
        self._check_counters(rig, set(executed))
        outcomes = Counter(f"{each.outcome}/{each.reason}" for each in reports.values())
        assert outcomes["not_sent/denied"], "nothing was denied: the limits were not reached"
        words = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        begun = sum(fields["event"] == "begin" for _, fields in rig.ledger.xrange("orders:journal"))
        done = f"{paid} of {self.total} executed in {len(executed)} withdrawals"
        return f"{words}; {done}, {begun} begins, {self.kills} kills"

    def _report(self, ledger: RedisLedger, command_id: str) -> Report:
        record = ledger.read(command_id)
        assert record is not None
        assert record.report is not None, f"{command_id} is {record.state}"
        return record.report

    def _check_counters(self, rig: Rig, counted: set[str]) -> None:
        """Both counters hold exactly these withdrawals, and their sums are exact."""
        billionths = sum(-(-int(self.amounts[each].scaleb(12)) // 1000) for each in counted)
        total = "{}:{}".format(*divmod(billionths, 10**9))
        for key in KEYS:
            entries = rig.ledger.zrange(f"orders:withdrawn:{key}", 0, -1)
            found = {entry.split(":", 2)[2] for entry in entries}
            assert found == counted, f"counted {len(found)} and not {len(counted)}: {json.dumps([*found ^ counted])}"
            assert rig.ledger.hget("orders:withdrawn", key) == (total if counted else None)


def main() -> None:
    """Run it, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20, help="over how long they are sent")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    started = time.monotonic()
    print(
        LimitsTrial(arguments.count, arguments.seed).run(seconds=arguments.seconds),
        f"({time.monotonic() - started:.0f} s)",
    )


if __name__ == "__main__":
    sys.exit(main())
