"""Stacks of the integration tests: a server, workers and the simulator, shared as widely as the tests allow."""

import base64
import contextlib
import functools
import gc
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pytest_celery import CeleryBackendCluster, CeleryBrokerCluster, CeleryTestWorker, CeleryWorkerCluster

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the tests' own package, also where the project is installed from a wheel

from producers.client import OrderClient  # noqa: E402
from tests.integration.channel_rig import Broker  # noqa: E402
from tests.integration.crash_rig import crash  # noqa: E402, F401 - a fixture
from tests.support.backend import IN_CONTAINERS  # noqa: E402
from tests.support.orders_program import Orders, orders_in_process  # noqa: E402
from tests.support.redis_node import BackendNode, BrokerNode, ServerNode  # noqa: E402
from tests.support.stack import Setup, Stack, demo_accounts, ledger_url  # noqa: E402
from tests.support.workers import QUICK, WorkerNode  # noqa: E402
from worker.simulator.server import SimulatorServer  # noqa: E402

RECONCILE_AT_ONCE = {
    "ORDERS_RECONCILE__SETTLE_SECONDS": "0",
    "ORDERS_RECONCILE__APART_SECONDS": "0",
    "ORDERS_RECONCILE__ARRIVAL_SECONDS": "0",
}

REPORT_FIELDS = {
    *("command_id", "command", "account", "venue", "outcome", "reason", "message"),
    *("http_status", "venue_code", "venue_message", "result", "positions", "fingerprint", "attempts"),
    *("enqueued_at", "first_sent_at", "last_signed_at", "finished_at", "replayed", "signature"),
}
"""The contract's fields of a report, all of them and no other."""


@pytest.fixture(scope="session", autouse=True)
def no_container_left_behind(no_process_left_behind: None) -> Iterator[None]:
    """Fail the run when a container that a test started is still there at its end; then remove it."""
    yield
    if IN_CONTAINERS:
        from tests.support.containers import left_behind

        left = left_behind(os.environ["TEST_SESSION_MARK"])
        assert not left, f"tests left containers behind: {left}"


# -- stacks ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorServer]:
    """One simulator for all tests; whoever uses it resets it first."""
    with SimulatorServer() as server:
        yield server


