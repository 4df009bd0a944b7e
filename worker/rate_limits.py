"""Rate limits of a venue, as its documentation or an operator states them: so many requests in so many seconds."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_REQUESTS = 10_000
"""The most requests that one limit counts: the ledger keeps a time for each."""
MAX_SECONDS = 86_400
MAX_LIMITS = 8
"""The most limits of one account: the ledger checks each of them at each begin."""

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
    words = text.split()
    limits = [_read_one(word) for word in words[: MAX_LIMITS + 1]]
    read = tuple(limit for limit in limits if limit is not None)
    if len(read) < len(words) or len(read) > MAX_LIMITS:
        raise ValueError(
            f"a limit is written as requests/seconds, such as 50/20s, with at most {MAX_REQUESTS} requests and "
            f"{MAX_SECONDS} seconds; several, at most {MAX_LIMITS}, are separated by blanks"
        )
    return read


def _read_one(text: str) -> RateLimit | None:
    found = _LIMIT.fullmatch(text)
    requests, seconds = (int(found["requests"]), int(found["seconds"])) if found else (0, 0)
    possible = 0 < requests <= MAX_REQUESTS and 0 < seconds <= MAX_SECONDS
    return RateLimit(requests, seconds * 1000) if possible else None


def strictest(limits: Iterable[RateLimit]) -> tuple[RateLimit, ...]:
    """The limits without those that hold anyway where the others do, by window: 60/20s says nothing beside 50/20s, nor
    beside 50/30s."""
    present = sorted(set(limits), key=lambda limit: (limit.window_ms, limit.requests))

    def is_implied(limit: RateLimit) -> bool:
        return any(
            other != limit and other.requests <= limit.requests and other.window_ms >= limit.window_ms
            for other in present
        )

    return tuple(limit for limit in present if not is_implied(limit))


def in_words(limits: Iterable[RateLimit]) -> str:
    """The limits as the settings write them."""
    return " ".join(map(str, limits)) or "off"
