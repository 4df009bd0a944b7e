"""A seeded schedule of faults: what happens when, drawn before the run, and carried out on whatever rig it is given."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.rig import Rig
from tests.faults.steps import RETRY_STEPS, STEPS, Order
from tests.support.checker.processes import STALE_MARK
from worker.simulator.false_answers import LIES

EVERY = {
    "server killed and restarted": 60.0,
    "server frozen": 45.0,
    "server full": 70.0,
    "connections to the server cut": 15.0,
    "result backend killed and restarted": 50.0,
    "worker frozen": 12.0,
    "clock stepped": 30.0,
    "storm of 429": 40.0,
    "replies spoilt": 8.0,
    "idle connections to the venue cut": 10.0,
    "the venue lies": 2.5,
}
"""Mean seconds between two of a kind."""
SPOILT: tuple[Mapping[str, Any], ...] = (
    {"kind": "cut_before"},
    {"kind": "cut_after"},
    {"kind": "cut_after", "reset": False},
    {"kind": "half"},
    {"kind": "garbage"},
    {"kind": "silent", "execute": True},
    {"kind": "silent", "execute": False},
    {"kind": "slow", "delay_ms": 1500},
    {"kind": "status", "status": 502, "body": "<html>", "execute": True},
    {"kind": "status", "status": 504, "body": "<html>"},
    {"kind": "status", "status": 429, "retry_after": "1"},
    {"kind": "envelope", "message": "Something nobody listed"},
)
"""Ways in which a venue spoils a reply; a burst of 3 to 15 requests each."""


def _about(command: str) -> Sequence[str]:
    fits = [name for name, lie in LIES.items() if lie.get("path", command) == command and lie.get("execute")]
    if command != "positions":
        return sorted(fits)
    # Their record has neither id nor status to be altered.
    return [*sorted(name for name in fits if LIES[name]["kind"] != "altered"), "stale_read"]


LIES_ABOUT = {command: _about(command) for command in ("close", "cancel", "withdraw", "positions")}
"""The simulator's lies about each command. They come in bursts of 4 to 10 requests of one command, which is some 3 % of
a hundred commands a second; seven in ten executed what they lie about."""


def tell(rig: Rig, lie: str, command: str, times: int, *, execute: bool) -> None:
    """Let the venue lie about so many requests of a command; a stale answer is marked for the judge."""
    more: dict[str, Any] = {"changes": STALE_MARK} if lie == "stale_read" else {"execute": execute}
    rig.venue.lie(lie, path=command, times=times, **more)


@dataclass(frozen=True, slots=True)
class Event:
    """One fault: when, in seconds from the start, which, and a number that settles its details."""

    at: float
    kind: str
    seed: int


def draw(seed: int, seconds: float, every: Mapping[str, float] = EVERY) -> list[Event]:
    """Events at random moments, each kind about as often as it should be; the same for the same seed."""
    events = []
    for number, (kind, mean) in enumerate(every.items()):
        dice = random.Random(seed * 1000 + number)
        at = dice.uniform(0.2, 0.7) * mean
        while at < seconds:
            events.append(Event(at, kind, dice.getrandbits(32)))
            at += dice.uniform(0.7, 1.3) * mean
    return sorted(events, key=lambda event: event.at)


@dataclass
class Mayhem:
    """Carries a schedule out, and kills workers at a rate beside it."""

    rig: Rig
    events: list[Event]
    kill_every: float
    seed: int
    commands: Sequence[str] = (*LIES_ABOUT,)
    """About which the venue lies."""
    ordered_kills: bool = True
    """Whether half of the kills happen at exact steps; only workers with a hook can."""
    done: Counter[str] = field(default_factory=Counter)
    kills: list[tuple[int, float]] = field(default_factory=list)
    """Pid and time (UNIX seconds) of each."""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _server: threading.Lock = field(default_factory=threading.Lock)
    _backend: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Begin."""
        self._run(self._kill_all_along)
        self._run(self._follow)

    def stop(self) -> None:
        """End, and wait for faults under way to be over."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, do: Callable[[], None]) -> None:
        thread = threading.Thread(target=do, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _follow(self) -> None:
        started = time.monotonic()
        for event in self.events:
            if self._stopping.wait(max(0.0, started + event.at - time.monotonic())):
                return
            self._run(lambda event=event: self._cause(event))  # type: ignore[misc]

    def _cause(self, event: Event) -> None:
        dice = random.Random(event.seed)
        causes: dict[str, Callable[[random.Random], None]] = {
            "server killed and restarted": self._restart_server,
            "server frozen": self._freeze_server,
            "server full": self._fill_server,
            "connections to the server cut": lambda _: self._with_server(self.rig.cut),
            "result backend killed and restarted": self._restart_backend,
            "worker frozen": self._freeze_worker,
            "clock stepped": self._step_clock,
            "storm of 429": self._storm,
            "replies spoilt": self._spoil,
            "idle connections to the venue cut": lambda dice: self.rig.venue.reset_idle(rst=dice.random() < 0.5),
            "the venue lies": self._lie,
        }
        try:
            causes[event.kind](dice)
        except (OSError, RuntimeError) as trouble:
            self.done[f"{event.kind}: {type(trouble).__name__}"] += 1
            return
        self.done[event.kind] += 1

    # -- workers ------------------------------------------------------------------------------------------------------

    def _kill_all_along(self) -> None:
        dice = random.Random(self.seed)
        next_at = time.monotonic()
        while not self._stopping.is_set():
            next_at += self.kill_every
            if self.ordered_kills and dice.random() < 0.5:
                self._kill_at(dice.choice((*STEPS, *RETRY_STEPS)), next_at)
            else:
                self._stopping.wait(dice.random() * self.kill_every)
                self._kill_one(dice)
            self._stopping.wait(max(0.0, next_at - time.monotonic()))

    def _kill_one(self, dice: random.Random) -> None:
        living = self.rig.fleet.living()
        if not living:
            return
        worker = dice.choice(living)
        at = time.time()
        if worker.kill(children=True):
            self.kills.append((worker.pid, at))

    def _kill_at(self, step: str, until: float) -> None:
        """Let the next worker that reaches the step die there; any of them, when none does in time."""
        order = self.rig.control.order(step, "kill")
        while time.monotonic() < until and not self._stopping.wait(0.05):
            if self._carried_out(order):
                break
        self.rig.control.withdraw(order)
        if not self._carried_out(order):
            self._kill_one(random.Random(order.number))

    def _carried_out(self, order: Order) -> bool:
        marks = self.rig.control.marks(order)
        if marks and (marks[0].pid, marks[0].at) not in self.kills:
            self.kills.append((marks[0].pid, marks[0].at))
        return bool(marks)

    def _freeze_worker(self, dice: random.Random) -> None:
        living = self.rig.fleet.living()
        if living:
            worker = dice.choice(living)
            worker.signal(signal.SIGSTOP)
            self._stopping.wait(dice.uniform(1, 1.5 * self.rig.pace.visibility))
            worker.signal(signal.SIGCONT)

    def _step_clock(self, dice: random.Random) -> None:
        self.rig.control.step_clock(dice.choice((-5000, -500, 500, 3000)))
        self._stopping.wait(dice.uniform(0.5, 2))
        self.rig.control.step_clock(0)

    # -- servers ------------------------------------------------------------------------------------------------------

    def _with_server(self, do: Callable[[], None]) -> None:
        with self._server:
            do()

    def _restart_server(self, dice: random.Random) -> None:
        with self._server:
            self.rig.restart(self.rig.server, down=dice.uniform(0, 2))

    def _restart_backend(self, dice: random.Random) -> None:
        with self._backend:
            self.rig.restart(self.rig.backend, down=dice.uniform(0, 2))

    def _freeze_server(self, dice: random.Random) -> None:
        with self._server, self.rig.frozen(self.rig.server):
            self._stopping.wait(dice.uniform(1, 4))

    def _fill_server(self, dice: random.Random) -> None:
        with self._server, self.rig.full(self.rig.server):
            self._stopping.wait(dice.uniform(0.5, 2))

    # -- the venue ----------------------------------------------------------------------------------------------------

    def _storm(self, dice: random.Random) -> None:
        # No 503 of this venue is known to be transient: in whatever words it says so, it may have executed.
        fault = self.rig.venue.fault("status", status=429, times=None)
        self._stopping.wait(dice.uniform(1, 3))
        self.rig.venue.clear_faults(fault)

    def _spoil(self, dice: random.Random) -> None:
        self.rig.venue.fault(**dice.choice(SPOILT), times=dice.randrange(3, 15))

    def _lie(self, dice: random.Random) -> None:
        command = dice.choice(self.commands)
        name = dice.choice(LIES_ABOUT[command])
        tell(self.rig, name, command, dice.randrange(4, 11), execute=dice.random() < 0.7)
