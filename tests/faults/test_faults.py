"""Each fault alone, under commands of all kinds: nothing lost, nothing executed twice, every report true.

``test_steps.py`` breaks workers at exact steps; here it is what surrounds them that breaks, while three of them work.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import count
from signal import SIGCONT, SIGKILL, SIGSTOP
from unittest.mock import patch

import pytest

from producers.client import OrderClient
from tests.faults.evidence import Trial
from tests.faults.fleet import until
from tests.faults.long_phases import enqueue, restart_under_load
from tests.faults.rig import POOLS, QUIET, Rig
from tests.faults.schedule import EVERY, LIES_ABOUT, SPOILT, draw, lie_about
from tests.faults.timings import Timings
from tests.faults.traffic import Mix
from worker.bootstrap import build_reconciler
from worker.celery_app.results import result_publisher
from worker.operations.reconcile import operator_app
from worker.settings import load
from worker.simulator.false_answers import LIES

COUNT = 20
SEEDS = count(100)
"""No two trials on one rig may send commands that look alike at the venue."""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A server for queues and ledger, one for results, a simulator, and three workers, replaced when they die."""
    with Rig() as started:
        started.fleet.start(3, keep=True)
        yield started


@pytest.fixture
def trial(rig: Rig) -> Iterator[Trial]:
    """All kinds of commands; the workers are ready for them."""
    rig.fleet.wait_ready()
    yield Trial(rig, next(SEEDS), deadlines=0)
    rig.mend()


@pytest.fixture(scope="module")
def bare() -> Iterator[Rig]:
    """A rig without workers."""
    with Rig(one_server=True) as started:
        yield started


def test_nothing_is_broken(trial: Trial) -> None:
    """Without a fault every command is accepted: the rig itself breaks nothing."""
    trial.send(COUNT)
    assert {outcome for _, outcome, _ in trial.finish().outcomes} == {"accepted"}


def test_a_seed_draws_the_same_commands_and_faults_again() -> None:
    """A run that found something can be repeated."""
    assert draw(7, 600) == draw(7, 600) != draw(8, 600)
    assert {event.kind for event in draw(7, 600)} == set(EVERY)
    assert all(LIES_ABOUT[command] for command in ("close", "cancel", "withdraw", "positions"))
    first, second = Mix(7, deadlines=0), Mix(7, deadlines=0)
    assert first.take(100) == second.take(100)
    ids = [command.command_id for command in (*first.take(500), *Mix(8, deadlines=0).take(500))]
    assert len(set(ids)) == len(ids)


SERVER_FAULTS: dict[str, Callable[[Rig], AbstractContextManager[None]]] = {
    "the server is killed and restarted": lambda rig: rig.killed(rig.server),
    "the server stands still": lambda rig: rig.frozen(rig.server),
    "the result backend is away": lambda rig: rig.killed(rig.backend),
    "the result backend is full": lambda rig: rig.refusing(rig.backend),
}


@pytest.mark.parametrize("fault", SERVER_FAULTS)
def test_a_server_fails_while_commands_end(rig: Rig, trial: Trial, fault: str) -> None:
    """For longer than the ledger's timeout and a request's: queues, ledger and unacknowledged messages come back, and
    results are stored once the backend takes them."""
    with trial.under_way(), SERVER_FAULTS[fault](rig):
        time.sleep(rig.timings.read + 1.5)
    trial.finish()


def test_connections_to_the_server_are_cut(rig: Rig, trial: Trial) -> None:
    """Again and again, while commands are under way."""
    with trial.under_way():
        for _ in range(5):
            rig.cut()
            time.sleep(0.2)
    trial.finish()


def test_the_server_is_full(rig: Rig, trial: Trial) -> None:
    """It refuses every write that needs memory: nothing new is sent, and what was sent is written down afterwards."""
    with trial.under_way(), rig.refusing(rig.server):
        time.sleep(1.5)
        executed = len(trial.executions())
        time.sleep(0.5)
        assert len(trial.executions()) == executed
    trial.finish()


def test_the_broker_is_emptied(rig: Rig, trial: Trial) -> None:
    """What ``OrderClient`` said is enqueued is published again from its intents."""
    rig.fleet.signal(SIGSTOP)
    with OrderClient(rig.queue_settings) as client:
        for command in trial.take(COUNT):
            if command.kind != "positions":
                enqueue(client, trial, command)
    rig.broker.flushdb()
    rig.fleet.signal(SIGCONT)
    trial.finish()


