"""Each fault alone, under commands of all kinds: nothing lost, nothing executed twice, every report true.

``test_steps.py`` breaks workers at exact steps; here it is what surrounds them that breaks, while three of them work.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from producers.client import OrderClient
from producers.commands import parse_command
from tests.faults.after import environment
from tests.faults.court import Trial
from tests.faults.judge import Findings
from tests.faults.pace import Pace
from tests.faults.rig import QUIET, THREADS, Rig
from tests.faults.schedule import LIES_ABOUT, tell
from tests.faults.traffic import Mix, raw_copies
from worker.bootstrap import build_reconciler
from worker.celery_app.results import result_publisher
from worker.operations.reconcile import operator_app
from worker.settings import load
from worker.simulator.false_answers import LIES

COUNT = 20


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A server for queues and ledger, one for results, a simulator, and three workers, replaced when they die."""
    with Rig() as started:
        started.fleet.start(3, keep=True)
        yield started


@pytest.fixture
def trial(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Trial]:
    """All kinds of commands; the workers are ready for them."""
    rig.fleet.wait_ready()
    made = Trial(rig, 100 + request.node.session.items.index(request.node), deadlines=0)
    yield made
    rig.fresh()
    made.close()


def clean(trial: Trial) -> Findings:
    """Wait for all reports; nothing may be wrong with them, and no worker may have ended by itself."""
    findings = trial.finish()
    assert findings.clean, findings.first()
    assert trial.rig.fleet.surprises == []
    return findings


def slow_venue(rig: Rig, seconds: float = 0.6) -> None:
    """Let every answer take a while, so that commands are under way when something happens."""
    rig.venue.configure(latency_ms=int(seconds * 1000))


@contextmanager
def under_way(trial: Trial, count: int = COUNT) -> Iterator[None]:
    """In the block, commands are at the venue and others queued behind them."""
    slow_venue(trial.rig)
    trial.send(count)
    trial.arrived(8)
    try:
        yield
    finally:
        trial.rig.venue.configure(latency_ms=0)


def test_nothing_is_broken(trial: Trial) -> None:
    """Without a fault every command is accepted: the rig itself breaks nothing."""
    trial.send(COUNT)
    findings = clean(trial)
    assert {outcome for _, outcome, _ in findings.outcomes} == {"accepted"}


# -- the server --------------------------------------------------------------------------------------------------------


def test_the_server_is_killed_and_restarted(rig: Rig, trial: Trial) -> None:
    """Queues, ledger and unacknowledged messages come back from the append-only file."""
    with under_way(trial):
        rig.restart(rig.server, down=0.5)
    clean(trial)


def test_the_server_stands_still(rig: Rig, trial: Trial) -> None:
    """Longer than the ledger's timeout and a request's: connections stay open, nothing is answered."""
    with under_way(trial), rig.frozen(rig.server):
        threading.Event().wait(rig.pace.read + 1.5)
    clean(trial)


def test_connections_to_the_server_are_cut(rig: Rig, trial: Trial) -> None:
    """Again and again, while commands are under way."""
    with under_way(trial):
        for _ in range(5):
            rig.cut()
            threading.Event().wait(0.2)
    clean(trial)


def test_the_server_is_full(rig: Rig, trial: Trial) -> None:
    """It refuses every write that needs memory: nothing new is sent, and what was sent is written down afterwards."""
    with under_way(trial), rig.full(rig.server):
        threading.Event().wait(1.5)
        arrived = len(trial.executions())
        threading.Event().wait(0.5)
        assert len(trial.executions()) == arrived
    clean(trial)


def test_the_broker_is_emptied(rig: Rig, trial: Trial) -> None:
    """What ``OrderClient`` said is enqueued is published again from its intents."""
    commands = [each for each in trial.take(COUNT) if each.kind != "positions"]
    for worker in rig.fleet.workers:
        worker.signal(signal.SIGSTOP)
    with OrderClient(rig.queues) as client:
        for each in commands:
            client.enqueue(parse_command(each.task, each.kwargs), each.command_id)
            trial.sender.sent[each.command_id] = each
    rig.client(0).flushdb()
    rig.continue_stopped()
    clean(trial)


