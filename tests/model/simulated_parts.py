"""Fakes around the real executor: clock, ledger, reconcile store and transport, with the scheduler's points in them."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from producers.report import Report
from tests.model.paced import Paced
from tests.model.scheduler import Process, Scheduler
from tests.model.simulated_venue import Venue, fields_of, id_of
from tests.support.memory_ledger import MemoryLedger
from worker.ledger.base import Begun, Claim, Following, LedgerUnavailable, State
from worker.venues.http.base import HttpLimits, NoResponse, Response, SignedRequest


class ProcessClock:
    """The clocks of a process: the wall clock may be wrong and may be stepped, the monotonic one is always right."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        self._scheduler, self._process = scheduler, process

    def now_ms(self) -> int:
        task = self._scheduler.current
        if task is not None and self._scheduler.random.random() < 0.1:
            self._scheduler.point("reads the clock")
        reading = int(self._scheduler.now) + self._process.skew_ms
        if task is not None:
            task.readings.append(reading)
        return reading

    def monotonic(self) -> float:
        return self._scheduler.now / 1000

    def sleep(self, seconds: float) -> None:
        self._scheduler.point(f"sleeps {seconds:.2f} s", max(seconds * 1000, 0.001))


def _over_network(move: str) -> Callable[..., Any]:
    """A move of the in-memory ledger, of which the network may lose or delay the call or the reply."""

    def call(self: "SimulatedLedger", claim: Claim, *rest: Any) -> Any:
        scheduler = self._scheduler
        label = f"{move} {rest[-1]}" if move == "begin" else move
        if reports := [each for each in rest if isinstance(each, Report)]:
            label = f"{move} {reports[0].outcome.value}"
        scheduler.point(f"{label}: asks")
        roll = scheduler.random.random()
        if roll < scheduler.chances.ledger_away:
            scheduler.say(f"{label}: the ledger is away")
            raise LedgerUnavailable("the ledger can't be reached")
        if move == "park" and self.spoils and scheduler.random.random() < self.spoils:
            progress, wait_ms, known, *more = rest
            rest = (progress, wait_ms, scheduler.random.choice(("", "null", "[" * 60, known[:30])), *more)
        answer = getattr(MemoryLedger, move)(self, claim, *rest)
        if scheduler.current is None or scheduler.current.process.dead:
            scheduler.moved_after_death.append(label)
        task = scheduler.current
        if self.paced.note(move, claim, rest, answer, int(scheduler.now), task is not None and task.heard):
            task.heard = False
        scheduler.point(f"{label}: {answer if isinstance(answer, bool) else type(answer).__name__}")
        if roll > 1 - scheduler.chances.ledger_reply_lost:
            scheduler.say(f"{label}: the reply is lost")
            raise LedgerUnavailable("the reply was lost")
        if isinstance(answer, Begun):
            scheduler.current.begun = claim.command_id
        return answer

    return call


class SimulatedLedger(MemoryLedger):
    """The in-memory ledger behind a network."""

    begin, take_to_look, renew, pause, park, settle, refuse, abandon = (
        _over_network(move)
        for move in ("begin", "take_to_look", "renew", "pause", "park", "settle", "refuse", "abandon")
    )
    spoils = 0.0
    """How often what is kept of a parked command can't be read any more."""

    def __init__(self, scheduler: Scheduler, seed: int) -> None:
        super().__init__(lambda: int(scheduler.now))
        self._scheduler = scheduler
        self.paced = Paced()
        self.beside = random.Random(seed ^ 0xF0110)
        self.told: list[Report] = []
        """Where the reports are put that are stored in the step of their command's end."""
        self.followed = 0

    def _follow(self, following: Following, report: Report) -> None:
        """Sometimes a result can't be stored in this step, or a message can't be acknowledged."""
        self.refuses = {each for each in ("store", "ack") if self.beside.random() < 0.1}
        super()._follow(following, report)
        if following.stored:
            self.told.append(report)
            self.followed += 1
        self._scheduler.say(f"what follows: stored {following.stored}, acknowledged {following.acked}")

    def _write(self, event: str, command_id: str, token: str, outcome: str = "", **more: str) -> None:
        """Add the time, which the real journal has because it is a stream."""
        super()._write(event, command_id, token, outcome, at=str(int(self._scheduler.now)), **more)


