"""Twins around the real executor: clock, ledger, transport and venue, each with the scheduler's points in it."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qs

import requests

from producers.report import Report
from tests.model.scheduler import Process, Scheduler
from worker.execution.ledger import BeginAnswer, Begun, Claim, LedgerUnavailable, Progress
from worker.execution.memory_ledger import MemoryLedger
from worker.venues.base import Answer
from worker.venues.connections import HttpLimits
from worker.venues.transport import NoAnswer

T = TypeVar("T")
WINDOW_MS = 15_000
SECRET = "secret-of-main"
KEY = "key-of-main"


@dataclass
class Chances:
    """How often the ledger and the venue fail."""

    ledger_away: float = 0.0
    ledger_reply_lost: float = 0.0
    never_left: float = 0.05
    lost: float = 0.1
    late: float = 0.05
    window: bool = True


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
class Sent:
    """One request as it left, for the judge."""

    command_id: str
    confirmed: bool
    """Whether the ledger had confirmed a begin to this task since its last send."""
    readings: tuple[int, ...]
    """What the clock said since the connection was open."""
    timestamp: int | None
    signature: str


@dataclass
class Venue:
    """An exchange with a book. What it says is up to the seed; what it executes is written down."""

    scheduler: Scheduler
    chances: Chances
    book: list[str] = field(default_factory=list)
    """Ids of commands, one for each execution."""
    stale_accepted: int = 0

    def answer(self, request: requests.PreparedRequest) -> Answer:
        """Check signature and clock, then execute, refuse or fail."""
        random = self.scheduler.random
        fields = fields_of(request)
        if request.headers["x-signature"] != sign(request.body):
            return _envelope(401, "Invalid signature")
        if "timestamp" in fields and self.scheduler.now > int(fields["timestamp"]) + WINDOW_MS and self.chances.window:
            self.scheduler.say("venue: too old")
            return _envelope(503, "Invalid request")
        command_id, path = id_of(request), request.path_url
        again = command_id in self.book and (path == "/auth/cancel" or "qty" not in fields)
        if again and random.random() < 0.8:
            return _envelope(503, "The order was not found")
        roll = random.random()
        if roll < 0.55:
            self._execute(command_id)
            return _envelope(200, None)
        if roll < 0.65:
            return _envelope(429, "Too many requests") if random.random() < 0.7 else Answer(429, b"")
        if roll < 0.78:
            return _envelope(503, "Your request was rejected due to insufficient balance")
        # No failure that is not listed proves anything, the venue's own refusal in words that nobody knows included.
        if random.random() < 0.5:
            self._execute(command_id)
        return _envelope(503, "Something odd") if roll < 0.88 else Answer(502, b"<html>")

    def _execute(self, command_id: str) -> None:
        self.scheduler.say(f"venue: EXECUTES {command_id}")
        self.book.append(command_id)


class SimTransport:
    """The network to the venue: requests may be late, and answers lost."""

    def __init__(self, scheduler: Scheduler, venue: Venue, log: list[Sent]) -> None:
        self.limits = HttpLimits()
        self._scheduler, self._venue, self._log = scheduler, venue, log

    def exchange(self, base_url: str, prepare: Callable[[], requests.PreparedRequest]) -> Answer | NoAnswer:
        """See :meth:`worker.venues.transport.Transport.exchange`."""
        scheduler, random, chances = self._scheduler, self._scheduler.random, self._venue.chances
        scheduler.point("connects")
        if random.random() < chances.never_left:
            return NoAnswer(left=False, message="no connection")
        assert scheduler.current is not None
        scheduler.current.readings.clear()
        request = prepare()
        readings = tuple(scheduler.current.readings)
        scheduler.point("is about to send")
        if random.random() < chances.never_left:
            return NoAnswer(left=False, message="the connection broke before anything was sent")
        self._note(request, readings)
        box: list[Answer] = []
        on_the_way = random.choice((4_000, 12_000, 20_000, 90_000)) if random.random() < chances.late else 5
        lost = random.random()
        if lost > chances.lost / 2:
            scheduler.at(scheduler.now + on_the_way, lambda: box.append(self._venue.answer(request)))
        back = chances.lost / 2 < lost < chances.lost
        timeout = self.limits.read_timeout * 1000
        scheduler.point("sends", min(on_the_way + 5, timeout) if not back else 20)
        scheduler.point("reads the answer" if box and not back else "gets no answer")
        return box[0] if box and not back else NoAnswer(left=True, message="the reply was lost")

    def _note(self, request: requests.PreparedRequest, readings: tuple[int, ...]) -> None:
        task = self._scheduler.current
        assert task is not None
        stamp = fields_of(request).get("timestamp")
        command_id, signature = id_of(request), request.headers["x-signature"]
        confirmed = task.begun == command_id
        task.begun = ""
        self._log.append(Sent(command_id, confirmed, readings, int(stamp) if stamp else None, signature))


def fields_of(request: requests.PreparedRequest) -> dict[str, str]:
    """The form."""
    body = request.body if isinstance(request.body, bytes) else b""
    return {name: values[0] for name, values in parse_qs(body.decode()).items()}


def id_of(request: requests.PreparedRequest) -> str:
    """The command's id, which the simulation puts where the venue sees it."""
    fields = fields_of(request)
    return fields.get("address") or fields.get("id") or fields["pair"]


def sign(body: Any) -> str:
    """The signature that the venue expects."""
    return base64.b64encode(hmac.digest(SECRET.encode(), body, hashlib.sha256)).decode()


def _envelope(status: int, message: str | None) -> Answer:
    said = "null" if message is None else f'"{message}"'
    return Answer(status, f'{{"code":{status},"msg":{said},"result":{{}}}}'.encode())
