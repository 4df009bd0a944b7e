"""Workers and servers die in the middle of a send: every command still ends in one report, and nothing runs twice.

The faults are those of production: `kill -9` of a worker, of the server, an ordinary shutdown with commands under way,
a result backend that is away, a worker that stood still. `hold` at the simulator makes "in the middle of" exact.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_celery import CeleryTestSetup, CeleryTestWorker

from tests.support.backend import IN_CONTAINERS
from tests.support.processes import ProcessNode
from tests.support.redis_node import BackendNode, ServerNode
from tests.support.stack import Ended, foreign_app
from tests.support.stack import Stack as Bed
from tests.support.waiting import until
from worker.simulator.server import SimulatorServer

pytestmark = pytest.mark.integration

KEY = "demo-everstrike-key"
PATIENT = {"ORDERS_HTTP__READ_TIMEOUT_SECONDS": "20"}
"""For commands that are held at the venue while something else takes its time."""
SLOTS = 16
"""How many commands one worker runs at a time."""
CRASHED = ("unknown", "crashed")
CRASH_SECONDS = 90
"""The claim: so soon after `kill -9` of a worker each of its commands has its report, with default settings."""


def withdrawal(address: str, qty: str = "0.01") -> dict[str, Any]:
    """A withdrawal that is recognised at the venue by its address."""
    return {"account": "main", "asset": "ETH", "qty": qty, "address": address}


def executed(bed: Bed) -> Counter[str]:
    """How often each withdrawal took effect, by its address."""
    return Counter(execution.fields["address"] for execution in bed.venue.executions(path="/auth/withdraw"))


# -- the nodes ---------------------------------------------------------------------------------------------------------


def test_the_nodes_are_pytest_celerys(celery_setup: CeleryTestSetup, stage: Bed) -> None:
    """What pytest-celery does with containers works with these: ready, logs, kill, restart, a control ping; and they
    are containers when they are asked to be."""
    assert len(celery_setup) == 3
    assert {isinstance(node.container, ProcessNode) for node in (*stage.workers, celery_setup.broker)} == {
        not IN_CONTAINERS
    }
    worker, broker = celery_setup.worker, celery_setup.broker
    worker.assert_log_exists("ready.")
    worker.kill()
    assert worker.container.status == "exited"
    broker.restart()
    worker.restart()
    assert worker.logs().count(" ready.") == 2
    assert celery_setup.ready(control=True)
    assert stage.ended(stage.send("orders.positions", account="main")).outcome == ("accepted", "ok")


# -- a worker is killed ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Victim:
    """A command that a worker dies with."""

    task: str
    arguments: dict[str, Any]
    path: str
    where: dict[str, str]
    executes: bool
    """Whether the venue had carried it out when the worker died."""


def victim(task: str, executes: bool, **arguments: Any) -> Victim:
    """A command, and how the simulator recognises it."""
    field = {"pair": "pair", "order_id": "id", "address": "address"}
    where = {field[name]: str(value) for name, value in arguments.items() if name in field}
    return Victim(task, {"account": "main", **arguments}, task.removeprefix("orders."), where, executes)


VICTIMS = {
    "withdraw, lost": victim("orders.withdraw", False, asset="ETH", qty="0.1", address="0xlost"),
    "withdraw, executed": victim("orders.withdraw", True, asset="ETH", qty="0.1", address="0xdone"),
    "close by quantity, lost": victim("orders.close", False, pair="P_QTY_LOST", qty="0.5"),
    "close by quantity, executed": victim("orders.close", True, pair="P_QTY_DONE", qty="0.5"),
    "close whole, lost": victim("orders.close", False, pair="P_LOST"),
    "close whole, executed": victim("orders.close", True, pair="P_DONE"),
    "cancel, lost": victim("orders.cancel", False, order_id="o-lost"),
    "cancel, executed": victim("orders.cancel", True, order_id="o-done"),
}
WAITING = victim("orders.close", False, pair="P_WAIT", qty="0.5")


@dataclass(frozen=True)
class Crash:
    """A worker that died, and what it died with."""

    bed: Bed
    ids: dict[str, str]
    states: dict[str, str]
    """What the ledger said of each while it was being sent."""
    died_at: datetime


@pytest.fixture(scope="module")
def crash(make_bed: Callable[..., Bed]) -> Iterator[Crash]:
    """One worker dies by SIGKILL with ten commands under way; another is there. Default settings all over.

    The bed has a simulator of its own: other tests run while these commands wait for their redelivery.
    """
    with SimulatorServer() as venue:
        bed = make_bed(workers=2, started=1, defaults=True, venue=venue)
        ids = {name: hold(bed, each) for name, each in VICTIMS.items()}
        bed.venue.position(KEY, "P_WAIT", "1")
        bed.venue.fault("status", path="close", where=WAITING.where, status=429, retry_after="15")
        ids["waiting"] = bed.send(WAITING.task, **WAITING.arguments)
        bed.venue.fault("hold", path="positions")
        ids["positions"] = bed.send("orders.positions", account="main")
        bed.venue.wait(arrivals=10)
        until(lambda: state(bed, ids["waiting"]) == "WAITING", "the pause on record")
        states = {name: state(bed, command_id) for name, command_id in ids.items()}
        doomed, heir = (worker.container for worker in bed.workers)
        heir.start()
        heir.ready()
        doomed.kill("SIGKILL")
        died_at = datetime.now(UTC)
        bed.venue.release("drop")
        yield Crash(bed, ids, states, died_at)


def hold(bed: Bed, each: Victim) -> str:
    """Send a command that is held at the venue; its id."""
    if "pair" in each.where:
        bed.venue.position(KEY, each.where["pair"], "1")
    if "id" in each.where:
        bed.venue.order(KEY, each.where["id"])
    bed.venue.fault("hold", path=each.path, where=each.where, execute=each.executes)
    return bed.send(each.task, **each.arguments)


@dataclass(frozen=True)
class Aftermath:
    """What was there after the crash."""

    crash: Crash
    ends: dict[str, Ended]


@pytest.fixture(scope="module")
def aftermath(crash: Crash) -> Aftermath:
    """The ends of the dead worker's commands, waited for."""
    left = CRASH_SECONDS - (datetime.now(UTC) - crash.died_at).total_seconds()
    ends = crash.bed.all_ended(list(crash.ids.values()), max(left, 1))
    return Aftermath(crash, dict(zip(crash.ids, ends, strict=True)))


