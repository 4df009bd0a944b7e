"""A worker is killed, stands still or loses the ledger at every single step of a command.

Workers with one slot each: what goes wrong at a step of one command touches no other, so that every end is exact.
"""

from collections.abc import Iterator, Mapping, Sequence
from signal import SIGCONT

import pytest

from tests.faults.evidence import Trial
from tests.faults.fleet import Fleet, until
from tests.faults.rig import POOLS, QUIET, Rig
from tests.faults.steps import PARK_STEPS, RETRY_STEPS, STEPS
from tests.faults.timings import Timings
from tests.support.checker.commands import KEYS

ALL_STEPS = (*STEPS, *RETRY_STEPS, *PARK_STEPS)
LEDGER_STEPS = tuple(f"{move}.{when}" for move in ("begin", "settle", "pause", "park") for when in ("before", "after"))
ACCEPTED = ("accepted", "ok")
CRASHED = ("unknown", "crashed")
DOUBTFUL = ("unknown", "refused_after_lost")

Ends = Mapping[str, tuple[str, str]]
"""Outcome and reason of the command, by the step at which something went wrong."""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Servers and a simulator; each test starts its own workers."""
    # Time enough to wait for a probe that was killed: until its lease is over, no other command of its account begins.
    with Rig(Timings(budget=20)) as started:
        yield started


@pytest.fixture(params=["solo", "thread"])
def solo(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Workers that execute one command at a time, on Celery's way or on the direct one; none until the test starts
    them."""
    with rig.new_fleet(*POOLS[request.param], *QUIET) as fleet:
        yield fleet
    rig.mend()


@pytest.fixture
def skipped(request: pytest.FixtureRequest) -> frozenset[str]:
    """The steps that the workers do not come by: on the direct way the result is stored and the message acknowledged in
    the step that settles the command."""
    direct = request.node.callspec.params["solo"] == "thread"
    return frozenset({"store.before", "store.after", "ack.before"} if direct else ())


@pytest.fixture
def trial(rig: Rig, request: pytest.FixtureRequest) -> Trial:
    """Commands of the one kind that the test names, with a seed of their own in each way: the venue remembers those of
    the other."""
    kind, seed = request.param
    direct = request.node.callspec.params["solo"] == "thread"
    return Trial(rig, seed + 50 * direct, weights={kind: 1}, deadlines=0)


def send_with_orders(trial: Trial, steps: Sequence[str], do: str) -> dict[str, int]:
    """Send one command for each step, at which something is ordered; the orders' numbers by command id. Where the step
    is one between two attempts, the venue refuses the first in a way that lets the command be sent again; in a second,
    where it is to be parked."""
    names = {"withdraw": ("address", "address"), "cancel": ("id", "order_id"), "close": ("pair", "pair")}
    commands = []
    for step in steps:
        refused = step in (*RETRY_STEPS, *PARK_STEPS)
        # What is refused lets its whole account cool down.
        trial.mix.accounts = [*KEYS][2:] if refused else [*KEYS][:2]
        (command,) = trial.take(1)
        commands.append(command)
        at_venue, name = names[command.kind]
        where = {"path": command.kind, "where": {at_venue: command.kwargs[name]}}
        if refused:
            trial.rig.venue.fault("status", **where, status=429, retry_after="1" if step in PARK_STEPS else None)
    control = trial.rig.control
    orders = {
        command.command_id: control.order(step, do, command.command_id)
        for command, step in zip(commands, steps, strict=True)
    }
    trial.send(commands)
    return orders


def wake_all(rig: Rig, fleet: Fleet, orders: Mapping[str, int]) -> None:
    """Let everyone who was stopped go on, and wait until each has ended or parked the command it was stopped at."""
    marks = rig.control.marks(orders.values())
    assert len(marks) == len(orders)
    last = ("ack.after", "parked.after")
    stopped = {(mark.pid, mark.command_id): mark.at * 1000 for mark in marks if mark.step not in last}
    fleet.signal(SIGCONT)

    def all_ended() -> bool:
        return stopped.keys() <= {
            (pid, command_id)
            for at, pid, step, command_id in rig.control.traces()
            if step in last and at > stopped.get((pid, command_id), 0)
        }

    until(all_ended, lambda: "every sleeper has ended its command")


