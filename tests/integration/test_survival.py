"""Workers and servers die in the middle of a send: every command still ends in one report, and nothing runs twice.

`hold` at the simulator makes "in the middle of" exact. What comes of a killed worker's commands is looked at last.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.integration.crash_rig import (
    ACCEPTED,
    CRASHED,
    VICTIMS,
    Crash,
    executed,
    once_each,
    send_withdrawals,
    state,
    withdrawal,
)
from tests.support.backend import IN_CONTAINERS
from tests.support.processes import ProcessNode
from tests.support.stack import Ended, Stack
from tests.support.waiting import until
from tests.support.workers import WorkerNode

SLOTS = 6
"""How many withdrawals of one account a worker of 16 threads runs at a time: half of the threads are the account's, and
two of those are kept for cancels and closes."""
CRASH_SECONDS = 90
"""The claim: so soon after `kill -9` of a worker each of its commands has its report, with default settings."""


def test_the_ledger_says_begun_before_the_first_byte_left(crash: Crash) -> None:
    assert crash.states == {**dict.fromkeys(VICTIMS, "SENDING"), "waiting": "PARKED", "positions": ""}


# -- the server is killed ----------------------------------------------------------------------------------------------


def check_processes(stack: Stack, pids: list[int]) -> None:
    assert [worker.container.pid for worker in stack.workers] == pids
    assert {worker.container.status for worker in stack.workers} == {"running"}


@pytest.fixture(scope="module")
def patient(make_bed: Callable[..., Stack]) -> Stack:
    """Two workers that wait for a venue that holds their commands while something else takes its time."""
    return make_bed(workers=2, started=0, ORDERS_HTTP__READ_TIMEOUT_SECONDS="120", ORDERS_RETRY__BUDGET_SECONDS="120")


def fresh(stack: Stack) -> Iterator[Stack]:
    """The stack with a fresh venue; at its end all that still runs is executed."""
    stack.reset_venue()
    yield stack
    for worker in stack.workers:
        worker.container.kill("SIGCONT")
    stack.venue.release("drop")
    stack.drained(60)


@pytest.fixture
def stack(patient: Stack) -> Iterator[Stack]:
    yield from fresh(patient)


def run_all(stack: Stack) -> list[WorkerNode]:
    """Start the workers that do not run."""
    nodes = [worker.container for worker in stack.workers]
    for node in nodes:
        if node.status != "running":
            node.start()
    for node in nodes:
        node.ready()
    return nodes


def worker_and_heir(stack: Stack) -> tuple[WorkerNode, WorkerNode]:
    """A worker that runs, and another that is to be started: the one that the test before left running comes first."""
    first, second = sorted((worker.container for worker in stack.workers), key=lambda node: node.status != "running")
    second.stop(60)
    if first.status != "running":
        first.start()
        first.ready()
    return first, second


def test_the_nodes_are_pytest_celerys(stack: Stack) -> None:
    """What pytest-celery does with containers works with these: ready, logs, kill, restart, a control ping; and they
    are containers when they are asked to be."""
    worker, broker = stack.setup.worker_cluster[0], stack.setup.broker
    assert len(stack.setup) == 2 + len(stack.workers)
    assert {isinstance(node.container, ProcessNode) for node in (worker, broker)} == {not IN_CONTAINERS}
    run_all(stack)
    worker.assert_log_exists("ready.")
    worker.kill()
    assert worker.container.status == "exited"
    broker.restart()
    worker.restart()
    assert " ready." in worker.container.logs_since_start()
    assert stack.setup.ready(control=True)
    assert stack.ended(stack.send("orders.positions", account="main")).outcome == ACCEPTED


def test_the_server_dies_with_commands_in_flight(stack: Stack) -> None:
    """Both workers live on, in the same processes; each command has its report, and ran once."""
    workers = run_all(stack)
    pids, marks = [worker.pid for worker in workers], [worker.log_size() for worker in workers]
    in_flight, backlog = 2 * SLOTS, 20
    stack.venue.fault("hold", path="withdraw", times=in_flight)
    ids = send_withdrawals(stack, in_flight + backlog)
    stack.venue.wait(arrivals=in_flight, timeout=60)
    assert stack.queued("orders.withdraw") == backlog
    server = stack.setup.broker.container
    server.kill("SIGKILL")
    stack.venue.release()  # the venue answers while nobody can be told
    stack.venue.wait(executions=in_flight, timeout=60)
    # The outage lasts until both have met it and tried in vain.
    until(
        lambda: all("Cannot connect to" in worker.logs_from(mark) for worker, mark in zip(workers, marks, strict=True)),
        "the workers missing their server",
        60,
    )
    server.start()
    server.ready()
    assert {end.outcome for end in stack.all_ended(ids, 120)} == {ACCEPTED}
    assert executed(stack) == once_each(in_flight + backlog)
    assert len(stack.venue.arrivals()) == in_flight + backlog
    check_processes(stack, pids)


# -- a worker is told to stop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "exit_code"), [("SIGTERM", 0), ("SIGINT", 1)])
def test_an_ordinary_shutdown_ends_what_is_under_way_and_leaves_the_rest(
    stack: Stack, name: str, exit_code: int
) -> None:
    """After Ctrl-C Celery exits with 1."""
    worker, heir = worker_and_heir(stack)
    stack.venue.fault("hold", path="withdraw", times=SLOTS)
    ids = send_withdrawals(stack, SLOTS + 10)
    stack.venue.wait(arrivals=SLOTS, timeout=60)
    worker.kill(name)
    until(lambda: "Warm shutdown" in worker.logs_since_start(), "the worker hearing the signal")
    stack.venue.release()
    assert worker.wait_for_exit() == exit_code
    began = [end.outcome if end else None for end in stack.peek(ids)]
    assert began == [ACCEPTED] * SLOTS + [None] * 10
    assert sum(executed(stack).values()) == SLOTS
    heir.start()
    assert {end.outcome for end in stack.all_ended(ids, 60)} == {ACCEPTED}
    assert executed(stack) == once_each(SLOTS + 10)


def test_a_cold_shutdown_ends_what_is_under_way_too(stack: Stack) -> None:
    """SIGQUIT ends no command halfway; what has not begun is at once on its queue."""
    worker, heir = worker_and_heir(stack)
    stack.venue.fault("hold", path="withdraw", times=SLOTS)
    ids = send_withdrawals(stack, SLOTS + 4)
    stack.venue.wait(arrivals=SLOTS, timeout=60)
    worker.kill("SIGQUIT")
    until(lambda: "Hitting Ctrl+C again" in worker.logs_since_start(), "the worker hearing the signal")
    stack.venue.release()
    assert worker.wait_for_exit() == 0
    assert [end.outcome if end else None for end in stack.peek(ids)] == [ACCEPTED] * SLOTS + [None] * 4
    assert "Unrecoverable error" not in worker.logs_since_start()
    assert (stack.queued("orders.withdraw"), stack.broker.hlen("unacked")) == (4, 0)
    heir.start()
    assert {end.outcome for end in stack.all_ended(ids, 60)} == {ACCEPTED}
    assert executed(stack) == once_each(SLOTS + 4)


def test_a_shutdown_leaves_what_waits_for_its_next_attempt(stack: Stack) -> None:
    """The command stands at the server, and another worker makes the next attempt."""
    worker, heir = worker_and_heir(stack)
    stack.venue.fault("status", status=429, retry_after="10")
    waiting = stack.send("orders.withdraw", **withdrawal("0xwait"))
    until(lambda: state(stack, waiting) == "PARKED" and not stack.broker.hlen("unacked"), "the command being parked")
    worker.kill("SIGTERM")
    assert worker.wait_for_exit() == 0
    assert (state(stack, waiting), stack.peek([waiting])) == ("PARKED", [None])
    heir.start()
    end = stack.ended(waiting, 120)
    assert (end.outcome, end.report["attempts"]) == (ACCEPTED, 2)
    assert len(stack.venue.executions()) == 1


# -- a worker stands still ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(make_bed: Callable[..., Stack]) -> Stack:
    """Two workers of a short lease: it follows from the timeouts."""
    return make_bed(workers=2, started=0, ORDERS_HTTP__READ_TIMEOUT_SECONDS="5")


@pytest.fixture
def sleepers(impatient: Stack) -> Iterator[Stack]:
    yield from fresh(impatient)


def test_a_worker_that_slept_settles_its_command_by_the_venues_answer(sleepers: Stack) -> None:
    """Another worker calls the withdrawal unknown; the sleeper wakes, reads the venue's answer, and that counts."""
    sleeper, heir = worker_and_heir(sleepers)
    sleepers.venue.fault("slow", path="withdraw", delay_ms=3000)
    command_id = sleepers.send("orders.withdraw", **withdrawal("0xsleep"))
    sleepers.venue.wait(arrivals=1)
    sleeper.kill("SIGSTOP")
    heir.start()
    sleepers.send("orders.withdraw", command_id=command_id, **withdrawal("0xsleep"))
    assert sleepers.ended(command_id, 60).outcome == CRASHED
    sleeper.kill("SIGCONT")
    until(lambda: sleepers.ended(command_id).outcome == ACCEPTED, "the evidence")
    assert len(sleepers.venue.arrivals()) == len(sleepers.venue.executions()) == 1
    assert not sleepers.ledger.zscore("orders:unknown", command_id)