def state(bed: Bed, command_id: str) -> str:
    """What the ledger says of a command."""
    return str(bed.ledger.hget(f"orders:command:{command_id}", "state") or "")


def test_a_worker_is_killed(crash: Crash) -> None:
    """Before the first byte left, the ledger said that a send had begun. What comes of it is looked at last, below."""
    mutating = {name: found for name, found in crash.states.items() if name != "positions"}
    assert mutating == {**dict.fromkeys(VICTIMS, "SENDING"), "waiting": "WAITING"}
    assert crash.states["positions"] == ""


# -- the server is killed in the middle of a stream --------------------------------------------------------------------

STREAM = 300


@dataclass(frozen=True)
class Outage:
    """A server that died with a stream of commands under way, wherever each of them was just then."""

    bed: Bed
    ids: list[str]
    pids: list[int]
    """The workers' processes before."""


@pytest.fixture(scope="module")
def outage(make_bed: Callable[..., Bed]) -> Iterator[Outage]:
    """Two workers, and the server killed and restarted. A message that was on its way to a worker in that moment is
    redelivered after the visibility timeout, so other tests run meanwhile, at a simulator of their own."""
    with SimulatorServer() as venue:
        bed = make_bed(workers=2, venue=venue)
        pids = [worker.container.pid for worker in bed.workers]
        bed.venue.configure(latency_ms=30)
        ids = [bed.send("orders.withdraw", **withdrawal(f"0x{number}")) for number in range(STREAM)]
        bed.venue.wait(executions=60)
        server = bed.setup.broker.container
        server.kill("SIGKILL")
        server.start()
        server.ready()
        yield Outage(bed, ids, pids)


