"""What tests of several packages share."""

from collections.abc import Iterator

import pytest

from worker.simulator.server import SimulatorServer


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[SimulatorServer]:
    """One process for this module."""
    with SimulatorServer() as running:
        yield running


@pytest.fixture
def simulator(shared_simulator: SimulatorServer) -> SimulatorServer:
    """The simulator with nothing recorded and no faults."""
    shared_simulator.control.reset()
    return shared_simulator