def reconcile_store(ledger: SimulatedLedger) -> Any:
    """Stands for the reconcile store and the journal, over the simulated ledger."""
    absences: dict[str, int] = {}

    def unknowns() -> list[tuple[str, int]]:
        """Oldest first; the times are not used here."""
        return [(each, 0) for each, entry in ledger._entries.items() if entry.record.state is State.UNKNOWN]

    def begun_between(start_ms: int, end_ms: int, *_: Any) -> list[str]:
        """Ids of everything that began a send in this time, of any command and account."""
        begun = (line for line in ledger.journal if line["event"] == "begin")
        return [*dict.fromkeys(line["id"] for line in begun if start_ms <= int(line["at"]) <= end_ms)]

    return SimpleNamespace(
        unknowns=unknowns,
        first_absence_at=absences.get,
        record_absence=absences.setdefault,
        forget_absence=lambda command_id: absences.pop(command_id, None),
        begun_sends=lambda: SimpleNamespace(between=begun_between),
    )


@dataclass
class Sent:
    """A request as it was sent, for the judge."""

    command_id: str
    confirmed: bool  # whether the ledger had confirmed a begin to this task since its last send
    readings: tuple[int, ...]  # what the clock said since the connection was open
    timestamp: int | None
    signature: str
    account: str
    handle: str
    until: int


class SimulatedTransport:
    """The network to the venue, on which requests may be late and answers lost."""

    def __init__(self, scheduler: Scheduler, venue: Venue, log: list[Sent]) -> None:
        self.limits = HttpLimits()
        self._scheduler, self._venue, self._log = scheduler, venue, log

    def send(self, base_url: str, prepare: Callable[[], SignedRequest]) -> Response | NoResponse:
        """See :meth:`worker.venues.http.transport.Transport.send`."""
        scheduler, random, chances = self._scheduler, self._scheduler.random, self._scheduler.chances
        scheduler.point("connects")
        if random.random() < chances.never_left:
            return NoResponse(bytes_left=False, message="no connection")
        assert scheduler.current is not None
        scheduler.current.readings.clear()
        request = prepare()
        if request.method == "GET":
            return self._read(request)
        readings = tuple(scheduler.current.readings)
        scheduler.point("is about to send")
        if random.random() < chances.never_left:
            return NoResponse(bytes_left=False, message="the connection broke before anything was sent")
        self._note(request, readings)
        box: list[Response] = []
        on_the_way = random.choice(self._venue.delays) if random.random() < chances.late else 5
        lost = random.random()
        if lost > chances.lost / 2:
            scheduler.at(scheduler.now + on_the_way, lambda: box.append(self._venue.answer(request)))
        if self._venue.ids and self._venue.ids.sends_twice(fields_of(request)):
            scheduler.at(scheduler.now + on_the_way - 1, lambda: self._venue.answer(request))
        back = chances.lost / 2 < lost < chances.lost
        timeout = self.limits.read_timeout * 1000
        scheduler.point("sends", 20 if back else min(on_the_way + 5, timeout))
        scheduler.point("reads the answer" if box and not back else "gets no answer")
        scheduler.current.heard = bool(box) and not back
        return box[0] if box and not back else NoResponse(bytes_left=True, message="the reply was lost")

    def _read(self, request: SignedRequest) -> Response | NoResponse:
        """Ask the venue's lists, which may answer late or never."""
        scheduler, ids = self._scheduler, self._venue.ids
        scheduler.point("reads")
        assert ids is not None
        answer, lost = ids.read(request), ids.random.random() < scheduler.chances.lost / 4
        scheduler.point("waits for a list", ids.random.choice((5, 5, 5, 2_000)))
        return NoResponse(bytes_left=True, message="the reply was lost") if lost else answer

    def _note(self, request: SignedRequest, readings: tuple[int, ...]) -> None:
        task, stamp = self._scheduler.current, fields_of(request).get("timestamp")
        assert task is not None
        confirmed, task.begun = task.begun == id_of(request), ""
        signature, account = request.headers["x-signature"], request.headers["x-api-key"]
        handle, until = fields_of(request).get("handle", ""), int(fields_of(request).get("until", 0))
        sent = id_of(request), confirmed, readings, int(stamp) if stamp else None, signature, account, handle, until
        self._log.append(Sent(*sent))