@contextlib.contextmanager
def stack_factory(simulator: SimulatorServer, folders: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    """See :func:`make_bed`; all that was made ends with the block."""
    with contextlib.ExitStack() as ends:
        yield functools.partial(start_stack, ends, simulator, folders)
        gc.collect()  # Celery's results unsubscribe when they are collected, which must not be after the server's end


def start_stack(
    ends: contextlib.ExitStack,
    simulator: SimulatorServer,
    folders: pytest.TempPathFactory,
    workers: int = 1,
    *,
    started: int | None = None,
    defaults: bool = False,
    venue: SimulatorServer | None = None,
    results_elsewhere: bool = False,
    options: Sequence[str] = (),
    **environment: str,
) -> Stack:
    """See :func:`make_bed`."""
    folder = folders.mktemp("stack")
    venue = venue or simulator
    servers = [ServerNode(folder) for _ in range(1 + results_elsewhere)]
    start(ends, servers)
    brokers, backends = CeleryBrokerCluster(BrokerNode(servers[0])), CeleryBackendCluster(BackendNode(servers[-1]))
    config = {"celery_broker_cluster_config": brokers.config(), "celery_backend_cluster_config": backends.config()}
    (broker,), (backend,) = (each["urls"] for each in config.values())
    # A venue that is there answers within this time on any machine, however busy.
    quick = {} if defaults else {**QUICK, "ORDERS_HTTP__READ_TIMEOUT_SECONDS": "20"}
    addresses = {
        "ORDERS_BROKER_URL": broker,
        "ORDERS_RESULT_BACKEND": backend,
        "ORDERS_LEDGER_URL": ledger_url(broker),
    }
    settings = {**quick, **demo_accounts(venue.url), **addresses, **environment}
    nodes = [WorkerNode(folder, settings, options) for _ in range(workers)]
    start(ends, nodes, started)
    app = Setup.create_setup_app(Setup.config(config), Setup.name())
    cluster = CeleryWorkerCluster(*(CeleryTestWorker(node, app=app) for node in nodes))
    bed = Stack(Setup(cluster, brokers, backends, app), venue)
    ends.callback(bed.close)
    return bed


def start(ends: contextlib.ExitStack, nodes: Sequence[Any], count: int | None = None) -> None:
    """Start the first so many nodes together; all of them end with the stack."""
    for node in nodes:
        ends.callback(node.teardown)
    for node in nodes[:count]:
        node.start()
    for node in nodes[:count]:
        node.ready()


@pytest.fixture(scope="module")
def make_bed(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    """`make_bed(workers=1, started=1, **environment)`: a stack that lives as long as the module, for starting one costs
    seconds. With `defaults` its workers have the product's own retries and timeouts; `venue` is a simulator of its own
    for a stack that is used while others are; with `results_elsewhere` the result backend is a server of its own."""
    with stack_factory(simulator, tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="session")
def shared_stack(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two workers for all tests that kill nothing and need no settings of their own."""
    with stack_factory(simulator, tmp_path_factory) as make:
        made = make(workers=2, **RECONCILE_AT_ONCE)
        # Results that it subscribes to would unsubscribe when Python ends, after their server.
        made.setup.app.backend.on_task_call = lambda *_: {}
        yield made


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """The shared stack with the simulator as at its start; afterwards all is executed, by the same processes."""
    shared_stack.reset_venue()
    pids = [worker.container.pid for worker in shared_stack.workers]
    yield shared_stack
    shared_stack.venue.clear_faults()
    shared_stack.venue.release("drop")
    shared_stack.drained(60)
    assert [worker.container.pid for worker in shared_stack.workers] == pids
    assert {worker.container.status for worker in shared_stack.workers} == {"running"}


@pytest.fixture
def client(stack: Stack) -> Iterator[OrderClient]:
    with OrderClient(stack.queue_settings) as orders:
        yield orders


def log_sizes(stack: Stack) -> list[int]:
    """How much each worker has said, for `logs`."""
    return [worker.container.log_size() for worker in stack.workers]


def logs(stack: Stack, since: Sequence[int] = (0, 0)) -> str:
    """What all workers have said."""
    return "\n".join(worker.container.logs_from(size) for worker, size in zip(stack.workers, since, strict=False))


def journal_events(stack: Stack, command_id: str) -> list[str]:
    return [entry["event"] for _, entry in stack.ledger.xrange("orders:journal") if entry["id"] == command_id]


Ids = Callable[[str], str]


@pytest.fixture
def ids() -> Ids:
    """Ids and queues of this test alone, by a word."""
    run = uuid4().hex[:8]
    return lambda word: f"{word}-{run}"


# -- messages as any client may write them -----------------------------------------------------------------------------

CANCEL = {"account": "main", "order_id": "order-1"}
TAKEN_UP = ("accepted", "rejected")
"""Outcomes of a cancel that reached the venue."""


def put(
    stack: Stack,
    queue: str,
    *,
    body: Any = ([], CANCEL, {}),
    raw: bytes = b"",
    content_type: str = "json",
    **changes: Any,
) -> str:
    """Put a message on a queue's list as any client may write it; returns it. ``changes`` are its headers; one that is
    ``...`` is left out."""
    headers = {"lang": "py", "task": queue, "id": str(uuid4()), **changes}
    text = json.dumps(
        {
            "body": base64.b64encode(raw or json.dumps(body).encode()).decode(),
            "content-type": f"application/{content_type}",
            "content-encoding": "utf-8",
            "headers": {name: value for name, value in headers.items() if value is not ...},
            "properties": {
                "delivery_tag": str(uuid4()),
                "body_encoding": "base64",
                "priority": 0,
                "delivery_info": {"exchange": "", "routing_key": queue},
            },
        }
    )
    stack.broker.lpush(queue, text)
    return text


def put_with_id(stack: Stack, **message: Any) -> str:
    """Put a message on the queue of cancels; the id that it names."""
    command_id = str(uuid4())
    put(stack, "orders.cancel", **{"id": command_id, **message})
    return command_id


def tail(stack: Stack) -> str:
    return logs(stack)[-4000:]


def check_alive(stack: Stack) -> None:
    assert stack.ended(stack.send("orders.cancel", **CANCEL), 60).outcome[0] in TAKEN_UP


# -- the `orders` program ----------------------------------------------------------------------------------------------


def run_orders(
    environment: Mapping[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Orders:
    """The program with these settings."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return orders_in_process(capsys)


@pytest.fixture
def orders(stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Orders:
    """The program with the settings of the stack's workers."""
    return run_orders(stack.worker.environment, capsys, monkeypatch)


# -- servers of the transport's tests ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Broker]:
    """One server for all tests of a file."""
    with Broker() as running:
        yield running


@pytest.fixture
def broker(server: Broker) -> Broker:
    """The server, emptied."""
    server.flush()
    return server