@pytest.mark.parametrize("fault", SPOILT)
def test_the_venue_spoils_its_replies(rig: Rig, trial: Trial, fault: str) -> None:
    """Whatever becomes of the answers to a dozen requests, the reports are true."""
    rig.venue.fault(**SPOILT[fault], times=12)
    trial.send(COUNT)
    trial.finish()


@pytest.mark.parametrize("lie", sorted({*LIES} - {"limited_for_a_fraction"}))
def test_the_venue_lies(rig: Rig, trial: Trial, lie: str) -> None:
    """It executes a few commands of each kind, and others not, and says the same of all of them."""
    about = [command for command, lies in LIES_ABOUT.items() if lie in lies]
    for command in about:
        for execute in (True, False):
            lie_about(rig, command, lie, 2, execute=execute)
    trial.mix = Mix(5000 + sorted(LIES).index(lie), deadlines=0)
    trial.send(COUNT)
    trial.finish()
    assert sum(each["applied"] for each in rig.venue.faults()) >= len(about)


def test_a_refusal_after_a_doubt_is_no_refusal(rig: Rig, trial: Trial) -> None:
    """Executed, answered with a doubt, sent again, and refused because it was executed."""
    trial.mix = Mix(5100, {"cancel": 1}, deadlines=0)
    commands = trial.take(3)
    for command in commands:
        rig.venue.lie("doubtful_refusal", path="cancel", where={"id": command.kwargs["order_id"]})
    trial.send(commands)
    assert trial.finish().outcomes == {("cancel", "unknown", "refused_after_lost"): 3}


