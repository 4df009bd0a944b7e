"""HTTP requests and responses as the venues and the transport see them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import cast

import requests
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from producers import exact_json
from worker.venues.json_values import UNREADABLE, read_json
from worker.venues.redaction import Secrets


@dataclass(frozen=True, slots=True)
class Timing:
    """When an exchange happened, in seconds on the monotonic clock."""

    first_byte: float
    """The kernel took the first byte of the request."""
    ended: float
    """The answer was whole, or given up."""


@dataclass(frozen=True, slots=True)
class Response:
    """What came back over HTTP, whole."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    timing: Timing | None = field(default=None, compare=False)

    @property
    def date(self) -> str:
        """Its ``Date`` header (RFC 9110, 6.6.1: whole seconds), or empty."""
        return _header(self.headers, "date")

    def without(self, secrets: Secrets) -> "Response":
        """The same answer with every echo of these secrets struck out, for whatever is read of it goes into reports and
        logs. In the whole of it, so that no cutting leaves the beginning of one."""
        body = self.body.decode(json.detect_encoding(self.body), "replace")
        # At once, apart by what a text may be cut at: it is looked through at every answer.
        if not secrets.within('"'.join([body, *self.headers, *self.headers.values()])):
            return self
        headers = {secrets.text(name): secrets.text(value) for name, value in self.headers.items()}
        if not secrets.within(body):
            return replace(self, headers=headers)
        value = read_json(self.body)
        # What could not be read must not become readable by it.
        text = f"*** {secrets.text(body)}" if value is UNREADABLE else exact_json.dumps(secrets.struck_out(value))
        return replace(self, headers=headers, body=text.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=256)
def _prepared_url(url: str) -> str:
    return cast("str", requests.Request("GET", url).prepare().url)


def post(url: str, body: bytes, headers: Mapping[str, str], auth: AuthBase) -> requests.PreparedRequest:
    """A signed POST of exactly this body, as ``requests.Request("POST", …).prepare()`` makes it, in a fraction of its
    time: the URL is looked at once, and nothing has to be found out about bytes."""
    request = requests.PreparedRequest()
    request.method = "POST"
    request.url = _prepared_url(url)
    request.headers = CaseInsensitiveDict(headers)
    request.headers["Content-Length"] = str(len(body))
    request.body = body
    return auth(request)


def _header(headers: Mapping[str, str], wanted: str) -> str:
    return next((value for name, value in headers.items() if name.lower() == wanted), "").strip()


_SECONDS = re.compile(r"(?=\.?\d)(?P<whole>\d*)(?:\.(?P<fraction>\d*))?", re.ASCII)


LONGEST_WAIT = 999_999.0
"""Seconds of a ``Retry-After`` that are told: eleven days, beyond every budget."""


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The seconds of a ``Retry-After`` header, a fraction rounded up; of one that names a time, those from the answer's
    own ``Date`` on, so that no clock of ours is asked. None for anything else, which is then not waited for."""
    value = _header(headers, "retry-after")
    # Said several times (RFC 9110, 5.3), the longest counts.
    several = [_SECONDS.fullmatch(each) for each in value.split(", ")]
    if len(several) > 1 and all(several):
        return max(
            filter(None, (retry_after_seconds({"retry-after": each}) for each in value.split(", "))), default=0.0
        )
    seconds = _SECONDS.fullmatch(value)
    if seconds:
        whole, fraction = seconds["whole"].lstrip("0"), (seconds["fraction"] or "").strip("0")
        return min(float(whole or 0) + bool(fraction), LONGEST_WAIT) if len(whole) < 7 else LONGEST_WAIT
    if not value:
        return None
    try:
        until = (parsedate_to_datetime(value) - parsedate_to_datetime(_header(headers, "date"))).total_seconds()
    except (ValueError, TypeError, OverflowError):  # the last: a year or a zone beyond all calendars
        return None
    return min(max(until, 0.0), LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class NoResponse:
    """An exchange that brought no answer that can be judged."""

    left: bool
    """Whether any byte of the request was handed to the network. False is a proof that nothing was executed."""
    message: str
    """One line for a person; names no address, key or body."""
    timing: Timing | None = field(default=None, compare=False)
    """None when nothing left."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one exchange; seconds and bytes."""

    connect_timeout: float = 3.0
    read_timeout: float = 10.0
    """For the whole answer, from the last byte sent to the last byte read."""
    max_idle: float = 4.0
    """A pooled connection idle for longer is closed, not used. Shorter than any venue's keep-alive: common front ends
    close after 5 s (Node.js, uvicorn) to 75 s (nginx)."""
    max_answer_bytes: int = 1024 * 1024
    pool_size: int = 64