def test_a_worker_that_slept_does_not_write_over_its_successor(sleepers: Stack) -> None:
    """A cancel is taken over and accepted; the sleeper's own loss of it changes nothing."""
    sleeper, heir = worker_and_heir(sleepers)
    sleepers.venue.fault("hold", path="cancel", execute=False)
    command_id = sleepers.send("orders.cancel", account="main", order_id="order-1")
    sleepers.venue.wait(arrivals=1)
    sleeper.kill("SIGSTOP")
    heir.start()
    sleepers.send("orders.cancel", command_id=command_id, account="main", order_id="order-1")
    assert sleepers.ended(command_id, 60).outcome == ACCEPTED
    sleepers.venue.release("drop")
    sleeper.kill("SIGCONT")
    sleepers.drained(60)
    end = sleepers.ended(command_id)
    assert (end.outcome, end.report["attempts"]) == (ACCEPTED, 2)
    assert (len(sleepers.venue.arrivals()), len(sleepers.venue.executions())) == (2, 1)


# -- the result backend is away ----------------------------------------------------------------------------------------


def test_results_are_stored_when_their_backend_is_back(make_bed: Callable[..., Stack]) -> None:
    """It is away when commands end: nothing is acknowledged until each result is there."""
    stack = make_bed(results_elsewhere=True, ORDERS_HTTP__READ_TIMEOUT_SECONDS="60")
    stack.reset_venue()
    stack.venue.fault("hold", times=3)
    ids = [
        stack.send("orders.withdraw", **withdrawal("0xlater")),
        stack.send("orders.cancel", account="main", order_id="none"),
        stack.send("orders.positions", account="main"),
    ]
    stack.venue.wait(arrivals=3)
    results = stack.setup.backend.container
    results.kill("SIGKILL")
    mark = stack.worker.log_size()
    stack.venue.release()
    until(lambda: [state(stack, each) for each in ids[:2]] == ["SETTLED"] * 2, "both reports in the ledger")
    until(lambda: "Connection to Redis lost" in stack.worker.logs_from(mark), stack.worker.tail)
    assert stack.broker.hlen("unacked") == 3, "nothing is acknowledged whose report is not stored"
    results.start()
    results.ready()
    ends = stack.all_ended(ids, 120)
    assert [end.report["outcome"] for end in ends] == ["accepted", "rejected", "accepted"]
    stack.drained()
    assert len(stack.venue.arrivals()) == 3
    assert stack.worker.status == "running"


