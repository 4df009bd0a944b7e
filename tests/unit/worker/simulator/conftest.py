"""A simulator for the tests of a module."""

from collections.abc import Iterator

import pytest

from worker.simulator.control import SimulatorControl
from worker.simulator.server import SimulatorServer


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    """A simulator in a process of its own."""
    with SimulatorServer() as running:
        yield running


@pytest.fixture
def control(server: SimulatorServer) -> SimulatorControl:
    """The control API of the simulator, which is in its initial state."""
    server.control.reset()
    return server.control
