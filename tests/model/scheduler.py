"""A scheduler that runs one thread at a time, in an order that a seed decides, on a clock of its own.

Each task runs in its own thread, because the executor is ordinary synchronous code. Threads hand a baton to each other
at named points, so that the seed decides everything: who goes on, how long a step takes, which process freezes or dies.
"""

import heapq
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

END_MS = 4 * 3_600_000
"""Virtual time after which a run counts as stuck."""


class Killed(BaseException):
    """Raised at the point at which the process of a task was killed."""


@dataclass
class Process:
    """A worker process, which can die and freeze, and whose wall clock may be wrong."""

    name: str
    skew_ms: int = 0
    frozen_until: float = 0.0
    dead: bool = False
    stopping: bool = False


@dataclass(eq=False)
class Task:
    """The execution of one delivered message in one process."""

    name: str
    process: Process
    run: Callable[[], bool]  # returns whether the message may be acknowledged
    again: Callable[[], None]  # has the message delivered again
    wake: float = 0.0
    begun: str = ""  # the command whose next send the ledger has confirmed to have begun
    heard: bool = False  # whether the venue has answered its present attempt
    readings: list[int] = field(default_factory=list)  # of the clock, since the present request was asked for
    baton: threading.Semaphore | None = None  # what the task waits for, once it has started

    @property
    def ready_at(self) -> float:
        # A dead process's task gets the baton once more, to unwind.
        return 0.0 if self.process.dead else max(self.wake, self.process.frozen_until)


@dataclass
class Chances:
    """How often each thing goes wrong, as probabilities where nothing else is said."""

    kill: float
    kills: int  # how many processes are killed at most
    freeze: float
    slow: float
    stay: float  # that the same task goes on
    ambush: list[tuple[str, str]]
    """Points at which the next process is killed or frozen: a part of the label, and ``kill`` or ``freeze``."""
    ledger_away: float
    ledger_reply_lost: float
    never_left: float
    lost: float
    late: float
    lies: float
    cached: float  # that a reconcile reads from a cache, as of before the first command
    undone: float  # that the venue rejects a withdrawal after it took it


class Scheduler:
    """Runs tasks and timed events until nothing is left to do."""

    def __init__(self, seed: int, chances: Chances, start_ms: int, trace: Callable[[str], None] | None = None) -> None:
        self.random = random.Random(seed)
        self.chances = chances
        self.now = float(start_ms)
        self._end = start_ms + END_MS
        self.tasks: list[Task] = []
        self.current: Task | None = None
        self.stuck = False
        self.moved_after_death: list[str] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = 0
        self._all_done = threading.Semaphore(0)
        self._trace = trace
        self._error: Exception | None = None

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Call a function at a time; it must not wait for anything."""
        self._counter += 1
        heapq.heappush(self._events, (when, self._counter, do))

    def spawn(self, name: str, process: Process, run: Callable[[], bool], again: Callable[[], None]) -> None:
        self.tasks.append(Task(name, process, run, again, wake=self.now))

    def say(self, text: str) -> None:
        """Write a line of the trace."""
        if self._trace:
            self._trace(f"{self.now:.0f} {self.current.name if self.current else '-':12} {text}")

    def run(self) -> None:
        """Run until nothing is left to do.

        Raises:
            Exception: a task raised it.
        """
        self._hand_to(self._pick())
        self._all_done.acquire()
        self.current = None
        if self._error:
            raise self._error

    def point(self, label: str, wait_ms: float = 0.0) -> None:
        """A point of the running task at which others may run, time may pass, and its process may freeze or die.

        Raises:
            Killed: its process is dead.
        """
        task = self.current
        assert task is not None
        if task.process.dead:
            self.moved_after_death.append(f"{task.name}: {label}")
            raise Killed
        self.say(label)
        happens = self._happens(label)
        if happens == "kill":
            task.process.dead = True
            self.say(f"KILLED at {label}")
            raise Killed
        if happens == "freeze":
            seconds = self.random.choice((3, 12, 20, 40, 60, 120))
            task.process.frozen_until = self.now + seconds * 1000
            self.say(f"FROZEN for {seconds} s at {label}")
        if not wait_ms and self.random.random() < self.chances.slow:
            wait_ms = self.random.choice((1, 5, 30, 400))
        task.wake = self.now + wait_ms
        following = self._pick()
        if following is not task:
            self._hand_to(following)
            assert task.baton is not None
            task.baton.acquire()
            self.current = task
        if task.process.dead or self.stuck:
            raise Killed

    def _happens(self, label: str) -> str:
        """What happens to the process at this point: ``kill``, ``freeze`` or nothing."""
        random, chances = self.random, self.chances
        for trap in chances.ambush:
            if trap[0] in label and random.random() < 0.7:
                chances.ambush.remove(trap)
                return trap[1]
        roll = random.random()
        if roll < chances.kill and chances.kills > 0:
            chances.kills -= 1
            return "kill"
        return "freeze" if roll > 1 - chances.freeze else ""

    def _pick(self) -> Task | None:
        while True:
            while self._events and self._events[0][0] <= self.now:
                self._guarded(heapq.heappop(self._events)[2])
            ready = [task for task in self.tasks if task.ready_at <= self.now]
            if ready:
                if self.current in ready and self.random.random() < self.chances.stay:
                    return self.current
                return ready[0] if len(ready) == 1 else self.random.choice(ready)
            times = [task.ready_at for task in self.tasks] + [event[0] for event in self._events[:1]]
            if not times:
                return None
            self.now = min(times)
            if self.now > self._end and not self.stuck:
                self._stop()

    def _guarded(self, call: Callable[[], Any]) -> Any:
        """The function's result. After an error, which :meth:`run` raises, nothing goes on."""
        try:
            return call()
        except Killed:
            return None
        except Exception as error:  # noqa: BLE001
            self._error = error
            self._stop()

    def _stop(self) -> None:
        """End all tasks."""
        self.stuck = True
        self._events.clear()
        for task in self.tasks:
            task.wake = task.process.frozen_until = 0

    def _hand_to(self, task: Task | None) -> None:
        if task is None:
            self._all_done.release()
        elif task.baton:
            task.baton.release()
        else:
            task.baton = threading.Semaphore(0)
            threading.Thread(target=self._carry, args=(task,), daemon=True).start()

    def _carry(self, task: Task) -> None:
        """Run a task from its first step to its last."""
        self.current = task
        ended = task.process.dead or self.stuck
        acknowledged = not ended and self._guarded(task.run)
        if not acknowledged and not self.stuck:
            task.again()
        self.tasks.remove(task)
        self._hand_to(self._pick())