def test_the_workers_survive_their_server(outage: Outage) -> None:
    """The same processes take commands again at once. What comes of the others is looked at last, below."""
    fresh = foreign_app(outage.bed.broker_url, outage.bed.backend_url)
    command_id = outage.bed.send("orders.positions", account="main", app=fresh)
    fresh.close()
    assert outage.bed.ended(command_id).outcome == ("accepted", "ok")
    assert [worker.container.pid for worker in outage.bed.workers] == outage.pids
    assert [worker.container.status for worker in outage.bed.workers] == ["running"] * 2


# -- the server is killed ----------------------------------------------------------------------------------------------


@pytest.fixture
def worker_environment(worker_environment: dict[str, str]) -> dict[str, str]:
    """Patient ones, for every test below."""
    return {**worker_environment, **PATIENT}


def test_the_server_dies_with_commands_in_flight(stage: Bed, make_worker: Callable[..., CeleryTestWorker]) -> None:
    """Both workers live on, in the same processes; each command has its report, and ran once."""
    workers = [stage.worker, make_worker().container]
    pids = [worker.pid for worker in workers]
    in_flight, backlog = 2 * SLOTS, 20
    stage.venue.fault("hold", path="withdraw", times=in_flight)
    ids = [stage.send("orders.withdraw", **withdrawal(f"0x{number}")) for number in range(in_flight + backlog)]
    stage.venue.wait(arrivals=in_flight)
    assert stage.queued("orders.withdraw") == backlog
    server = stage.setup.broker.container
    server.kill("SIGKILL")
    stage.venue.release()  # the venue answers while nobody can be told
    stage.venue.wait(executions=in_flight)
    # The outage lasts until both have met it and tried in vain.
    until(lambda: all("Cannot connect to" in worker.logs() for worker in workers), "the workers missing their server")
    server.start()
    server.ready()
    ends = stage.all_ended(ids, 60)
    assert {end.outcome for end in ends} == {("accepted", "ok")}
    assert set(executed(stage).values()) == {1}
    assert len(stage.venue.arrivals()) == in_flight + backlog
    stage.drained(60)
    assert [worker.pid for worker in workers] == pids
    assert [worker.status for worker in workers] == ["running"] * 2


# -- a worker is told to stop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "exit_code"), [("SIGTERM", 0), ("SIGINT", 1)])
def test_an_ordinary_shutdown(
    stage: Bed, make_worker: Callable[..., CeleryTestWorker], name: str, exit_code: int
) -> None:
    """What is under way is finished and reported, the rest is another worker's. After Ctrl-C Celery exits with 1."""
    stage.venue.fault("hold", path="withdraw", times=SLOTS)
    ids = [stage.send("orders.withdraw", **withdrawal(f"0x{number}")) for number in range(SLOTS + 10)]
    stage.venue.wait(arrivals=SLOTS)
    stage.worker.kill(name)
    until(lambda: "Warm shutdown" in stage.worker.logs(), "the worker hearing the signal")
    stage.venue.release()
    assert stage.worker.wait_for_exit() == exit_code
    began = stage.peek(ids)
    assert [end.outcome if end else None for end in began] == [("accepted", "ok")] * SLOTS + [None] * 10
    assert sum(executed(stage).values()) == SLOTS
    make_worker()
    ends = stage.all_ended(ids)
    assert {end.outcome for end in ends} == {("accepted", "ok")}
    assert executed(stage) == Counter(f"0x{number}" for number in range(SLOTS + 10))


@pytest.mark.parametrize("task", ["orders.withdraw", "orders.cancel"])
def test_a_shutdown_while_waiting_for_the_next_attempt(
    stage: Bed, make_worker: Callable[..., CeleryTestWorker], task: str
) -> None:
    """A command between two attempts goes back at once, and another worker makes the next one."""
    stage.venue.fault("status", status=429, retry_after="4")
    arguments = withdrawal("0xwait") if task == "orders.withdraw" else {"account": "main", "order_id": "order-1"}
    command_id = stage.send(task, **arguments)
    until(lambda: state(stage, command_id) == "WAITING", "the pause on record")
    stage.worker.kill("SIGTERM")
    assert stage.worker.wait_for_exit() == 0
    assert (state(stage, command_id), stage.peek([command_id])) == ("WAITING", [None])
    make_worker()
    end = stage.ended(command_id)
    assert (end.outcome, end.report["attempts"]) == (("accepted", "ok"), 2)
    assert len(stage.venue.executions()) == 1


