"""An exchange without a network, for the traits of those that are behind ccxt: it answers by method and path."""

import json
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from worker.venues.accounts import Account
from worker.venues.base import Plan
from worker.venues.ccxt.adapter import CcxtVenue
from worker.venues.http.base import Response, SignedRequest

NOW_MS = 1_790_000_000_000
COMMAND_ID = "0b1ed6f0-0f3e-4d8e-9a35-6bb7c1e7a111"


class StoppedClock:
    """A clock that stands at :data:`NOW_MS`."""

    def now_ms(self) -> int:
        """UNIX milliseconds."""
        return NOW_MS

    def monotonic(self) -> float:
        """Seconds."""
        return 1000.0

    def sleep(self, seconds: float) -> None:
        """Nobody waits here."""
        raise AssertionError("a venue does not sleep")


class AnsweringExchange:
    """In the place of the transport: answers by ``"METHOD /path"``, and keeps the requests."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        """An answer is a JSON value, a :class:`Response`, or a function of the request that returns one of them."""
        self.answers = dict(answers)
        self.requests: list[SignedRequest] = []

    def __call__(self, base_url: str, sign: Callable[[], SignedRequest]) -> Response:
        """Answer one request. A request for which there is no answer fails the test."""
        request = sign()
        assert request.url.startswith(base_url)
        self.requests.append(request)
        answer = self.answers[name_of(request)]
        if callable(answer):
            answer = answer(request)
        return answer if isinstance(answer, Response) else answered(answer)

    @property
    def names(self) -> list[str]:
        """The requests by method and path."""
        return [name_of(each) for each in self.requests]


def answered(value: Any, status: int = 200) -> Response:
    """An answer with a JSON body; bytes are sent as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Response(status, body, {"date": formatdate(NOW_MS // 1000, usegmt=True)})


def name_of(request: SignedRequest) -> str:
    """Method and path."""
    return f"{request.method} {urlsplit(request.url).path}"


def query_of(request: SignedRequest) -> dict[str, str]:
    """The parameters in the URL."""
    return dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True, strict_parsing=False))


def planned(venue: CcxtVenue, account: Account, command: Any, exchange: AnsweringExchange) -> Plan:
    """The plan of a command that begins now, with the time until which its request may be taken."""
    plan = venue.plan(command, COMMAND_ID, account, exchange)
    return plan.until(NOW_MS + plan.window_ms) if plan.window_ms else plan
