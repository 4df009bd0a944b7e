"""Twins around the real executor: clock, ledger, casebook and transport, with the scheduler's points in them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

from producers.report import Report
from tests.model.scheduler import Process, Scheduler
from tests.model.sim_venue import Chances, Venue, fields_of, id_of
from worker.ledger.base import BeginAnswer, Begun, Claim, LedgerUnavailable, Progress, State
from worker.ledger.memory import MemoryLedger
from worker.venues.http.base import HttpLimits, NoResponse, Response, SignedRequest

T = TypeVar("T")


class ProcessClock:
    """A process's clocks: its wall clock may be off, and stepped."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        self._scheduler, self._process = scheduler, process

    def now_ms(self) -> int:
        """UNIX milliseconds, as this machine has them."""
        task = self._scheduler.current
        if task is not None and self._scheduler.random.random() < 0.1:
            self._scheduler.point("reads the clock")
        reading = int(self._scheduler.now) + self._process.skew_ms
        if task is not None:
            task.readings.append(reading)
        return reading

    def monotonic(self) -> float:
        """Seconds; never stepped."""
        return self._scheduler.now / 1000

    def sleep(self, seconds: float) -> None:
        """Wait, while others go on."""
        self._scheduler.point(f"sleeps {seconds:.2f} s", max(seconds * 1000, 0.001))


class SimLedger(MemoryLedger):
    """The ledger's twin behind a network: calls and replies get lost, and take time."""

    def __init__(self, scheduler: Scheduler, chances: Chances) -> None:
        super().__init__(lambda: int(scheduler.now))
        self._scheduler, self._chances = scheduler, chances

    def _over_network(self, label: str, call: Callable[[], T]) -> T:
        scheduler = self._scheduler
        scheduler.point(f"{label}: asks")
        roll = scheduler.random.random()
        if roll < self._chances.ledger_away:
            scheduler.say(f"{label}: the ledger is away")
            raise LedgerUnavailable("the ledger can't be reached")
        answer = call()
        if scheduler.current is None or scheduler.current.process.dead:
            scheduler.moved_after_death.append(label)
        scheduler.point(f"{label}: {type(answer).__name__ if not isinstance(answer, bool) else answer}")
        if roll > 1 - self._chances.ledger_reply_lost:
            scheduler.say(f"{label}: the reply is lost")
            raise LedgerUnavailable("the reply was lost")
        return answer

    def _write(self, event: str, command_id: str, token: str, outcome: str = "", **more: str) -> None:
        """The real journal, a stream, has the time of each line as well."""
        super()._write(event, command_id, token, outcome, at=str(int(self._scheduler.now)), **more)

    def begin(self, claim: Claim, attempt: int) -> BeginAnswer:
        """Remembers for the judge what was confirmed to whom."""
        answer = self._over_network(f"begin {attempt}", lambda: MemoryLedger.begin(self, claim, attempt))
        if isinstance(answer, Begun) and self._scheduler.current is not None:
            self._scheduler.current.begun = claim.command_id
        return answer

    def renew(self, claim: Claim) -> bool:
        """Over the network."""
        return self._over_network("renew", lambda: MemoryLedger.renew(self, claim))

    def pause(self, claim: Claim, progress: Progress, lease_ms: int) -> bool:
        """Over the network."""
        return self._over_network("pause", lambda: MemoryLedger.pause(self, claim, progress, lease_ms))

    def settle(self, claim: Claim, report: Report) -> Report | None:
        """Over the network."""
        label = f"settle {report.outcome.value}"
        return self._over_network(label, lambda: MemoryLedger.settle(self, claim, report))

    def refuse(self, claim: Claim, report: Report) -> BeginAnswer | None:
        """Over the network."""
        return self._over_network("refuse", lambda: MemoryLedger.refuse(self, claim, report))

    def abandon(self, claim: Claim, *found: Any) -> bool:
        """Over the network."""
        label = f"abandon as {found[-1].outcome.value}"
        return self._over_network(label, lambda: MemoryLedger.abandon(self, claim, *found))