# -- a worker stands still ---------------------------------------------------------------------------------------------


class TestStandingStill:
    """A worker that is stopped for longer than its lease, as a suspended machine is."""

    @pytest.fixture
    def worker_environment(self, worker_environment: dict[str, str]) -> dict[str, str]:
        """A short lease: it follows from the timeouts."""
        return {**worker_environment, "ORDERS_HTTP__READ_TIMEOUT_SECONDS": "1"}

    def test_its_own_answer_settles_it(self, stage: Bed, make_worker: Callable[..., CeleryTestWorker]) -> None:
        """Another worker calls the withdrawal unknown; the sleeper wakes, reads the venue's answer, and that counts."""
        stage.venue.fault("slow", path="withdraw", delay_ms=500)
        command_id = stage.send("orders.withdraw", **withdrawal("0xsleep"))
        stage.venue.wait(arrivals=1)
        stage.worker.kill("SIGSTOP")
        make_worker()
        stage.send("orders.withdraw", command_id=command_id, **withdrawal("0xsleep"))
        assert stage.ended(command_id).outcome == CRASHED
        stage.worker.kill("SIGCONT")
        until(lambda: stage.ended(command_id).outcome[0] == "accepted", "the evidence", 30)
        assert len(stage.venue.arrivals()) == len(stage.venue.executions()) == 1
        assert not stage.ledger.zscore("orders:unknown", command_id)

    def test_it_does_not_write_over_its_successor(
        self, stage: Bed, make_worker: Callable[..., CeleryTestWorker]
    ) -> None:
        """A cancel is taken over and accepted; the sleeper's own loss of it changes nothing."""
        stage.venue.fault("hold", path="cancel", execute=False)
        command_id = stage.send("orders.cancel", account="main", order_id="order-1")
        stage.venue.wait(arrivals=1)
        stage.worker.kill("SIGSTOP")
        make_worker()
        stage.send("orders.cancel", command_id=command_id, account="main", order_id="order-1")
        assert stage.ended(command_id).outcome == ("accepted", "ok")
        stage.venue.release("drop")
        stage.worker.kill("SIGCONT")
        stage.drained()
        end = stage.ended(command_id)
        assert (end.outcome, end.report["attempts"]) == (("accepted", "ok"), 2)
        assert len(stage.venue.arrivals()) == 2
        assert len(stage.venue.executions()) == 1


# -- the result backend is away ----------------------------------------------------------------------------------------


class TestResultsElsewhere:
    """Results on a server of their own."""

    @pytest.fixture
    def celery_backend(self, tmp_path: Path) -> Iterator[BackendNode]:
        """Another server than the broker's."""
        server = ServerNode(tmp_path / "nodes", "results")
        server.start()
        server.ready()
        node = BackendNode(server)
        yield node
        node.teardown()

    def test_results_come_later(self, stage: Bed) -> None:
        """The backend is away for seconds when commands end: their results are there when it is back."""
        stage.venue.fault("hold", times=3)
        ids = [
            stage.send("orders.withdraw", **withdrawal("0xlater")),
            stage.send("orders.cancel", account="main", order_id="none"),
            stage.send("orders.positions", account="main"),
        ]
        stage.venue.wait(arrivals=3)
        results = stage.setup.backend.container
        results.kill("SIGKILL")
        stage.venue.release()
        # The outage lasts until the worker has met it, and a while longer.
        until(lambda: settled(stage, ids[:2]), "both reports in the ledger")
        threading.Event().wait(3)
        assert stage.broker.hlen("unacked") == 3, "nothing is acknowledged whose report is not stored"
        results.start()
        results.ready()
        ends = stage.all_ended(ids, 30)
        assert [end.report["outcome"] for end in ends] == ["accepted", "rejected", "accepted"]
        stage.drained()
        assert len(stage.venue.arrivals()) == 3
        assert stage.worker.status == "running"


def settled(bed: Bed, command_ids: list[str]) -> bool:
    """Whether the ledger has the reports of all."""
    return all(state(bed, command_id) == "SETTLED" for command_id in command_ids)


# -- what came of the killed worker's commands ---------------------------------------------------------------------

