"""A worker is killed, stands still or loses the ledger at every single step of a command.

Workers with one slot each: what goes wrong at a step of one command touches no other, so that every end is exact.
"""

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.faults.evidence import Trial
from tests.faults.fleet import Fleet, until
from tests.faults.rig import QUIET, Rig
from tests.faults.steps import RETRY_STEPS, STEPS, Order
from tests.faults.traffic import KEYS, Sent

SOLO = ("-P", "solo", *QUIET)
UNTOUCHED = ("received", "taken", "begin.before")
SENDING = ("begin.after", "connected", "signed", "left", "answered", "settle.before")
UNSENT = ("begin.after", "connected", "signed")
"""Of those, the steps at which the venue has nothing yet."""
ENDED = ("settle.after", "store.before", "store.after", "ack.before", "ack.after")
LEDGER_STEPS = ("begin.before", "begin.after", "settle.before", "settle.after", "pause.before", "pause.after")

ACCEPTED = ("accepted", "ok")
CRASHED = ("unknown", "crashed")
DOUBTFUL = ("unknown", "refused_after_lost")


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Servers and a simulator; each test starts its own workers."""
    with Rig() as started:
        yield started


@pytest.fixture
def solo(rig: Rig) -> Iterator[Callable[[int], Fleet]]:
    """Starts workers that execute one command at a time."""
    fleets: list[Fleet] = []

    def start(count: int) -> Fleet:
        fleets.append(rig.new_fleet(SOLO))
        fleets[-1].start(count, keep=True)
        return fleets[-1]

    yield start
    for fleet in fleets:
        fleet.close()
    rig.fresh()


@pytest.fixture
def trial(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Trial]:
    """Commands of the one kind that the test names."""
    kind, seed = getattr(request, "param", ("withdraw", 1))
    made = Trial(rig, seed, weights={kind: 1}, deadlines=0)
    yield made
    made.close()


def retry_once(trial: Trial, command: Sent) -> None:
    """Let the venue refuse a command once in a way that lets it be sent again, so that it waits."""
    field = {"withdraw": ("address", "address"), "cancel": ("id", "order_id"), "close": ("pair", "pair")}[command.kind]
    where = {field[0]: command.kwargs[field[1]]}
    trial.rig.venue.fault("status", path=command.kind, where=where, status=429)


def ordered(trial: Trial, steps: tuple[str, ...], do: str) -> dict[str, Order]:
    """One command for each step, at which something is ordered; by command id."""
    orders: dict[str, Order] = {}
    commands = trial.take(len(steps))
    for step, command in zip(steps, commands, strict=True):
        if step.startswith(("pause", "waiting")):
            retry_once(trial, command)
        orders[command.command_id] = trial.rig.control.order(step, do, command.command_id)
    trial.sender.send_all(commands)
    return orders


def ends(trial: Trial, orders: dict[str, Order]) -> dict[str, tuple[str, str]]:
    """Outcome and reason by the step at which something went wrong."""
    found = {}
    for command_id, meta in trial.rig.results(list(orders)).items():
        result = meta["result"]
        report = result["exc_message"][0] if "exc_message" in result else result
        found[orders[command_id].step] = report["outcome"], report["reason"]
    return found


def carried_out(rig: Rig, orders: dict[str, Order]) -> set[str]:
    """The steps at which what was ordered happened."""
    return {mark.step for mark in rig.control.marks(*orders.values())}


def awake(rig: Rig, orders: dict[str, Order]) -> bool:
    """Whether everyone who was stopped has ended the command he was stopped at."""
    done = {(pid, command_id) for _, pid, step, command_id in rig.control.traces() if step == "ack.after"}
    return {(mark.pid, mark.command_id) for mark in rig.control.marks(*orders.values())} <= done


EXPECTED = {
    # A withdrawal goes on only where it is on record that nothing was sent, or how it ended.
    "withdraw": {
        **dict.fromkeys((*UNTOUCHED, *RETRY_STEPS[1:], *ENDED), ACCEPTED),
        **dict.fromkeys((*SENDING, "pause.before"), CRASHED),
    },
    # A cancel is sent again; that the venue then finds no order proves nothing.
    "cancel": {
        **dict.fromkeys((*UNTOUCHED, *RETRY_STEPS, *UNSENT, *ENDED), ACCEPTED),
        **dict.fromkeys(("left", "answered", "settle.before"), DOUBTFUL),
    },
}


@pytest.mark.parametrize("trial", [("withdraw", 11), ("cancel", 12)], indirect=True, ids=lambda param: param[0])
def test_killed_at_every_step(rig: Rig, solo: Callable[[int], Fleet], trial: Trial) -> None:
    """``kill -9`` at each step: every command ends in the one report that is true."""
    fleet = solo(4)
    steps = (*STEPS, *RETRY_STEPS)
    orders = ordered(trial, steps, "kill")
    findings = trial.finish()
    assert carried_out(rig, orders) == set(steps)
    assert findings.clean, findings.first()
    kind = next(iter(trial.sender.sent.values())).kind
    assert ends(trial, orders) == EXPECTED[kind]
    assert fleet.surprises == []


@pytest.mark.parametrize("trial", [("withdraw", 13), ("cancel", 14)], indirect=True, ids=lambda param: param[0])
def test_standing_still_at_every_step(rig: Rig, solo: Callable[[int], Fleet], trial: Trial) -> None:
    """SIGSTOP at each step, until others have reported; then the sleepers wake and go on as if nothing had happened."""
    steps = (*STEPS, *RETRY_STEPS)
    fleet = solo(len(steps) + 2)
    orders = ordered(trial, steps, "stop")
    rig.wait_reports(list(orders))
    until(lambda: carried_out(rig, orders) == set(steps), "everyone who shall sleep does")
    asleep = trial.check()
    assert asleep.clean, asleep.first()
    for worker in fleet.workers:
        worker.signal(signal.SIGCONT)
    until(lambda: awake(rig, orders), "every sleeper has ended its command")
    findings = trial.finish()
    assert findings.clean, findings.first()
    assert fleet.surprises == []


@pytest.mark.parametrize("trial", [("close_whole", 18)], indirect=True, ids=lambda param: param[0])
def test_who_slept_too_long_signs_nothing(rig: Rig, solo: Callable[[int], Fleet], trial: Trial) -> None:
    """Another worker has closed the position meanwhile, and a new one is open when the sleeper wakes: it stays."""
    steps = ("begin.after", "connected")
    fleet = solo(len(steps) + 1)
    orders = ordered(trial, steps, "stop")
    rig.wait_reports(list(orders))
    pairs = {KEYS[str(each.kwargs["account"])]: str(each.kwargs["pair"]) for each in trial.sender.sent.values()}
    for key, pair in pairs.items():
        rig.venue.position(key, pair, "1")
    for worker in fleet.workers:
        worker.signal(signal.SIGCONT)
    until(lambda: awake(rig, orders), "every sleeper has ended its command")
    findings = trial.finish()
    assert findings.clean, findings.first()
    assert all(pair in rig.venue.holdings(key)["positions"] for key, pair in pairs.items())


@pytest.mark.parametrize("trial", [("withdraw", 15), ("close_whole", 16)], indirect=True, ids=lambda param: param[0])
def test_the_ledger_fails_at_every_step(rig: Rig, solo: Callable[[int], Fleet], trial: Trial) -> None:
    """The ledger does not answer, before and after it has made a move: the worker asks again, nothing else changes."""
    fleet = solo(3)
    orders = ordered(trial, LEDGER_STEPS, "outage")
    findings = trial.finish()
    assert carried_out(rig, orders) == set(LEDGER_STEPS)
    assert findings.clean, findings.first()
    assert ends(trial, orders) == dict.fromkeys(LEDGER_STEPS, ACCEPTED)
    assert fleet.surprises == []


@pytest.mark.parametrize("trial", [("withdraw", 17)], indirect=True, ids=lambda param: param[0])
def test_cut_off_from_the_server_at_every_step(rig: Rig, solo: Callable[[int], Fleet], trial: Trial) -> None:
    """Every connection to the server is cut at each step: each withdrawal is executed once, and reported so."""
    fleet = solo(3)
    orders = ordered(trial, (*STEPS, *RETRY_STEPS), "cut")
    findings = trial.finish()
    assert carried_out(rig, orders) == {*STEPS, *RETRY_STEPS}
    assert findings.clean, findings.first()
    assert set(ends(trial, orders).values()) == {ACCEPTED}
    assert fleet.surprises == []