# -- what came of it ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ends(crash: Crash) -> dict[str, Ended]:
    """The ends of the dead worker's commands, waited for."""
    left = CRASH_SECONDS - (datetime.now(UTC) - crash.died_at).total_seconds()
    return dict(zip(crash.ids, crash.stack.all_ended(list(crash.ids.values()), max(left, 1)), strict=True))


@pytest.mark.parametrize("name", VICTIMS)
def test_a_killed_workers_command_is_sent_again_or_unknown(crash: Crash, ends: dict[str, Ended], name: str) -> None:
    """What may be sent again is; what may not never reaches the venue a second time."""
    end, victim = ends[name], VICTIMS[name]
    done = [row for row in crash.stack.venue.executions() if victim.where.items() <= row.fields.items()]
    told = (end.outcome, end.report["attempts"], len(done))
    assert told == (victim.outcome, victim.attempts, victim.executions), end.report
    assert end.report["first_sent_at"] is not None
    assert end.error == (None if victim.outcome == ACCEPTED else "producers.errors.OrderUnknown")


def test_a_killed_workers_query_is_asked_again_and_its_wait_goes_on(crash: Crash, ends: dict[str, Ended]) -> None:
    """Nothing reached the venue but the attempts that the reports tell, and the query's two."""
    assert ends["positions"].outcome == ACCEPTED
    waiting = ends["waiting"]
    assert (waiting.outcome, waiting.report["attempts"]) == (ACCEPTED, 2), waiting.report["message"]
    told = sum(end.report["attempts"] for name, end in ends.items() if name != "positions")
    assert len(crash.stack.venue.arrivals()) == told + 2


def test_a_killed_workers_reports_come_in_time(crash: Crash, ends: dict[str, Ended]) -> None:
    """The only test here that asserts a duration, because the contract promises it."""
    last = max(end.stored_at for end in ends.values())
    assert (last - crash.died_at).total_seconds() <= CRASH_SECONDS


def test_unknown_stays_unknown(crash: Crash, ends: dict[str, Ended]) -> None:
    """Nobody sends it again and no timer changes it; sending its id again tells the same."""
    stack, command_id = crash.stack, ends["withdraw, lost"].command_id
    stack.drained()
    arrived = len(stack.venue.arrivals())
    stack.send("orders.withdraw", command_id=command_id, **VICTIMS["withdraw, lost"].arguments)
    until(lambda: stack.ended(command_id).report["replayed"], "the stored report, told again")
    assert stack.ended(command_id).outcome == CRASHED
    assert len(stack.venue.arrivals()) == arrived
    assert stack.ledger.ttl(f"orders:command:{command_id}") == -1, "kept until someone removes it"
