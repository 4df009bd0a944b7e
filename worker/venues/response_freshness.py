"""Whether a response may be older than its request, according to the headers that caches add (RFC 9111).

A read that is used as proof asks every cache on the way to forward it to the venue (``no-cache``, RFC 9111, 5.2.1.4). A
cache may ignore that, so the response's headers are examined as well. An unreadable header counts as stale: a wrong
doubt costs another read, and wrong trust may cost a second order.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import lru_cache

from producers.report import Reason
from worker.venues.base import Proof, Verdict
from worker.venues.http.base import Response

NO_CACHE_HEADERS = {"cache-control": "no-cache"}
"""Request headers of a read that is used as proof."""

STALE_RESPONSE = "the venue's answer may be older than the question"

MAX_DATE_AGE_SECONDS = 16
"""A venue refuses signed requests when its clock differs from ours by 15 s (``docs/venues.md``); and a ``Date`` is
rounded to whole seconds."""

MAX_NAME_CHARACTERS, MAX_VALUE_CHARACTERS = 100, 1000
"""The length of a header that is searched: with longer ones some of the expressions below would take seconds."""

_CACHE_HIT = re.compile(r"(?<![a-z])(hit|(?<!fwd=)stale|updating|fresh|(?<!not )cached)(?![a-z])")
"""Words in the headers of caches (``X-Cache``, ``CF-Cache-Status``, ``Cache-Status`` of RFC 9211 and others) for a
stored response. One that was revalidated (``REVALIDATED``, ``RefreshHit``) or fetched (``MISS``, ``EXPIRED``,
``DYNAMIC``) is fresh."""
_STALE_WARNING = re.compile(r"(^|,)\s*11[0-3](?![0-9])")
"""``Warning`` codes of stale responses (RFC 7234, 5.5.1 to 5.5.4)."""
_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_CACHE_HEADERS = tuple(
    (re.compile(name), re.compile(value, re.ASCII) if isinstance(value, str) else value)
    for name, value in (
        # Akamai's `cdn-cache; desc=HIT`.
        (r"server-timing", r"cache[^,]*(?<![a-z])(hit|stale)(?![a-z])"),
        # The id of this request and, for a stored response, the id of the request that fetched it.
        (r"x-varnish", r"(?<!\d)\d+\s+\d"),
        (r".*(from-cache|cached)", r"^(?!0*$|no$|false$|off$)."),
        (r".*cache.*hits", r"[1-9]"),
        (r".*cache.*(?<!control)(?<!lookup)(?<!key)(?<!tag)", _CACHE_HIT),
    )
)
"""By header name: what in the value shows that the response was stored in a cache."""


def staleness(response: Response) -> str:
    """Why a response may be older than its request, in words that quote nothing of it; empty if nothing indicates it.

    An ``Age`` (RFC 9111, 5.1: whole seconds) may be as large as the time that passed since the request was sent.
    """
    elapsed_seconds = response.timing.ended - response.timing.first_byte if response.timing else 0.0
    return cache_evidence(response.headers, elapsed_seconds)


def cache_evidence(headers: Mapping[str, str], elapsed_seconds: float) -> str:
    """What shows that a response came from a cache; it arrived ``elapsed_seconds`` after its request was sent."""
    for name, value in headers.items():
        name, value = name.lower(), value.strip().lower()
        if len(name) > MAX_NAME_CHARACTERS:
            return "a header has too long a name: it may come from a cache"
        if name == "age":
            age = int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None
            if age is None:
                return "its Age can't be read: it may come from a cache"
            if age > elapsed_seconds:
                return f"it comes from a cache, {age} s old"
        elif name == "warning":
            if _STALE_WARNING.search(value):
                return "a cache warns that it is stale"
        elif any(len(value) > MAX_VALUE_CHARACTERS or stored.search(value) for stored in _signs_in(name)):
            return "it comes from a cache"
    return ""


@lru_cache(maxsize=256)
def _signs_in(name: str) -> tuple[re.Pattern[str], ...]:
    """What in the value of a header of this name shows that the response was stored in a cache."""
    return tuple(stored for known, stored in _CACHE_HEADERS if known.fullmatch(name))


def date_header_ms(response: Response) -> int | None:
    """When the origin server generated a response (``Date``, RFC 9110, 6.6.1), UNIX ms in whole seconds; None if
    unknown.

    A cache keeps the ``Date`` of a stored response. Of several dates the oldest counts.
    """
    try:
        return min(int(parsedate_to_datetime(date).timestamp()) * 1000 for date in _DATE.findall(response.date))
    except (ValueError, OverflowError):
        return None


def distrust_if_stale(sent_ms: int | None, verdict: Verdict, response: Response) -> Verdict:
    """The verdict, turned into an unknown if the response may be older than its request.

    Status 429 remains proof, because it may come from a rate limit in front of the venue. The ``Date`` header counts
    only for positions: if this machine's clock is ahead, every response looks old. ``sent_ms`` is when the request was
    signed, UNIX ms on this machine's clock, or None to leave the ``Date`` out of account.
    """
    doubt = "" if response.status == 429 else staleness(response)
    if not doubt and verdict.positions is not None and sent_ms is not None:
        date_ms = date_header_ms(response)
        age_seconds = (sent_ms - date_ms) // 1000 if date_ms is not None else 0
        if age_seconds > MAX_DATE_AGE_SECONDS:
            doubt = f"it is dated {age_seconds} s before it, unless this machine's clock is ahead"
    if not doubt:
        return verdict
    why, reason = f"{STALE_RESPONSE}: {doubt}", Reason.UNLISTED_ANSWER
    return replace(verdict, proof=Proof.UNKNOWN, message=why, unknown_reason=reason, positions=None)
