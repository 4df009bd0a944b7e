"""A worker dies by SIGKILL with commands under way. Another gets them after the visibility timeout, 50 s by default, so
the fixture returns at once, and other tests run until somebody asks how the commands ended."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.stack import Stack
from tests.support.waiting import until
from worker.simulator.server import SimulatorServer

KEY = "demo-everstrike-key"
ACCEPTED, CRASHED, ECHO = ("accepted", "ok"), ("unknown", "crashed"), ("unknown", "refused_after_lost")


def withdrawal(address: str) -> dict[str, Any]:
    """A withdrawal that is recognised at the venue by its address."""
    return {"account": "main", "asset": "ETH", "qty": "0.01", "address": address}


def send_withdrawals(stack: Stack, count: int) -> list[str]:
    return [stack.send("orders.withdraw", **withdrawal(f"0x{number}")) for number in range(count)]


def executed(stack: Stack) -> Counter[str]:
    """How often each withdrawal took effect, by its address."""
    return Counter(each.fields["address"] for each in stack.venue.executions(path="/auth/withdraw"))


def once_each(count: int) -> Counter[str]:
    return Counter(f"0x{number}" for number in range(count))


def state(stack: Stack, command_id: str) -> str:
    """What the ledger says of a command."""
    return str(stack.ledger.hget(f"orders:command:{command_id}", "state") or "")


@dataclass(frozen=True)
class Victim:
    """A command that a worker dies with, and what must come of it."""

    task: str
    arguments: dict[str, str]
    executes: bool
    """Whether the venue had carried it out when the worker died."""
    outcome: tuple[str, str]
    attempts: int
    executions: int

    @property
    def where(self) -> dict[str, str]:
        """How the simulator recognises it."""
        fields = {"pair": "pair", "order_id": "id", "address": "address"}
        return {fields[name]: value for name, value in self.arguments.items() if name in fields}


VICTIMS = {
    # "worker died with a send begun": again by the next worker, unknown, unknown.
    "withdraw, lost": Victim("orders.withdraw", withdrawal("0xlost"), False, CRASHED, 1, 0),
    "withdraw, executed": Victim("orders.withdraw", withdrawal("0xdone"), True, CRASHED, 1, 1),
    "close by quantity, lost": Victim("orders.close", {"pair": "QTY_LOST", "qty": "0.5"}, False, CRASHED, 1, 0),
    "close by quantity, executed": Victim("orders.close", {"pair": "QTY_DONE", "qty": "0.5"}, True, CRASHED, 1, 1),
    "close whole, lost": Victim("orders.close", {"pair": "LOST"}, False, ACCEPTED, 2, 1),
    "cancel, lost": Victim("orders.cancel", {"order_id": "o-lost"}, False, ACCEPTED, 2, 1),
    # "an attempt of unknown fate (also one begun by a worker that died)": the refusal may be its echo.
    # "The position was not found" is not listed: the venue is asked again until the attempts are used up.
    "close whole, executed": Victim("orders.close", {"pair": "DONE"}, True, ECHO, 5, 1),
    "cancel, executed": Victim("orders.cancel", {"order_id": "o-done"}, True, ECHO, 2, 1),
}


@dataclass(frozen=True)
class Crash:
    """A worker that died, and what it died with."""

    stack: Stack
    ids: dict[str, str]
    states: dict[str, str]
    """What the ledger said of each while it was being sent."""
    died_at: datetime


@pytest.fixture(scope="module")
def crash(make_bed: Callable[..., Stack]) -> Iterator[Crash]:
    """One worker dies by SIGKILL with ten commands under way, and another is started. Default settings all over.

    The stack has a simulator of its own: other tests run while these commands wait for their redelivery.
    """
    with SimulatorServer() as venue:
        stack = make_bed(workers=2, started=1, defaults=True, venue=venue, ORDERS_ACCOUNTS__MAIN__THREAD_SHARE="1")
        ids = {name: send_and_hold(stack, each) for name, each in VICTIMS.items()}
        stack.venue.position(KEY, "WAIT", "1")
        stack.venue.fault("status", path="close", where={"pair": "WAIT"}, status=429, retry_after="15")
        stack.venue.fault("hold", path="positions")
        ids["positions"] = stack.send("orders.positions", account="main")
        stack.venue.wait(arrivals=9, timeout=60)
        # The last one: its answer is a cool-down for the account.
        ids["waiting"] = stack.send("orders.close", account="main", pair="WAIT", qty="0.5")
        # By the ledger first, then at the broker: in between, its message would come only after the visibility timeout.
        until(lambda: stack.broker.zcard("orders.close.parked") == 1, "the command being parked")
        states = {name: state(stack, command_id) for name, command_id in ids.items()}
        doomed, heir = (worker.container for worker in stack.workers)
        doomed.kill("SIGKILL")
        died_at = datetime.now(UTC)
        stack.venue.release("drop")
        heir.start()
        yield Crash(stack, ids, states, died_at)


def send_and_hold(stack: Stack, victim: Victim) -> str:
    """Send a command that is held at the venue; its id."""
    if "pair" in victim.where:
        stack.venue.position(KEY, victim.where["pair"], "1")
    if "id" in victim.where:
        stack.venue.order(KEY, victim.where["id"])
    path = victim.task.removeprefix("orders.")
    stack.venue.fault("hold", path=path, where=victim.where, execute=victim.executes)
    return stack.send(victim.task, **{"account": "main", **victim.arguments})
