"""What these tests share: the simulator, workers that end with the test, and commands that the venue can tell apart."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from producers.client import OrderClient, Sent
from producers.commands import Withdraw
from producers.errors import BrokerUnavailable
from tests.support.certificates import CertificateAuthority
from tests.support.node import running
from tests.support.stack import demo_accounts
from tests.support.workers import QUICK, WorkerNode
from worker.simulator.server import SimulatorServer
from worker.simulator.simulator import DEMO_EVERSTRIKE_KEY as KEY

MakeWorker = Callable[..., WorkerNode]
PATIENT = {**QUICK, "ORDERS_HTTP__READ_TIMEOUT_SECONDS": "30"}
"""Settings of a worker that a test kills while it waits for the venue, which a busy machine must not end for it."""


def withdrawal() -> Withdraw:
    """A withdrawal that is recognised at the venue by its address."""
    return Withdraw(account="main", asset="ETH", qty="0.001", address=f"0x{uuid4().hex}")


def executed(simulator: SimulatorServer, field: str = "address") -> Counter[str]:
    """How often each command took effect, by a field that is its own."""
    return Counter(e.fields[field] for e in simulator.control.executions() if field in e.fields)


def enqueue_persistently(client: OrderClient, commands: Sequence[Any]) -> list[Sent]:
    """Enqueue under ids of their own, again while no server is there, as docs/deploying.md tells."""
    batch = [(command, str(uuid4())) for command in commands]
    ends_at = time.monotonic() + 120
    while True:
        try:
            return client.enqueue_many(batch)
        except BrokerUnavailable:
            assert time.monotonic() < ends_at, "the broker did not come back"
            time.sleep(0.05)


class Authorities(NamedTuple):
    """The CA that signs the certificates of servers, and another one."""

    ours: CertificateAuthority
    theirs: CertificateAuthority


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    """Two CAs."""
    folder = tmp_path_factory.mktemp("certificates")
    return Authorities(CertificateAuthority(folder, "ours"), CertificateAuthority(folder, "theirs"))


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


@pytest.fixture
def make_worker(simulator: SimulatorServer, tmp_path: Path) -> Iterator[MakeWorker]:
    """``make_worker(*options, **settings)``: a worker, started and ready; all end with the test."""
    with ExitStack() as made:

        def make(*options: str, **settings: str) -> WorkerNode:
            node = WorkerNode(tmp_path / "nodes", {**PATIENT, **demo_accounts(simulator.url), **settings}, options)
            made.enter_context(running(node))
            return node

        yield make
