"""HTTP requests and responses as the venues and the transport see them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One HTTP request ready to be sent: the bytes of ``body`` are the bytes that were signed."""

    method: str
    url: str
    """The complete URL, including the query."""
    headers: Mapping[str, str]
    body: bytes | None = None
    """None for a request without a body, such as a GET."""
    max_response_bytes: int = 0
    """The limit for the response's body, if it is larger than the one for all (:class:`HttpLimits`): for public lists,
    which can be longer than anything about one account."""

    def __post_init__(self) -> None:
        """Refuse a URL that can't be parsed, while nothing has been sent.

        Raises:
            ValueError: the URL can't be parsed.
        """
        urlsplit(self.url)


@dataclass(frozen=True, slots=True)
class Timing:
    """When a request was sent and answered, in seconds on the monotonic clock."""

    first_byte: float
    """When the kernel accepted the first byte of the request."""
    ended: float
    """When the response was complete, or was given up."""


@dataclass(frozen=True, slots=True)
class Response:
    """A complete HTTP response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    timing: Timing | None = field(default=None, compare=False)

    @property
    def date(self) -> str:
        """The ``Date`` header (RFC 9110, 6.6.1: whole seconds), or an empty string."""
        return _header(self.headers, "date")


def _header(headers: Mapping[str, str], lower_case_name: str) -> str:
    return next((value for name, value in headers.items() if name.lower() == lower_case_name), "").strip()


_SECONDS = re.compile(r"(?=\.?\d)(?P<whole>\d*)(?:\.(?P<fraction>\d*))?", re.ASCII)


MAX_RETRY_AFTER_SECONDS = 999_999.0
"""The cap of a ``Retry-After``: eleven days, which is longer than any retry budget."""


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The seconds that a ``Retry-After`` header asks to wait, rounded up; None when it is absent or unreadable.

    If the header names a time, they are counted from the ``Date`` of the same response, so that this machine's clock
    does not matter.
    """
    value = _header(headers, "retry-after")
    if not value:
        return None
    # Of a repeated header (RFC 9110, 5.3), the longest wait counts.
    repeated = [_SECONDS.fullmatch(each) for each in value.split(", ")]
    if len(repeated) > 1 and all(repeated):
        return max(
            filter(None, (retry_after_seconds({"retry-after": each}) for each in value.split(", "))), default=0.0
        )
    seconds = _SECONDS.fullmatch(value)
    if seconds:
        whole, fraction = seconds["whole"].lstrip("0"), (seconds["fraction"] or "").strip("0")
        return (
            min(float(whole or 0) + bool(fraction), MAX_RETRY_AFTER_SECONDS)
            if len(whole) < 7
            else MAX_RETRY_AFTER_SECONDS
        )
    try:
        until = (parsedate_to_datetime(value) - parsedate_to_datetime(_header(headers, "date"))).total_seconds()
    except (ValueError, TypeError, OverflowError):  # OverflowError: a year or a zone beyond the calendar
        return None
    return min(max(until, 0.0), MAX_RETRY_AFTER_SECONDS)


@dataclass(frozen=True, slots=True)
class NoResponse:
    """The outcome of a request that got no response that can be judged."""

    bytes_left: bool
    """Whether any byte of the request was handed to the network. False proves that nothing was executed."""
    message: str
    """One line for a person, without addresses, keys or bodies."""
    timing: Timing | None = field(default=None, compare=False)
    """None when no byte was sent."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of one request and its response, in seconds and bytes."""

    connect_timeout: float = 3.0
    read_timeout: float = 10.0
    """The limit for the whole response, from the last byte sent to the last byte received."""
    max_idle: float = 4.0
    """A pooled connection that was idle for longer is closed instead of used. This is shorter than the keep-alive time
    of any venue: common front ends close a connection after 5 s (Node.js, uvicorn) to 75 s (nginx)."""
    max_response_bytes: int = 1024 * 1024
    pool_size: int = 64


Send = Callable[[str, Callable[[], SignedRequest]], Response | NoResponse]
"""The signature of :meth:`worker.venues.http.transport.Transport.send`."""
