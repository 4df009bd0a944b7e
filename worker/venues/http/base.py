"""HTTP requests and responses as the venues and the transport see them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One HTTP request as it is to be sent: the bytes of ``body`` are the bytes that were signed."""

    method: str
    url: str
    """Whole, with its query."""
    headers: Mapping[str, str]
    body: bytes | None = None
    """None for a request without a body, such as a GET."""

    def __post_init__(self) -> None:
        """Refuse a URL that can't be parsed, while nothing has been sent.

        Raises:
            ValueError: the URL can't be parsed.
        """
        urlsplit(self.url)


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

    bytes_left: bool
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
    max_response_bytes: int = 1024 * 1024
    pool_size: int = 64