AFTER_CRASH = [
    # "worker died with a send begun": again by the next worker, unknown, unknown.
    ("withdraw, lost", CRASHED, 1, 1, 0),
    ("withdraw, executed", CRASHED, 1, 1, 1),
    ("close by quantity, lost", CRASHED, 1, 1, 0),
    ("close by quantity, executed", CRASHED, 1, 1, 1),
    ("close whole, lost", ("accepted", "ok"), 2, 2, 1),
    ("cancel, lost", ("accepted", "ok"), 2, 2, 1),
    # "an attempt of unknown fate (also one begun by a worker that died)": the refusal may be its echo.
    # "The position was not found" is not listed: the venue is asked again until the attempts are used up.
    ("close whole, executed", ("unknown", "refused_after_lost"), 5, 5, 1),
    ("cancel, executed", ("unknown", "refused_after_lost"), 2, 2, 1),
]


@pytest.mark.parametrize(
    ("name", "outcome", "attempts", "arrivals", "executions"), AFTER_CRASH, ids=[row[0] for row in AFTER_CRASH]
)
def test_a_killed_workers_commands(
    aftermath: Aftermath, name: str, outcome: tuple[str, str], attempts: int, arrivals: int, executions: int
) -> None:
    """What may be sent again is; what may not is `unknown`, and never reaches the venue a second time."""
    end, each = aftermath.ends[name], VICTIMS[name]
    assert (end.outcome, end.report["attempts"]) == (outcome, attempts), end.report
    done = [row for row in aftermath.crash.bed.venue.executions() if each.where.items() <= row.fields.items()]
    assert len(done) == executions
    assert end.report["first_sent_at"] is not None
    assert end.error == (None if outcome[0] == "accepted" else "producers.errors.OrderUnknown")


def test_a_killed_workers_requests_in_sum(aftermath: Aftermath) -> None:
    """Nothing reached the venue but the attempts that the reports tell, and the query's two."""
    told = sum(end.report["attempts"] for name, end in aftermath.ends.items() if name != "positions")
    assert len(aftermath.crash.bed.venue.arrivals()) == told + 2


def test_a_killed_workers_query(aftermath: Aftermath) -> None:
    """A query is simply asked again."""
    assert aftermath.ends["positions"].outcome == ("accepted", "ok")


def test_a_killed_workers_wait(aftermath: Aftermath) -> None:
    """It died between two attempts, the first of them proven not executed: the next worker goes on."""
    end = aftermath.ends["waiting"]
    assert (end.outcome, end.report["attempts"]) == (("accepted", "ok"), 2)


def test_a_killed_workers_reports_come_in_time(aftermath: Aftermath) -> None:
    """The one thing here that is a promise of time."""
    last = max(end.stored_at for end in aftermath.ends.values())
    assert (last - aftermath.crash.died_at).total_seconds() <= CRASH_SECONDS


def test_unknown_stays_unknown(aftermath: Aftermath) -> None:
    """Nobody sends it again and no timer changes it; sending its id again tells the same."""
    bed, command_id = aftermath.crash.bed, aftermath.ends["withdraw, lost"].command_id
    bed.drained()
    arrived = len(bed.venue.arrivals())
    bed.send("orders.withdraw", command_id=command_id, **VICTIMS["withdraw, lost"].arguments)
    until(lambda: bed.ended(command_id).report["replayed"], "the stored report, told again")
    assert bed.ended(command_id).outcome == CRASHED
    assert len(bed.venue.arrivals()) == arrived
    assert bed.ledger.ttl(f"orders:command:{command_id}") == -1, "kept until someone removes it"


# -- what came of the stream -------------------------------------------------------------------------------------------


def test_a_stream_survives_the_servers_death(outage: Outage) -> None:
    """Each command has its report and was executed once, by the same worker processes."""
    bed = outage.bed
    ends = bed.all_ended(outage.ids, 90)
    assert {end.outcome for end in ends} == {("accepted", "ok")}
    assert executed(bed) == Counter(f"0x{number}" for number in range(STREAM))
    assert [(worker.container.pid, worker.container.status) for worker in bed.workers] == [
        (pid, "running") for pid in outage.pids
    ]
    bed.drained(60)
