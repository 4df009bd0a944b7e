"""An exchange that answers by method and path, and checks each signature by the rule that it publishes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

from worker.venues.ccxt.adapter import CcxtVenue
from worker.venues.http.base import Response, SignedRequest

NOW_MS = 1_700_000_000_000
HTML = b"<html>503 Service Temporarily Unavailable</html>"

Answer = Any
"""JSON, a whole response, or a function from the request to one of them."""


class Stopped:
    """A clock that stands still."""

    def now_ms(self) -> int:
        return NOW_MS

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


@dataclass
class FakedExchange:
    """What it knows is in ``answers``; any other request fails the test."""

    answers: Mapping[str, Answer]
    check: Callable[[SignedRequest], None]
    seen: list[SignedRequest] = field(default_factory=list)

    def send(self, address: str, sign: Callable[[], SignedRequest]) -> Response:
        """The signature of a :data:`worker.venues.http.base.Send`."""
        request = sign()
        assert request.url.startswith(address)
        self.check(request)
        self.seen.append(request)
        answer = self.answers[name_of(request)]
        value = answer(request) if callable(answer) else answer
        if isinstance(value, Response):
            return value
        status = 400 if isinstance(value, dict) and isinstance(value.get("code"), int) else 200
        return respond(value, status)


def name_of(request: SignedRequest) -> str:
    """Method and path."""
    return f"{request.method} {urlsplit(request.url).path}"


def respond(value: Any, status: int = 200) -> Response:
    """An answer as of :data:`NOW_MS`; bytes stay as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Response(status, body, {"Date": formatdate(NOW_MS / 1000, usegmt=True)})


def venue(ccxt_id: str) -> CcxtVenue:
    """The venue at :data:`NOW_MS`."""
    return CcxtVenue(ccxt_id, clock=Stopped())
