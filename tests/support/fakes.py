"""Fakes of what the executor needs: a clock that tests set, and a transport that answers from a script."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from worker.venues.http.base import HttpLimits, NoResponse, Response, SignedRequest

START_MS = 1_800_000_000_000


@dataclass
class TurnedClock:
    """Time that passes only when someone sleeps, or a test turns it."""

    ms: int = START_MS
    unseen_ms: int = 0
    """How long the whole machine was suspended: the monotonic clock stood still meanwhile."""
    slept: list[float] = field(default_factory=list)
    on_sleep: Callable[[float], None] = lambda seconds: None

    def now_ms(self) -> int:
        """UNIX milliseconds."""
        return self.ms

    def monotonic(self) -> float:
        """Seconds."""
        return (self.ms - self.unseen_ms) / 1000

    def sleep(self, seconds: float) -> None:
        """Let the time pass, and note that somebody slept."""
        self.slept.append(seconds)
        self.turn(seconds)
        self.on_sleep(seconds)

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self.ms += round(seconds * 1000)

    def suspend(self, seconds: float) -> None:
        """Let time pass while this machine is suspended."""
        self.turn(seconds)
        self.unseen_ms += round(seconds * 1000)


Step = Response | NoResponse | Exception | Callable[[], "Step"]


class ScriptedTransport:
    """Plays a script, a step for each exchange; a step may be a function that does something first."""

    def __init__(self, steps: Iterable[Step] = (), limits: HttpLimits | None = None) -> None:
        self.limits = limits or HttpLimits()
        self.steps = list(steps)
        self.requests: list[SignedRequest] = []
        self.before_prepare: Callable[[], None] = lambda: None

    def send(self, base_url: str, prepare: Callable[[], SignedRequest]) -> Response | NoResponse:
        """Play the next step. The request is prepared first, unless the step is a connection that could not be made."""
        step = self.steps.pop(0)
        if isinstance(step, NoResponse) and not step.bytes_left:
            return step
        self.before_prepare()
        self.requests.append(prepare())
        while callable(step):
            step = step()
        if isinstance(step, Exception):
            raise step
        return step