# -- the result backend ------------------------------------------------------------------------------------------------


def test_the_result_backend_is_away(rig: Rig, trial: Trial) -> None:
    """Commands end while nobody can store their results: they are stored once it is back."""
    with under_way(trial):
        rig.backend.kill()
        rig.venue.configure(latency_ms=0)
        trial.arrived(16)
    rig.backend.start()
    clean(trial)


def test_the_result_backend_is_full(rig: Rig, trial: Trial) -> None:
    """It refuses to store results for a while."""
    with under_way(trial), rig.full(rig.backend):
        threading.Event().wait(1.5)
    clean(trial)


# -- the venue ---------------------------------------------------------------------------------------------------------

VENUE_FAULTS = {
    "cut before it is read": {"kind": "cut_before"},
    "cut after it is executed": {"kind": "cut_after"},
    "closed after it is executed": {"kind": "cut_after", "reset": False},
    "half an answer": {"kind": "half"},
    "an unreadable answer": {"kind": "garbage"},
    "no answer": {"kind": "silent", "execute": True},
    "a late answer": {"kind": "slow", "delay_ms": 1500},
    "a gateway's 502, executed": {"kind": "status", "status": 502, "body": "<html>", "execute": True},
    "a gateway's 504": {"kind": "status", "status": 504, "body": "<html>"},
    "a bare 503, executed": {"kind": "status", "status": 503, "body": "busy", "execute": True},
    "an unlisted 503": {"kind": "envelope", "message": "Try something else"},
    "an unlisted 503, executed": {"kind": "envelope", "message": "Please hold the line", "execute": True},
}


@pytest.mark.parametrize("fault", VENUE_FAULTS)
def test_the_venue_misbehaves(rig: Rig, trial: Trial, fault: str) -> None:
    """Whatever becomes of the answers to a dozen requests, the reports are true."""
    rig.venue.fault(**VENUE_FAULTS[fault], times=12)
    trial.send(COUNT)
    clean(trial)


@pytest.mark.parametrize("lie", sorted({*LIES} - {"limited_for_a_fraction"}))
def test_the_venue_lies(rig: Rig, trial: Trial, lie: str) -> None:
    """It executes a few commands of each kind, and others not, and says the same of all of them."""
    about = [command for command, lies in LIES_ABOUT.items() if lie in lies]
    for command in about:
        for execute in (True, False):
            tell(rig, lie, command, 2, execute=execute)
    trial.mix = Mix(5000 + sorted(LIES).index(lie), deadlines=0)
    trial.send(COUNT)
    clean(trial)
    assert sum(each["applied"] for each in rig.venue.faults()) >= len(about)


def test_a_refusal_after_a_doubt_is_no_refusal(rig: Rig, trial: Trial) -> None:
    """Executed, answered with a doubt, sent again, and refused because it was executed."""
    trial.mix = Mix(5100, {"cancel": 1}, deadlines=0)
    for command in trial.take(3):
        where = {"id": command.kwargs["order_id"]}
        rig.venue.lie("doubtful_refusal", path="cancel", where=where)
        trial.sender.send(command)
    assert clean(trial).outcomes == {("cancel", "unknown", "refused_after_lost"): 3}


