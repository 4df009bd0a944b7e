"""Where the integration tests get their nodes: pytest-celery's fixtures, answered by local processes."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
)

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the tests' own package, also where the project is installed from a wheel

from tests.integration.channel_rig import Broker  # noqa: E402
from tests.nodes import (  # noqa: E402
    IN_CONTAINERS,
    BackendNode,
    Bed,
    BrokerNode,
    ServerNode,
    Setup,
    WorkerNode,
    demo_accounts,
)
from tests.nodes.bed import ledger_url  # noqa: E402
from tests.nodes.worker import QUICK  # noqa: E402
from worker.simulator.server import SimulatorServer  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def no_container_left_behind(no_process_left_behind: None) -> Iterator[None]:
    """Fail the run when a container that a test started is still there at its end; then remove it."""
    yield
    if IN_CONTAINERS:
        from tests.nodes.container import left_behind

        left = left_behind(os.environ["TEST_SESSION_MARK"])
        assert not left, f"tests left containers behind: {left}"


# -- pytest-celery's fixtures: fresh nodes for each test that asks for `celery_setup` -------------------------------


@pytest.fixture
def celery_broker(tmp_path: Path) -> Iterator[BrokerNode]:
    """A fresh durable server."""
    server = ServerNode(tmp_path / "nodes")
    server.start()
    server.ready()
    node = BrokerNode(server)
    yield node
    node.teardown()


@pytest.fixture
def celery_backend(celery_broker: BrokerNode) -> Iterator[BackendNode]:
    """The broker's server with another database; a test that needs another server overrides this."""
    node = BackendNode(celery_broker.container)
    yield node
    node.teardown()


@pytest.fixture
def worker_environment(simulator: SimulatorServer) -> dict[str, str]:
    """Settings of this test's workers beside the addresses; a test that needs others overrides this."""
    return {**QUICK, **demo_accounts(simulator.url)}


@pytest.fixture
def make_worker(
    celery_worker_cluster_config: Mapping[str, Any], worker_environment: Mapping[str, str], tmp_path: Path
) -> Iterator[Callable[..., CeleryTestWorker]]:
    """Make one more worker of this test's setup, started and ready; all end with the test."""
    addresses = addresses_of(celery_worker_cluster_config)
    made: list[CeleryTestWorker] = []

    def make(*options: str, **environment: str) -> CeleryTestWorker:
        process = WorkerNode(tmp_path / "nodes", {**addresses, **worker_environment, **environment}, options)
        node = CeleryTestWorker(process, app=None)
        made.append(node)
        process.start()
        process.ready()
        return node

    yield make
    for node in made:
        node.teardown()


@pytest.fixture
def celery_worker(make_worker: Callable[..., CeleryTestWorker]) -> CeleryTestWorker:
    """A fresh worker."""
    return make_worker()


@pytest.fixture
def celery_setup_cls() -> type[CeleryTestSetup]:
    """The setup with a foreign client."""
    return Setup


@pytest.fixture
def stage(celery_setup: CeleryTestSetup, simulator: SimulatorServer) -> Iterator[Bed]:
    """A bed of this test's own, over `celery_setup`: for tests that kill its nodes."""
    simulator.control.reset()
    bed = Bed(celery_setup, simulator)
    yield bed
    simulator.control.reset()
    bed.close()


def addresses_of(config: Mapping[str, Any]) -> dict[str, str]:
    """A worker's addresses from pytest-celery's cluster configuration; the ledger is the broker's database 2."""
    (broker,) = config["celery_broker_cluster_config"]["urls"]
    (backend,) = config["celery_backend_cluster_config"]["urls"]
    return {"ORDERS_BROKER_URL": broker, "ORDERS_RESULT_BACKEND": backend, "ORDERS_LEDGER_URL": ledger_url(broker)}


# -- beds that a module shares ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorServer]:
    """One simulator for all tests; whoever uses it resets it first."""
    with SimulatorServer() as server:
        yield server


@pytest.fixture(scope="module")
def make_bed(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Bed]]:
    """`make_bed(workers=1, started=1, **environment)`: a bed that lives as long as the module, for starting one costs
    seconds. With `defaults` its workers have the product's own retries and timeouts; `venue` is a simulator of its own
    for a bed that is used while others are."""
    ends: list[Callable[[], None]] = []

    def make(
        workers: int = 1,
        *,
        started: int | None = None,
        defaults: bool = False,
        options: Sequence[str] = (),
        venue: SimulatorServer = simulator,
        **environment: str,
    ) -> Bed:
        folder = tmp_path_factory.mktemp("bed")
        server = ServerNode(folder)
        ends.append(server.teardown)
        server.start()
        server.ready()
        brokers = CeleryBrokerCluster(BrokerNode(server))
        backends = CeleryBackendCluster(BackendNode(server))
        config = {
            "celery_broker_cluster_config": brokers.config(),
            "celery_backend_cluster_config": backends.config(),
        }
        settings = {
            **({} if defaults else QUICK),
            **demo_accounts(venue.url),
            **addresses_of(config),
            **environment,
        }
        processes = [WorkerNode(folder, settings, options) for _ in range(workers)]
        ends.extend(process.teardown for process in processes)
        for process in processes[:started]:
            process.start()
        for process in processes[:started]:
            process.ready()
        app = Setup.create_setup_app(Setup.config(config), Setup.name())
        cluster = CeleryWorkerCluster(*(CeleryTestWorker(process, app=app) for process in processes))
        bed = Bed(Setup(cluster, brokers, backends, app), venue)
        ends.append(bed.close)
        return bed

    yield make
    for end in reversed(ends):
        end()


@pytest.fixture(scope="module")
def server() -> Iterator[Broker]:
    """One server for all tests of a file of the channel's."""
    with Broker() as running:
        yield running


@pytest.fixture
def broker(server: Broker) -> Broker:
    """The server, emptied."""
    server.flush()
    return server
