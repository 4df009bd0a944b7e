"""A seeded schedule of faults: what happens when, drawn before the run, and carried out on whatever rig it is given."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from random import Random
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any, Self

import redis

from tests.faults.rig import Rig
from tests.faults.steps import LOOK_STEPS, PARK_STEPS, RETRY_STEPS, STEPS
from tests.support.checker.processes import STALE_MARK
from tests.support.servers import Server
from worker.simulator.false_answers import LIES

SPOILT: Mapping[str, Mapping[str, Any]] = {
    "cut before it is read": {"kind": "cut_before"},
    "cut after it is executed": {"kind": "cut_after"},
    "closed after it is executed": {"kind": "cut_after", "reset": False},
    "half an answer": {"kind": "half"},
    "an unreadable answer": {"kind": "garbage"},
    "no answer": {"kind": "silent", "execute": False},
    "no answer, executed": {"kind": "silent", "execute": True},
    "a late answer": {"kind": "slow", "delay_ms": 1500},
    "a gateway's 502, executed": {"kind": "status", "status": 502, "body": "<html>", "execute": True},
    "a gateway's 504": {"kind": "status", "status": 504, "body": "<html>"},
    "a bare 503, executed": {"kind": "status", "status": 503, "body": "busy", "execute": True},
    "an unlisted 503": {"kind": "envelope", "message": "Try something else"},
    "an unlisted 503, executed": {"kind": "envelope", "message": "Please hold the line", "execute": True},
    "429 with a time to wait": {"kind": "status", "status": 429, "retry_after": "1"},
}
"""Ways in which a venue spoils a reply, as faults of the simulator."""


def _lies_about(command: str) -> Sequence[str]:
    fits = [name for name, lie in LIES.items() if lie.get("path", command) == command and lie.get("execute")]
    if command != "positions":
        return sorted(fits)
    # Their record has neither id nor status to be altered.
    return [*sorted(name for name in fits if LIES[name]["kind"] != "altered"), "stale_read"]


LIES_ABOUT = {command: _lies_about(command) for command in ("close", "cancel", "withdraw", "positions")}
"""The simulator's lies about each command. They come in bursts of 4 to 10 requests of one command, which is some 3 % of
a hundred commands a second; seven in ten executed what they lie about."""


EXCHANGE_LIES = sorted(name for name, lie in LIES.items() if lie["kind"] != "altered" and lie.get("execute"))
"""About orders and cancels at exchanges. What alters Everstrike's record would leave theirs as it is: a flawless
success, which nothing could reveal if nothing was executed."""


def lie_about(rig: Rig, command: str, lie: str, times: int, *, execute: bool) -> None:
    """Let Everstrike lie about so many requests of a command, or any venue about positions; a stale answer is marked
    for the checker."""
    more: dict[str, Any] = {"changes": STALE_MARK} if lie == "stale_read" else {"execute": execute}
    path = command if command == "positions" else f"/auth/{command}"
    rig.venue.lie(lie, path=path, times=times, **more)


@dataclass(frozen=True, slots=True)
class Event:
    """One fault: when, in seconds from the start, which, and a number that settles its details."""

    at: float
    kind: str
    seed: int


class Schedule:
    """Carries events out, and kills workers at a rate beside them; a context manager, for as long as it goes on."""

    def __init__(
        self,
        rig: Rig,
        events: Sequence[Event],
        kill_every: float,
        seed: int,
        *,
        commands: Sequence[str] = (*LIES_ABOUT,),
        kill_at_steps: bool = True,
    ) -> None:
        """The venue lies about ``commands``. Half of the kills happen ``at_steps``; only workers with a hook can."""
        self.rig, self.commands = rig, commands
        self.done: Counter[str] = Counter()
        self.parked: list[int] = []
        """How many commands were parked at the broker, each second."""
        self.kills: dict[int, float] = {}
        """When each pid was killed, UNIX seconds."""
        self.stopping = threading.Event()
        self.server_lock = threading.Lock()
        self._events, self._kill_every, self._kill_at_steps = events, kill_every, kill_at_steps
        self._dice = Random(seed)
        self._pool = ThreadPoolExecutor(50)
        self._running: list[Future[None]] = []

    def __enter__(self) -> Self:
        tasks = self._kill_all_along, self._follow, self._count_parked
        self._running += [self._pool.submit(task) for task in tasks]
        return self

    def __exit__(self, *_: object) -> None:
        """End, and wait for faults under way to be over."""
        self.stopping.set()
        for each in self._running:
            each.result(60)

    def _follow(self) -> None:
        started = time.monotonic()
        for event in self._events:
            if self.stopping.wait(max(0.0, started + event.at - time.monotonic())):
                return
            self._running.append(self._pool.submit(self._cause, event))

    def _cause(self, event: Event) -> None:
        _, cause = KINDS[event.kind]
        trouble = ""
        try:
            cause(self, Random(event.seed))
        except (OSError, RuntimeError, redis.RedisError) as error:
            trouble = f": {type(error).__name__}"
        self.done[event.kind + trouble] += 1

    def _count_parked(self) -> None:
        while not self.stopping.wait(1):
            with suppress(redis.RedisError):
                self.parked.append(self.rig.count_parked())

    def _kill_all_along(self) -> None:
        next_at = time.monotonic()
        while not self.stopping.is_set():
            next_at += self._kill_every
            if self._kill_at_steps and self._dice.random() < 0.5:
                self._kill_at(self._dice.choice((*STEPS, *RETRY_STEPS, *PARK_STEPS, *LOOK_STEPS)), next_at)
            else:
                self.stopping.wait(self._dice.random() * self._kill_every)
                self._kill_one()
            self.stopping.wait(max(0.0, next_at - time.monotonic()))

    def _kill_one(self) -> None:
        if living := self.rig.fleet.living():
            worker, at = self._dice.choice(living), time.time()
            if worker.signal(SIGKILL):
                self.kills[worker.pid] = at

    def _kill_at(self, step: str, until: float) -> None:
        """Let the next worker that reaches the step die there; any of them, when none does in time."""
        order = self.rig.control.order(step, "kill")
        while time.monotonic() < until and not self._killed(order):
            self.stopping.wait(0.05)
        self.rig.control.withdraw(order)
        if not self._killed(order):
            self._kill_one()

    def _killed(self, order: int) -> bool:
        marks = self.rig.control.marks([order])
        self.kills.update((mark.pid, mark.at) for mark in marks)
        return bool(marks)

    def hold(self, fault: Callable[[Server], AbstractContextManager[None]], seconds: float) -> None:
        """Let a fault of the broker's and ledger's server last so long; one at a time."""
        with self.server_lock, fault(self.rig.server):
            self.stopping.wait(seconds)


def _cut(schedule: Schedule, _: Random) -> None:
    with schedule.server_lock:
        schedule.rig.cut()


def _restart_backend(schedule: Schedule, dice: Random) -> None:
    rig = schedule.rig
    with schedule.server_lock if rig.backend is rig.server else nullcontext(), rig.killed(rig.backend):
        schedule.stopping.wait(dice.uniform(0, 2))


def _freeze_worker(schedule: Schedule, dice: Random) -> None:
    if living := schedule.rig.fleet.living():
        worker = dice.choice(living)
        worker.signal(SIGSTOP)
        schedule.stopping.wait(dice.uniform(1, 1.5 * schedule.rig.timings.visibility))
        worker.signal(SIGCONT)


def _step_clock(schedule: Schedule, dice: Random) -> None:
    schedule.rig.control.step_clock(dice.choice((-5000, -500, 500, 3000)))
    schedule.stopping.wait(dice.uniform(0.5, 2))
    schedule.rig.control.step_clock(0)


def _storm(schedule: Schedule, dice: Random) -> None:
    # No 503 of this venue is known to be transient: in whatever words it says so, it may have executed.
    fault = schedule.rig.venue.fault("status", status=429, times=None)
    schedule.stopping.wait(dice.uniform(1, 3))
    schedule.rig.venue.clear_faults(fault)


def _ask_to_wait(schedule: Schedule, dice: Random) -> None:
    """The commands of these requests are parked, and those of their accounts that come meanwhile."""
    status = dice.choice((429, 429, 503))
    schedule.rig.venue.fault("status", status=status, retry_after=dice.choice("12"), times=dice.randrange(2, 6))


def _spoil(schedule: Schedule, dice: Random) -> None:
    schedule.rig.venue.fault(**SPOILT[dice.choice([*SPOILT])], times=dice.randrange(3, 15))


def _lie(schedule: Schedule, dice: Random) -> None:
    command = dice.choice(schedule.commands)
    lie = dice.choice(LIES_ABOUT[command])
    lie_about(schedule.rig, command, lie, dice.randrange(4, 11), execute=dice.random() < 0.7)


def _lie_at_exchange(schedule: Schedule, dice: Random) -> None:
    path = dice.choice(("submit", "submit", "/derivatives/api/v3/cancelorder", "/api/v5/trade/cancel-order"))
    lie, execute = dice.choice(EXCHANGE_LIES), dice.random() < 0.7
    schedule.rig.venue.lie(lie, path=path, times=dice.randrange(2, 6), execute=execute)


def _hold(schedule: Schedule, dice: Random) -> None:
    """Requests that their senders have given up arrive late, some of them after their time."""
    path = dice.choice(("submit", "submit", "cancel", "close", "withdraw"))
    fault = schedule.rig.venue.fault("hold", path=path, times=dice.randrange(2, 6))
    schedule.stopping.wait(dice.uniform(0.5, 15))
    schedule.rig.venue.clear_faults(fault)
    schedule.rig.venue.release(fault_id=fault)


KINDS: Mapping[str, tuple[float, Callable[[Schedule, Random], object]]] = {
    "server killed and restarted": (60, lambda it, dice: it.hold(it.rig.killed, dice.uniform(0, 2))),
    "server frozen": (45, lambda it, dice: it.hold(it.rig.frozen, dice.uniform(1, 4))),
    "server full": (70, lambda it, dice: it.hold(it.rig.refusing, dice.uniform(0.5, 2))),
    "connections to the server cut": (15, _cut),
    "result backend killed and restarted": (50, _restart_backend),
    "worker frozen": (12, _freeze_worker),
    "clock stepped": (30, _step_clock),
    "storm of 429": (40, _storm),
    "requests to wait": (4, _ask_to_wait),
    "replies spoilt": (8, _spoil),
    "idle connections to the venue cut": (10, lambda it, dice: it.rig.venue.reset_idle(rst=dice.random() < 0.5)),
    "the venue lies": (2.5, _lie),
    "an exchange lies": (4, _lie_at_exchange),
    "late arrivals": (8, _hold),
}
"""Each kind of fault: the mean number of seconds between two of them, and what causes one."""
EVERY = {kind: seconds for kind, (seconds, _) in KINDS.items()}


def draw(seed: int, seconds: float, every: Mapping[str, float] = EVERY) -> list[Event]:
    """Events at random moments, each kind about as often as it should be; the same for the same seed."""
    events = []
    for number, (kind, mean) in enumerate(every.items()):
        dice = Random(seed * 1000 + number)
        at = dice.uniform(0.2, 0.7) * mean
        while at < seconds:
            events.append(Event(at, kind, dice.getrandbits(32)))
            at += dice.uniform(0.7, 1.3) * mean
    return sorted(events, key=lambda event: event.at)
