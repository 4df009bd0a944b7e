"""Commands that wait stand at the server, parked, and keep no thread: what a worker does meanwhile, and what comes of
them when it is killed."""

from collections.abc import Callable, Iterator

import pytest

from tests.integration.crash_rig import ACCEPTED, KEY, state
from tests.support.stack import Stack, accounts
from tests.support.waiting import until
from worker.simulator.server import SimulatorServer

PAGE = {"status": 503, "body": "<html><h1>503</h1></html>"}
OTHER_KEY = "another-key"


@pytest.fixture(scope="module", params=["threads", "prefork"])
def stack(make_bed: Callable[..., Stack], simulator: SimulatorServer, request: pytest.FixtureRequest) -> Stack:
    """A worker with one slot, and another that is not started yet; both have two accounts."""
    rows = {
        "main": ("everstrike", KEY, "demo-everstrike-secret", simulator.url),
        "other": ("everstrike", OTHER_KEY, "another-secret", simulator.url),
    }
    settings = {
        **accounts(rows),
        "ORDERS_RETRY__ATTEMPTS": "100",
        "ORDERS_RETRY__INITIAL_SECONDS": "0.5",
        "ORDERS_RETRY__MAX_SECONDS": "2",
        "ORDERS_RETRY__BUDGET_SECONDS": "120",
    }
    options = ("-P", request.param, "-c", "1")
    return make_bed(workers=2, started=1, options=options, **settings)


@pytest.fixture(autouse=True)
def fresh(stack: Stack) -> Iterator[None]:
    stack.venue.reset(demo=False)
    for key, secret in ((KEY, "demo-everstrike-secret"), (OTHER_KEY, "another-secret")):
        stack.venue.account("everstrike", key, secret)
        stack.venue.position(key, "USD_BTC_PERP", "1")
    yield
    stack.venue.clear_faults()
    stack.drained(60)


def orders_of(stack: Stack) -> list[str]:
    """Whose requests came, in their order."""
    return [arrival.api_key for arrival in stack.venue.arrivals()]


def test_another_command_passes_while_one_waits(stack: Stack) -> None:
    """The only slot is free between two attempts, and the report is that of one thread."""
    stack.venue.fault("status", path="close", times=None, **PAGE)
    waits = stack.send("orders.close", account="main", pair="USD_BTC_PERP")
    until(lambda: state(stack, waits) == "PARKED", lambda: stack.worker.tail())
    passes = stack.send("orders.positions", account="other")
    assert stack.ended(passes).outcome == ACCEPTED
    assert stack.peek([waits]) == [None]
    stack.venue.clear_faults()
    report = stack.ended(waits).report
    asked = orders_of(stack)
    assert (report["outcome"], report["attempts"], asked[-1]) == ("accepted", len(asked) - 1, KEY)
    assert asked.count(OTHER_KEY) == 1
    record = stack.ledger.hgetall(f"orders:command:{waits}")
    assert (record["tries"], record["fence"]) == (str(report["attempts"]),) * 2
    log = stack.worker.logs()
    assert "waits_for=retry" in log
    assert "rejected" not in log
    assert "Traceback" not in log


def test_a_worker_is_killed_while_its_command_is_parked(stack: Stack) -> None:
    """Nothing of it is with the worker: another goes on when it is due, and makes no attempt more."""
    stack.venue.fault("status", path="close", times=1, retry_after="5", **{**PAGE, "status": 429})
    waits = stack.send("orders.close", account="main", pair="USD_BTC_PERP", qty="0.5")
    doomed, heir = (worker.container for worker in stack.workers)
    until(lambda: stack.broker.zcard("orders.close.parked") == 1, "a parked command")
    assert stack.broker.hlen("unacked") == 0
    doomed.kill("SIGKILL")
    heir.start()
    report = stack.ended(waits, 60).report
    assert (report["outcome"], report["attempts"]) == ("accepted", 2)
    assert len(stack.venue.executions()) == 1
    doomed.start()
    doomed.ready()
    heir.stop(60)
