"""One thread at a time, chosen by a seed, over a time that only the scheduler turns.

Each task runs in a thread of its own, because the executor is ordinary synchronous code; a baton goes from one to the
next at named points, so that a seed says everything: who goes on, how long each step takes, who is frozen and who dies.
"""

import heapq
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

END_MS = 4 * 3_600_000
"""Virtual time after which a run counts as stuck."""


class Killed(BaseException):
    """The process was killed: nothing after this point is ever run."""


class _Carrier(threading.Thread):
    """A thread that is used again: starting one costs more than a whole run's handing over."""

    idle: list["_Carrier"] = []  # noqa: RUF012 # shared on purpose, and only the bearer of the baton touches it

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.go = threading.Lock()
        self.go.acquire()
        self.job: Callable[[], None] = lambda: None
        self.start()

    @classmethod
    def get(cls, job: Callable[[], None]) -> "_Carrier":
        """One that will run this job when it gets the baton."""
        carrier = cls.idle.pop() if cls.idle else cls()
        carrier.job = job
        return carrier

    def run(self) -> None:
        while True:
            self.go.acquire()
            self.job()


@dataclass
class Process:
    """What dies, freezes and has clocks: one worker process."""

    name: str
    skew_ms: int = 0
    frozen_until: float = 0.0
    dead: bool = False
    stopping: bool = False


@dataclass(eq=False)
class Task:
    """One delivery in one process."""

    name: str
    process: Process
    run: Callable[[], bool]
    """Says whether the message may be acknowledged."""
    again: Callable[[], None]
    """Delivers it again some time."""
    wake: float = 0.0
    done: bool = False
    carrier: _Carrier | None = None
    begun: str = ""
    """The command whose next send the ledger has confirmed to have begun."""
    readings: list[int] = field(default_factory=list)
    """What the clock said since the present request was asked for."""


@dataclass
class Weather:
    """How often what goes wrong; chances at each point."""

    kill: float = 0.0
    kills: int = 0
    freeze: float = 0.0
    slow: float = 0.3
    stay: float = 0.6
    """How often the same task goes on."""
    ambush: list[tuple[str, str]] = field(default_factory=list)
    """Where the next process to come by is killed or frozen: a part of the point's label, and which of the two."""

    def at(self, label: str, random: random.Random) -> str:
        """What happens here: ``kill``, ``freeze`` or nothing."""
        for trap in self.ambush:
            if trap[0] in label and random.random() < 0.7:
                self.ambush.remove(trap)
                return trap[1]
        roll = random.random()
        if roll < self.kill and self.kills > 0:
            self.kills -= 1
            return "kill"
        return "freeze" if roll > 1 - self.freeze else ""


class Scheduler:
    """See the module."""

    def __init__(self, seed: int, weather: Weather, start_ms: int, trace: Callable[[str], None] | None = None) -> None:
        self.random = random.Random(seed)
        self.weather = weather
        self.now = float(start_ms)
        self._end = start_ms + END_MS
        self.tasks: list[Task] = []
        self.current: Task | None = None
        self.stuck = False
        self.moved_after_death: list[str] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = 0
        self._main = threading.Lock()
        self._main.acquire()
        self._trace = trace

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Let something happen at a time; it must not wait for anything."""
        self._counter += 1
        heapq.heappush(self._events, (when, self._counter, do))

    def spawn(self, name: str, process: Process, run: Callable[[], bool], again: Callable[[], None]) -> None:
        """One more task."""
        self.tasks.append(Task(name, process, run, again, wake=self.now))

    def say(self, text: str) -> None:
        """One line of the trace."""
        if self._trace:
            who = self.current.name if self.current else "-"
            self._trace(f"{self.now:.0f} {who:12} {text}")

    def run(self) -> None:
        """Run until nothing is left to do."""
        following = self._pick()
        if following is not None:
            self._hand_to(following)
            self._main.acquire()
        self.current = None

    # -- called by tasks -----------------------------------------------------------------------------------------

    def point(self, label: str, wait_ms: float = 0.0) -> None:
        """A place where anything may happen to the task that is running: others go on, time passes, it dies.

        Raises:
            Killed: it died.
        """
        task = self.current
        assert task is not None
        if task.process.dead:
            self.moved_after_death.append(f"{task.name}: {label}")
            raise Killed
        self.say(label)
        happens = self.weather.at(label, self.random)
        if happens == "kill":
            task.process.dead = True
            self.say(f"KILLED at {label}")
            raise Killed
        if happens == "freeze":
            seconds = self.random.choice((3, 12, 20, 40, 60, 120))
            task.process.frozen_until = self.now + seconds * 1000
            self.say(f"FROZEN for {seconds} s at {label}")
        if not wait_ms and self.random.random() < self.weather.slow:
            wait_ms = self.random.choice((1, 5, 30, 400))
        task.wake = self.now + wait_ms
        following = self._pick()
        if following is not task:
            self._hand_to(following)
            assert task.carrier is not None
            task.carrier.go.acquire()
            self.current = task
        if task.process.dead or self.stuck:
            raise Killed

    # -- the baton -----------------------------------------------------------------------------------------------

    def _pick(self) -> Task | None:
        while True:
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            left = [task for task in self.tasks if not task.done]
            ready = [task for task in left if self._ready_at(task) <= self.now]
            if ready:
                if self.current in ready and self.random.random() < self.weather.stay:
                    return self.current
                return ready[0] if len(ready) == 1 else self.random.choice(ready)
            times = [self._ready_at(task) for task in left]
            if self._events:
                times.append(self._events[0][0])
            if not times:
                return None
            self.now = min(times)
            if self.now > self._end and not self.stuck:
                self.stuck = True
                self._events.clear()
                for task in left:
                    task.wake = task.process.frozen_until = 0

    def _ready_at(self, task: Task) -> float:
        # A dead process's task gets the baton once more, to unwind.
        return 0.0 if task.process.dead else max(task.wake, task.process.frozen_until)

    def _hand_to(self, task: Task | None) -> None:
        if task is None:
            self._main.release()
            return
        if task.carrier is None:
            task.carrier = _Carrier.get(lambda: self._carry(task))
        task.carrier.go.release()

    def _carry(self, task: Task) -> None:
        """A task from its first step to its last, in its carrier."""
        self.current = task
        acknowledged = False
        try:
            if not (task.process.dead or self.stuck):
                acknowledged = task.run()
        except Killed:
            pass
        task.done = True
        if not acknowledged and not self.stuck:
            task.again()
        self.tasks.remove(task)
        assert task.carrier is not None
        _Carrier.idle.append(task.carrier)
        self._hand_to(self._pick())