UNTOUCHED = ("received", "taken", "begin.before")
UNSENT = ("begin.after", "connected", "signed")
SENT = ("left", "answered", "settle.before")
ENDED = ("settle.after", "store.before", "store.after", "ack.before", "ack.after")
# A withdrawal goes on only where it is on record that nothing was sent, or how it ended.
KILLED_WITHDRAW: Ends = {
    **dict.fromkeys((*UNTOUCHED, *RETRY_STEPS[1:], *PARK_STEPS[1:], *ENDED), ACCEPTED),
    **dict.fromkeys((*UNSENT, *SENT, "pause.before", "park.before"), CRASHED),
}
# A cancel is sent again; that the venue then finds no order proves nothing.
KILLED_CANCEL: Ends = {
    **dict.fromkeys((*UNTOUCHED, *RETRY_STEPS, *PARK_STEPS, *UNSENT, *ENDED), ACCEPTED),
    **dict.fromkeys(SENT, DOUBTFUL),
}
# An order with a client order id is looked for: found, or proven absent and sent once.
KILLED_AT_EXCHANGE: Ends = dict.fromkeys((*STEPS, "asked"), ACCEPTED)


@pytest.mark.parametrize(
    ("do", "trial", "workers", "expected"),
    [
        pytest.param("kill", ("withdraw", 11), 4, KILLED_WITHDRAW, id="killed, withdrawal"),
        pytest.param("kill", ("cancel", 12), 4, KILLED_CANCEL, id="killed, cancel"),
        pytest.param("kill", ("x_part", 19), 4, KILLED_AT_EXCHANGE, id="killed, close at an exchange"),
        # The worker asks again, nothing else changes.
        pytest.param("outage", ("withdraw", 15), 3, dict.fromkeys(LEDGER_STEPS, ACCEPTED), id="no ledger, withdrawal"),
        pytest.param("outage", ("close_whole", 16), 3, dict.fromkeys(LEDGER_STEPS, ACCEPTED), id="no ledger, close"),
        pytest.param("cut", ("withdraw", 17), 3, dict.fromkeys(ALL_STEPS, ACCEPTED), id="cut off, withdrawal"),
    ],
    indirect=["trial"],
)
def test_a_fault_at_every_step_ends_in_the_one_report_that_is_true(
    rig: Rig, solo: Fleet, skipped: frozenset[str], trial: Trial, do: str, workers: int, expected: Ends
) -> None:
    """``kill -9``; the ledger does not answer, before or after it has made a move; every connection to the server is
    cut."""
    solo.start(workers, keep=True)
    expected = {step: end for step, end in expected.items() if step not in skipped}
    orders = send_with_orders(trial, [*expected], do)
    trial.finish()
    steps = {mark.command_id: mark.step for mark in rig.control.marks(orders.values())}
    ends = {}
    for command_id, meta in rig.results([*orders]).items():
        report = meta["result"]["exc_message"][0] if "exc_message" in meta["result"] else meta["result"]
        ends[steps[command_id]] = report["outcome"], report["reason"]
    assert ends == expected


@pytest.mark.parametrize("trial", [("withdraw", 13), ("cancel", 14)], indirect=True, ids=lambda param: param[0])
def test_standing_still_at_every_step(rig: Rig, solo: Fleet, skipped: frozenset[str], trial: Trial) -> None:
    """SIGSTOP at each step, until others have reported; then the sleepers wake and go on as if nothing had happened."""
    steps = [step for step in ALL_STEPS if step not in skipped]
    solo.start(len(steps) + 2, keep=True)
    orders = send_with_orders(trial, steps, "stop")
    trial.wait_reports()
    until(lambda: len(rig.control.marks(orders.values())) == len(orders), lambda: "everyone who shall sleep does")
    trial.check_clean()
    wake_all(rig, solo, orders)
    trial.finish()


@pytest.mark.parametrize("trial", [("close_whole", 18)], indirect=True, ids=lambda param: param[0])
def test_who_slept_too_long_signs_nothing(rig: Rig, solo: Fleet, trial: Trial) -> None:
    """Another worker has closed the position meanwhile, and a new one is open when the sleeper wakes: it stays."""
    steps = ("begin.after", "connected")
    solo.start(len(steps) + 1, keep=True)
    orders = send_with_orders(trial, steps, "stop")
    trial.wait_reports()
    pairs = {KEYS[each.account]: str(each.kwargs["pair"]) for each in trial.sent.values()}
    for key, pair in pairs.items():
        rig.venue.position(key, pair, "1")
    wake_all(rig, solo, orders)
    trial.finish()
    assert all(pair in rig.venue.holdings(key)["positions"] for key, pair in pairs.items())