@dataclass
class SimCasebook:
    """What a reconcile keeps and finds beside the records, over the ledger's twin."""

    ledger: SimLedger
    looks: dict[str, int] = field(default_factory=dict)

    def unknowns(self) -> list[tuple[str, int]]:
        """Open unknowns, oldest first; since when, nobody asks here."""
        entries = self.ledger._entries.items()
        return [(command_id, 0) for command_id, entry in entries if entry.record.state is State.UNKNOWN]

    def first_look(self, command_id: str) -> int | None:
        """When nothing was found for the first time."""
        return self.looks.get(command_id)

    def note_look(self, command_id: str, at_ms: int) -> None:
        """Nothing was found; the first look stands."""
        self.looks.setdefault(command_id, at_ms)

    def forget_look(self, command_id: str) -> None:
        """Something was found, or the command is settled."""
        self.looks.pop(command_id, None)

    def begun(self) -> "SimCasebook":
        """The sends that the journal knows of; read anew each time."""
        return self

    def between(self, start_ms: int, end_ms: int, _command: str, _accounts: Collection[str]) -> list[str]:
        """Ids of everything that began a send in this time; whoever asks reads the records anyway."""
        begun = (line for line in self.ledger.journal if line["event"] == "begin")
        return [*dict.fromkeys(line["id"] for line in begun if start_ms <= int(line["at"]) <= end_ms)]

    begun_between = between


@dataclass
class Sent:
    """One request as it left, for the judge."""

    command_id: str
    confirmed: bool
    """Whether the ledger had confirmed a begin to this task since its last send."""
    readings: tuple[int, ...]
    """What the clock said since the connection was open."""
    timestamp: int | None
    signature: str


class SimTransport:
    """The network to the venue: requests may be late, and answers lost."""

    def __init__(self, scheduler: Scheduler, venue: Venue, log: list[Sent]) -> None:
        self.limits = HttpLimits()
        self._scheduler, self._venue, self._log = scheduler, venue, log

    def send(self, base_url: str, prepare: Callable[[], SignedRequest]) -> Response | NoResponse:
        """See :meth:`worker.venues.http.transport.Transport.send`."""
        scheduler, random, chances = self._scheduler, self._scheduler.random, self._venue.chances
        scheduler.point("connects")
        if random.random() < chances.never_left:
            return NoResponse(bytes_left=False, message="no connection")
        assert scheduler.current is not None
        scheduler.current.readings.clear()
        request = prepare()
        readings = tuple(scheduler.current.readings)
        scheduler.point("is about to send")
        if random.random() < chances.never_left:
            return NoResponse(bytes_left=False, message="the connection broke before anything was sent")
        self._note(request, readings)
        box: list[Response] = []
        on_the_way = random.choice((4_000, 12_000, 20_000, 90_000)) if random.random() < chances.late else 5
        lost = random.random()
        if lost > chances.lost / 2:
            scheduler.at(scheduler.now + on_the_way, lambda: box.append(self._venue.answer(request)))
        back = chances.lost / 2 < lost < chances.lost
        timeout = self.limits.read_timeout * 1000
        scheduler.point("sends", min(on_the_way + 5, timeout) if not back else 20)
        scheduler.point("reads the answer" if box and not back else "gets no answer")
        return box[0] if box and not back else NoResponse(bytes_left=True, message="the reply was lost")

    def _note(self, request: SignedRequest, readings: tuple[int, ...]) -> None:
        task = self._scheduler.current
        assert task is not None
        stamp = fields_of(request).get("timestamp")
        command_id, signature = id_of(request), request.headers["x-signature"]
        confirmed = task.begun == command_id
        task.begun = ""
        self._log.append(Sent(command_id, confirmed, readings, int(stamp) if stamp else None, signature))
