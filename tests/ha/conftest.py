"""What these tests share: the simulator, and workers that end with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from producers.commands import Withdraw
from tests.support.stack import demo_accounts
from tests.support.workers import QUICK, WorkerNode
from worker.simulator.server import SimulatorServer
from worker.simulator.simulator import DEMO_EVERSTRIKE_KEY as KEY


def withdrawal() -> Withdraw:
    """One that is recognised at the venue by its address."""
    return Withdraw(account="main", asset="ETH", qty="0.001", address=f"0x{uuid4().hex}")


@pytest.fixture(scope="module")
def venue() -> Iterator[SimulatorServer]:
    """A venue of this module's own."""
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def simulator(venue: SimulatorServer) -> SimulatorServer:
    """The venue, which has seen nothing yet: no test waits for another one's arrivals or meets its faults."""
    venue.control.reset()
    venue.control.balance(KEY, "ETH", "100000")
    venue.control.position(KEY, "USD_BTC_PERP", "1000")
    return venue


MakeWorker = Callable[..., WorkerNode]


@pytest.fixture
def make_worker(simulator: SimulatorServer, tmp_path: Path) -> Iterator[MakeWorker]:
    """``make_worker(*options, **settings)``: a worker, started and ready; all end with the test."""
    made: list[WorkerNode] = []

    def make(*options: str, wait: bool = True, **settings: str) -> WorkerNode:
        node = WorkerNode(tmp_path / "nodes", {**QUICK, **demo_accounts(simulator.url), **settings}, options)
        made.append(node)
        node.start()
        if wait:
            node.ready()
        return node

    yield make
    for node in made:
        node.teardown()