def test_idle_connections_to_the_venue_are_cut(rig: Rig, trial: Trial) -> None:
    """The pool's connections end between the moment they are chosen and the first byte, by FIN and by RST."""
    for rst in (False, True, False, True):
        trial.send(COUNT // 4)
        rig.venue.reset_idle(rst=rst)
    trial.send(COUNT // 4)
    clean(trial)


def test_a_storm_of_429(rig: Rig, trial: Trial) -> None:
    """The venue takes nothing, for longer than some commands can wait."""
    storm = rig.venue.fault("status", status=429, times=None)
    trial.send(COUNT)
    rig.wait_reports(list(trial.sender.sent)[:1])
    rig.venue.clear_faults(storm)
    findings = clean(trial)
    mutating = {outcome for command, outcome, _ in findings.outcomes if command != "positions"}
    assert mutating <= {"accepted", "not_sent"}


# -- messages and time -------------------------------------------------------------------------------------------------


def test_the_visibility_timeout_passes_while_commands_run(rig: Rig, trial: Trial) -> None:
    """Messages are delivered again, more than once, while their commands are still at the venue."""
    hasty = rig.new_fleet([*THREADS, *QUIET], Pace(visibility=1, read=4, budget=8))
    try:
        for worker in rig.fleet.workers:
            worker.signal(signal.SIGSTOP)
        hasty.start(2, keep=True)
        rig.venue.fault("slow", delay_ms=3000, times=12)
        ids = trial.send(12)
        rig.wait_reports(ids)
        received = [command_id for _, _, step, command_id in rig.control.traces() if step == "received"]
        assert sum(received.count(each) > 1 for each in ids) >= 6
        rig.continue_stopped()
        clean(trial)
        assert hasty.surprises == []
    finally:
        hasty.close()


def test_the_same_message_twice_at_once(rig: Rig, trial: Trial) -> None:
    """Byte for byte, at two workers at the same time: one executes, the other waits for its report."""
    slow_venue(rig, 0.3)
    commands = trial.take(12)
    for worker in rig.fleet.workers:
        worker.signal(signal.SIGSTOP)
    for command in commands:
        trial.sender.send(command)
        raw_copies(rig.client(0), command.task)
    rig.continue_stopped()
    clean(trial)
    rig.venue.configure(latency_ms=0)


@pytest.mark.parametrize(("seconds", "refused"), [(-3600, True), (-8, False), (5, True), (3600, True)])
def test_the_clock_is_wrong(rig: Rig, trial: Trial, seconds: int, refused: bool) -> None:
    """It steps while commands wait between attempts: what the venue refuses for its timestamp is rejected, truly."""
    rig.venue.fault("status", status=429, times=10)
    trial.send(COUNT // 2)
    rig.control.step_clock(seconds * 1000)
    trial.send(COUNT // 2)
    findings = clean(trial)
    assert (findings.outcomes["withdraw", "rejected", "refused"] > 0) is refused


@pytest.mark.parametrize("ms", [-5000, 500])
def test_a_lost_close_is_found_although_the_clock_was_wrong(rig: Rig, ms: int) -> None:
    """Reconcile looks from its begin, by the ledger's clock, until the venue would have refused its signature."""
    rig.fleet.wait_ready()
    trial = Trial(rig, 10_000 + ms, weights={"close_part": 1}, deadlines=0)
    try:
        rig.control.step_clock(ms)
        rig.venue.fault("cut_after", path="close", times=None)
        trial.send(4)
        trial.finish()
    finally:
        rig.fresh()
        trial.close()
    with environment(rig.environment), operator_app(settings := load()) as app:
        found = [*build_reconciler(settings, result_publisher(app)).all()]
    mine = [each for each in found if each.command_id in trial.sender.sent]
    assert [(each.finding, each.outcome) for each in mine] == [("found", "accepted")] * 4, mine


@pytest.mark.parametrize("refusal", ["full", "read-only"])
def test_a_server_that_refuses_writes_ends_no_worker(bare: Rig, refusal: str) -> None:
    """Workers that lose their connection meanwhile, and one that starts meanwhile, wait until it takes writes again.

    Celery treats the refusal of what a worker writes when it connects, its queues' bindings, as the end of the worker,
    unless it is told that it may try again.
    """
    fleet = bare.new_fleet(POOLS["threads"])
    trial = Trial(bare, 950 + len(refusal), deadlines=0)
    try:
        connected = fleet.start(2)
        with bare.full(bare.server) if refusal == "full" else bare.read_only(bare.server):
            bare.cut()
            started = fleet.start(1, wait=False)
            threading.Event().wait(3)
            bare.cut()
        assert [worker.exit_code for worker in connected + started] == [None, None, None]
        fleet.wait_ready()
        trial.send(8)
        findings = trial.finish()
        assert findings.clean, findings.first()
    finally:
        trial.close()
        fleet.close()


# -- workers -----------------------------------------------------------------------------------------------------------


def test_workers_are_killed_in_the_rush(rig: Rig, trial: Trial) -> None:
    """One of three every fifth of a second, wherever it is."""
    slow_venue(rig, 0.1)
    commands = trial.take(60)
    done = threading.Event()
    sending = threading.Thread(target=lambda: [trial.sender.send(each) for each in commands])
    sending.start()
    for number in range(10):
        rig.fleet.workers[number % 3].kill()
        done.wait(0.2)
    sending.join()
    rig.venue.configure(latency_ms=0)
    clean(trial)


def test_everything_at_once(rig: Rig, trial: Trial) -> None:
    """A worker dies, one stands still, servers restart, connections are cut and replies lost, all in two seconds."""
    rig.venue.fault("cut_after", times=5)
    rig.venue.fault("status", status=429, times=5, skip=2)
    with under_way(trial, 30):
        first, second, _ = rig.fleet.workers
        rig.stop_for(first, 3)
        second.kill()
        rig.restart(rig.server)
        rig.restart(rig.backend)
        rig.cut()
    clean(trial)


POOLS: dict[str, tuple[str, ...]] = {
    "threads": ("-P", "threads", "-c", "8"),
    "prefork": ("-P", "prefork", "-c", "2"),
    "solo": ("-P", "solo"),
}


@pytest.fixture(scope="module")
def bare() -> Iterator[Rig]:
    """A rig without workers."""
    with Rig(one_server=True) as started:
        yield started


@pytest.mark.parametrize("pool", POOLS)
def test_workers_of_each_pool_outlive_a_restart_of_the_server(bare: Rig, pool: str) -> None:
    """Under load; without anyone's help, and within 30 s."""
    fleet = bare.new_fleet(POOLS[pool])
    trial = Trial(bare, 900 + [*POOLS].index(pool), deadlines=0)
    try:
        pids = [worker.pid for worker in fleet.start(2, keep=True)]
        # Celery takes `-P prefork` for its own default, and for the configured threads then.
        assert {bool(psutil.Process(pid).children()) for pid in pids} == {pool == "prefork"}
        slow_venue(bare, 0.2)
        trial.send(COUNT)
        bare.venue.wait(arrivals=1)
        bare.restart(bare.server, down=1)
        trial.send(COUNT)
        findings = trial.finish(30)
        assert findings.clean, findings.first()
        assert [worker.pid for worker in fleet.workers] == pids, fleet.surprises
    finally:
        trial.close()
        fleet.close()
        bare.venue.configure(latency_ms=0)


@pytest.mark.parametrize(
    ("seed", "pool", "options"),
    [
        (971, "prefork", ("--time-limit", "0.5", "--soft-time-limit", "0.3")),
        (972, "prefork", ("--autoscale", "4,1")),
        (973, "threads", ("--autoscale", "4,1")),
    ],
)
def test_options_of_celery_that_end_commands_are_not_heeded(
    bare: Rig, seed: int, pool: str, options: tuple[str, ...]
) -> None:
    """A time limit kills a process in the middle of a send, and Celery calls that the end of the command: no report,
    and a withdrawal that was executed goes to no one. A pool of threads can't be scaled: the error that this makes for
    each message was taken for the message's own, and all of them went to the dead ones."""
    fleet = bare.new_fleet((*POOLS[pool], *options))
    trial = Trial(bare, seed, deadlines=0)
    try:
        worker = fleet.start(1, keep=True)[0]
        slow_venue(bare, 0.8)
        trial.send(6)
        findings = trial.finish()
        assert findings.clean, findings.first()
        assert {outcome for _, outcome, _ in findings.outcomes} == {"accepted"}
        assert f"{options[0]} is not heeded" in worker.log.read_text()
    finally:
        trial.close()
        fleet.close()
        bare.venue.configure(latency_ms=0)
