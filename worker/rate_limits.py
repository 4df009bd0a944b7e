"""Rate limits of a venue, as its documentation or an operator states them: so many requests in so many seconds."""

import re
from dataclasses import dataclass

MAX_REQUESTS = 10_000
"""The most requests that one limit counts: the ledger keeps a time for each."""
MAX_SECONDS = 86_400

_LIMIT = re.compile(r"(?P<requests>[0-9]{1,6})/(?P<seconds>[0-9]{1,6})s")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """No more than ``requests`` within any ``window_ms``."""

    requests: int
    window_ms: int

    def __str__(self) -> str:
        return f"{self.requests}/{self.window_ms // 1000}s"


def parse_rate_limits(text: str) -> tuple[RateLimit, ...]:
    """Read limits such as ``50/20s 500/200s``, separated by blanks; an empty text has none.

    Raises:
        ValueError: the text can't be read; the message says how limits are written.
    """
    return tuple(map(_parse_one, text.split()))


def _parse_one(text: str) -> RateLimit:
    found = _LIMIT.fullmatch(text)
    requests, seconds = (int(found["requests"]), int(found["seconds"])) if found else (0, 0)
    if not (0 < requests <= MAX_REQUESTS and 0 < seconds <= MAX_SECONDS):
        raise ValueError(
            f"a limit is written as requests/seconds, such as 50/20s, with at most {MAX_REQUESTS} requests and "
            f"{MAX_SECONDS} seconds; several are separated by blanks"
        )
    return RateLimit(requests, seconds * 1000)
