"""A venue for tests of the reading: it answers each path from a table, and records what was asked."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from producers.commands import Command
from worker.reconciliation.matching import match
from worker.venues.accounts import Account, Credentials
from worker.venues.everstrike.queries import EverstrikeReads
from worker.venues.http.base import NoResponse, Response
from worker.venues.records import VenueSnapshot, Window

if TYPE_CHECKING:
    import requests

T0 = 1_800_000_000_000
WINDOW = Window(T0, T0 + 20_000, T0 + 80_000)
ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials("key-of-main", "secret-of-main"))
LISTS = ("orders", "completed_orders", "active_orders", "fills", "triggers")
STATS = {"stats": {"size": 0.5, "direction": "BUY"}}


def yes(result: Any, headers: dict[str, str] | None = None, **beside: Any) -> Response:
    """As the venue says yes."""
    return Response(200, json.dumps({"code": 200, "msg": None, "result": result, **beside}).encode(), headers or {})


def no(code: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """As the venue says no."""
    return Response(503, json.dumps({"code": code, "msg": message, "result": {}}).encode(), headers or {})


NO_ORDER = no(503, "The order was not found")


class FakeVenue:
    """A venue that answers each path with a fixed result, response or function, and records the requests."""

    def __init__(self, **answers: Any) -> None:
        empty: dict[str, Any] = dict.fromkeys((*LISTS, "withdrawals"), ())
        self.answers = {**empty, "position": STATS, "time": T0, **answers}
        self.requests: list[requests.PreparedRequest] = []
        self.waited: list[float] = []
        self.reads = EverstrikeReads(self, self.waited.append)

    def __call__(self, base_url: str, prepare: Callable[[], Any]) -> Response | NoResponse:
        """As the transport."""
        self.requests.append(prepare())
        answer = self.answers.get(self.paths[-1])
        answer = answer() if callable(answer) else answer
        if isinstance(answer, Response | NoResponse):
            return answer
        return NO_ORDER if answer is None else yes(answer)

    @property
    def paths(self) -> list[str]:
        """The paths of the requests."""
        return [str(urlsplit(request.url).path)[1:] for request in self.requests]

    def asked(self, number: int) -> dict[str, str]:
        """The query of a request."""
        return dict(parse_qsl(str(urlsplit(self.requests[number].url).query)))

    def look_for(self, *wanted: tuple[Command, Window]) -> list[VenueSnapshot]:
        """What one visit reads for each of these."""
        visit = self.reads.visit(ACCOUNT)
        visit.read(wanted)
        return [visit.snapshot(*each) for each in wanted]

    def snapshot(self, command: Command) -> VenueSnapshot:
        """What one visit reads for this command."""
        return self.look_for((command, WINDOW))[0]

    def finding(self, command: Command) -> str:
        """What that proves."""
        return match(command, WINDOW, self.snapshot(command)).finding.value
