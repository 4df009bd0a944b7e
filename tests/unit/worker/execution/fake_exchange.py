"""A fake exchange that knows client order ids, its venue, and workers in front of it.

It plays rules that exchanges document: a request that comes after its ``until`` is refused, an id of an open order is a
duplicate, and, where ids may be reused, an id of a filled order is not.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from producers.commands import Cancel, Command, Positions
from producers.report import Report
from tests.support.fakes import TurnedClock
from tests.unit.worker.execution.executor_fixture import ENVELOPE_FIELDS, Dead, ExecutorFixture
from worker.execution.parking import ParkMessage
from worker.venues.accounts import Account
from worker.venues.base import Plan, Proof, Verdict
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import HttpLimits, NoResponse, Response, Send, SignedRequest
from worker.venues.lookups import Lookup, Sight, Sighting

Fate = str | Callable[[], object]
"""What becomes of one request: ``ok``, ``reply lost``, ``request lost``, ``arrives late``, ``dies before``, ``dies
after``, an ``error`` of the exchange, or ``unreadable``; a function is called, and then all is well."""
LATE_SECONDS = 4.0
PROOFS = {"late": Proof.NOT_EXECUTED, "busy": Proof.NOT_EXECUTED, "refused": Proof.REFUSED, "duplicate": Proof.SEEN}


def handle_of(account: Account, command_id: str) -> str:
    return f"{account.digest}-{command_id}"


@dataclass
class FakeExchange:
    """Takes the place of the transport: requests are executed at once, and orders filled where ``fills``."""

    clock: TurnedClock
    fates: list[Fate] = field(default_factory=list)
    """Of the next orders that are sent."""
    looks: list[Fate] = field(default_factory=list)
    """Of the next reads."""
    behind_ms: int = 0
    """How far its clock is behind."""
    lists_ahead_ms: int = 0
    """How far the clock of the servers with its lists is ahead of that."""
    reuses: bool = False
    fills: bool = True
    shows: bool = True
    """Whether its lists show anything."""
    status: str = "taken"
    limits: HttpLimits = field(default_factory=HttpLimits)
    executed: list[str] = field(default_factory=list)
    book: dict[str, str] = field(default_factory=dict)
    """Status by handle."""
    on_its_way: list[tuple[int, bytes]] = field(default_factory=list)
    requests: list[SignedRequest] = field(default_factory=list)

    def now_ms(self) -> int:
        """Its clock."""
        return self.clock.now_ms() - self.behind_ms

    def send(self, _base_url: str, prepare: Callable[[], SignedRequest]) -> Response | NoResponse:
        """As of the transport."""
        due = [each for each in self.on_its_way if each[0] <= self.clock.now_ms()]
        self.on_its_way = [each for each in self.on_its_way if each not in due]
        for arrives_ms, body in due:
            self._take(body, arrives_ms)
        request = prepare()
        if request.method == "GET":
            return self._read(request)
        fate = self.fates.pop(0) if self.fates else "ok"
        if fate == "dies before":
            raise Dead
        self.requests.append(request)
        if callable(fate):
            fate()
            fate = "ok"
        return self._answer(fate, request.body or b"")

    def _answer(self, fate: str, body: bytes) -> Response | NoResponse:
        if fate == "arrives late":
            self.on_its_way.append((self.clock.now_ms() + round(LATE_SECONDS * 1000), body))
        if fate in ("request lost", "arrives late"):
            return NoResponse(bytes_left=True, message="the reply was lost")
        if fate in PROOFS or fate == "nonsense":
            return Response(400, json.dumps({"error": fate}).encode())
        answer = self._take(body, self.clock.now_ms())
        if fate == "dies after":
            raise Dead
        return NoResponse(bytes_left=True, message="the reply was lost") if fate == "reply lost" else answer

    def _take(self, body: bytes, at_ms: int) -> Response:
        order = json.loads(body)
        handle, until = order["handle"], order["until"]
        if until and at_ms - self.behind_ms > until:
            return Response(400, b'{"error":"late"}')
        known = self.book.get(handle)
        if known is not None and (known == "open" or not self.reuses):
            return Response(400, b'{"error":"duplicate"}')
        self.executed.append(handle)
        self.book[handle] = self.status if self.fills else "open"
        return Response(200, b'{"ok":true}')

    def _read(self, request: SignedRequest) -> Response | NoResponse:
        fate = self.looks.pop(0) if self.looks else "ok"
        if fate == "dies":
            raise Dead
        if callable(fate):
            fate()
        if fate == "unreadable":
            return NoResponse(bytes_left=True, message="no answer in time")
        handle = request.url.rpartition("/")[2]
        shown = {
            "status": self.book.get(handle) if self.shows else None,
            "time": self.now_ms() + self.lists_ahead_ms,
            "echo": request.headers,
        }
        return Response(200, json.dumps(shown).encode())


class FakeVenue(Everstrike):
    """How the fake exchange is used. ``failing`` is raised by the next plans."""

    knows_client_order_ids = True

    def __init__(self, window_ms: int = 5_000) -> None:
        super().__init__()
        self.window_ms = window_ms
        self.failing: list[Exception] = []
        self.planned = 0
        self.reads_per_look = 1

    def plan(self, command: Command, command_id: str, account: Account, send: Send) -> Plan:
        self.planned += 1
        if self.failing:
            raise self.failing.pop(0)
        lookable = command.mutating and not isinstance(command, Cancel)
        lookup = Lookup(handle_of(account, command_id), "P") if lookable else None
        return Plan(command, account, lookup, self.window_ms)

    def request(self, plan: Plan, now_ms: int) -> SignedRequest:
        if isinstance(plan.command, Positions):
            return super().request(plan, now_ms)
        lookup = plan.lookup or Lookup("none")
        body = json.dumps({"handle": lookup.handle, "until": lookup.until_ms, "at": now_ms})
        return SignedRequest("POST", "https://venue.test/orders", {}, body.encode())

    def judge(self, plan: Plan, response: Response) -> Verdict:
        if isinstance(plan.command, Positions):
            return Verdict(Proof.EXECUTED, "0 open", positions=())
        said: Mapping[str, Any] = json.loads(response.body)
        if said.get("ok"):
            return Verdict(Proof.EXECUTED, "the venue took it")
        proof = PROOFS.get(str(said.get("error")), Proof.UNKNOWN)
        return Verdict(proof, f"the venue said {said.get('error')}", own_refusal=True)

    def look(self, command: Command, lookup: Lookup, account: Account, send: Send) -> Sighting:
        url = f"https://venue.test/orders/{lookup.handle}"
        request = SignedRequest("GET", url, {"x-signature": "signature-of-the-look"})
        for _ in range(self.reads_per_look):
            response = send(account.base_url, lambda: request)
        if not isinstance(response, Response):
            return Sighting(Sight.UNREADABLE, response.message)
        shown = json.loads(response.body)
        status, time_ms = shown["status"], shown["time"]
        if status is None:
            return Sighting(Sight.ABSENT, "it is in none of the lists", venue_time_ms=time_ms)
        taken = {"taken": True, "open": True, "failed": False}.get(status)
        return Sighting(Sight.FOUND, f"it is {status}", taken, "1", {"id": "1", **shown}, time_ms)


class LookingFixture(ExecutorFixture):
    """Workers in front of the fake exchange."""

    def __init__(self, *fates: Fate, window_ms: int = 5_000) -> None:
        super().__init__()
        self.exchange = FakeExchange(self.clock, list(fates))
        self.transport = self.exchange  # type: ignore[assignment] # the scripted one
        self.venue = FakeVenue(window_ms)
        self.venues = {"everstrike": self.venue}

    def lives(self, command: str, arguments: Mapping[str, Any], *, parks: bool, **more: Any) -> Report:
        """Execute by one worker after the other, each of which takes the message when it is due, or when it comes again
        because its worker was killed."""
        while True:
            try:
                return self.run(command, arguments, parks=parks, **more)
            except ParkMessage as waits:
                self.parkings.append(waits.parking)
                self.clock.turn(waits.parking.wait_ms / 1000)
                self.on_parked()
                more |= {ENVELOPE_FIELDS[name]: value for name, value in waits.parking.headers.items()}
            except Dead:
                more["redelivered"] = True