def test_idle_connections_to_the_venue_are_cut(rig: Rig, trial: Trial) -> None:
    """The pool's connections end between the moment they are chosen and the first byte, by FIN and by RST."""
    for rst in (False, True, False, True):
        trial.send(COUNT // 4)
        rig.venue.reset_idle(rst=rst)
    trial.send(COUNT // 4)
    trial.finish()


def test_a_storm_of_429(rig: Rig, trial: Trial) -> None:
    """The venue takes nothing, for longer than some commands can wait."""
    storm = rig.venue.fault("status", status=429, times=None)
    trial.send(COUNT)
    until(lambda: len(trial.missing()) < COUNT, lambda: "the first report")
    rig.venue.clear_faults(storm)
    found = trial.finish().outcomes
    assert {outcome for command, outcome, _ in found if command != "positions"} <= {"accepted", "not_sent"}


def test_workers_and_the_server_die_while_commands_are_parked(rig: Rig, trial: Trial) -> None:
    """All of them at once, and nobody has their messages: they come again when they are due."""
    trial.mix = Mix(5200, {"withdraw": 1, "close_part": 1, "cancel": 1}, deadlines=0)
    rig.venue.fault("status", status=429, retry_after="2", times=4)
    trial.send(COUNT)
    until(lambda: rig.count_parked() >= COUNT // 2, lambda: "half of them are parked")
    rig.fleet.signal(SIGKILL)
    with rig.killed(rig.server):
        pass
    assert rig.count_parked() >= COUNT // 2
    found = trial.finish().outcomes
    assert {outcome for _, outcome, _ in found} <= {"accepted", "not_sent"}


def test_the_visibility_timeout_passes_while_commands_run(rig: Rig, trial: Trial) -> None:
    """Messages are delivered again, more than once, while their commands are still at the venue."""
    rig.fleet.signal(SIGSTOP)
    with rig.new_fleet(*POOLS["threads"], *QUIET, timings=Timings(visibility=1, read=4, budget=8)) as fleet:
        fleet.start(2, keep=True)
        rig.venue.fault("slow", delay_ms=3000, times=12)
        ids = trial.send(12)
        trial.wait_reports()
        received = [command_id for _, _, step, command_id in rig.control.traces() if step == "received"]
        assert sum(received.count(each) > 1 for each in ids) >= 6
        rig.fleet.signal(SIGCONT)
        trial.finish()


def test_the_same_message_twice_at_once(rig: Rig, trial: Trial) -> None:
    """Byte for byte, at two workers at the same time: one executes, the other waits for its report."""
    rig.fleet.signal(SIGSTOP)
    with rig.slow_venue(300):
        for command in trial.take(12):
            trial.send([command])
            rig.broker.lpush(command.task, rig.broker.lindex(command.task, 0))
        rig.fleet.signal(SIGCONT)
        trial.finish()


@pytest.mark.parametrize(("seconds", "refused"), [(-3600, True), (-8, False), (5, True), (3600, True)])
def test_the_clock_is_wrong(rig: Rig, trial: Trial, seconds: int, refused: bool) -> None:
    """It steps while commands wait between attempts: what the venue refuses for its timestamp is rejected, truly."""
    rig.venue.fault("status", status=429, times=10)
    trial.send(COUNT // 2)
    rig.control.step_clock(seconds * 1000)
    trial.send(COUNT // 2)
    assert (trial.finish().outcomes["withdraw", "rejected", "refused"] > 0) is refused


@pytest.mark.parametrize("ms", [-5000, 500])
def test_a_lost_close_is_found_although_the_clock_was_wrong(rig: Rig, trial: Trial, ms: int) -> None:
    """Reconcile looks from its begin, by the ledger's clock, until the venue would have refused its signature."""
    trial.mix = Mix(10_000 + ms, {"close_part": 1}, deadlines=0)
    rig.control.step_clock(ms)
    rig.venue.fault("cut_after", path="close", times=None)
    trial.send(4)
    trial.finish()
    rig.mend()
    with patch.dict(os.environ, rig.environment), operator_app(settings := load()) as app:
        found = [*build_reconciler(settings, result_publisher(app)).all()]
    mine = [each for each in found if each.command_id in trial.sent]
    assert [(each.finding, each.outcome) for each in mine] == [("found", "accepted")] * 4, mine


def test_workers_are_killed_in_the_rush(rig: Rig, trial: Trial) -> None:
    """One of three every fifth of a second, wherever it is."""
    with rig.slow_venue(100), ThreadPoolExecutor() as pool:
        pool.submit(trial.send, trial.take(60))
        for number in range(10):
            rig.fleet.workers[number % 3].signal(SIGKILL)
            time.sleep(0.2)
    trial.finish()


def test_everything_at_once(rig: Rig, trial: Trial) -> None:
    """A worker dies, one stands still, servers restart, connections are cut and replies lost, all in two seconds."""
    rig.venue.fault("cut_after", times=5)
    rig.venue.fault("status", status=429, times=5, skip=2)
    with trial.under_way():
        first, second, _ = rig.fleet.workers
        first.signal(SIGSTOP)
        second.signal(SIGKILL)
        with rig.killed(rig.server), rig.killed(rig.backend):
            pass
        rig.cut()
    time.sleep(2)
    first.signal(SIGCONT)
    trial.finish()


@pytest.mark.parametrize("why", ["full", "read-only"])
def test_a_server_that_refuses_writes_ends_no_worker(bare: Rig, why: str) -> None:
    """Workers that lose their connection meanwhile, and one that starts meanwhile, wait until it takes writes again.

    Celery treats the refusal of what a worker writes when it connects, its queues' bindings, as the end of the worker,
    unless it is told that it may try again.
    """
    trial = Trial(bare, next(SEEDS), deadlines=0)
    with bare.new_fleet(*POOLS["threads"]) as fleet:
        fleet.start(2)
        with bare.refusing(bare.server, why):
            bare.cut()
            fleet.start(1, wait=False)
            time.sleep(3)
            bare.cut()
        assert [worker.exit_code for worker in fleet.workers] == [None, None, None]
        fleet.wait_ready()
        trial.send(8)
        trial.finish()


@pytest.mark.parametrize("pool", POOLS)
def test_workers_of_each_pool_outlive_a_restart_of_the_server(bare: Rig, pool: str) -> None:
    """Under load; without anyone's help, and within 30 s."""
    _, forks = restart_under_load(bare, pool, next(SEEDS))
    # Celery takes `-P prefork` for its own default, and for the configured threads then.
    assert forks == {pool == "prefork"}


@pytest.mark.parametrize(
    ("pool", "options"),
    [
        ("prefork", ("--time-limit", "0.5", "--soft-time-limit", "0.3")),
        ("prefork", ("--autoscale", "4,1")),
        ("threads", ("--autoscale", "4,1")),
    ],
)
def test_options_of_celery_that_end_commands_are_not_heeded(bare: Rig, pool: str, options: tuple[str, ...]) -> None:
    """A time limit kills a process in the middle of a send, and Celery calls that the end of the command: no report,
    and a withdrawal that was executed goes to no one. A pool of threads can't be scaled: the error that this makes for
    each message was taken for the message's own, and all of them went to the dead ones."""
    trial = Trial(bare, next(SEEDS), deadlines=0)
    with bare.new_fleet(*POOLS[pool], *options) as fleet, bare.slow_venue(800):
        worker = fleet.start(1, keep=True)[0]
        trial.send(6)
        findings = trial.finish()
        assert {outcome for _, outcome, _ in findings.outcomes} == {"accepted"}
        assert f"{options[0]} is not heeded" in worker.log.read_text()
