"""Whether an answer is as new as its question, by what HTTP tells of caches (RFC 9111).

A read that proves something asks every cache on its way to ask the venue (``no-cache``, RFC 9111, 5.2.1.4). A cache may
not heed that, so what it says of its answer is looked at as well. What can't be read is a doubt: a doubt costs another
look, and a belief may cost a second order.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime

from producers.report import Reason
from worker.venues.base import Proof, Verdict
from worker.venues.http.base import Response

NO_CACHE = {"cache-control": "no-cache"}
"""Headers of a read that proves something."""

STALE = "the venue's answer may be older than the question"

DATE_SECONDS = 16
"""A venue whose clock differs from ours by 15 s refuses what is signed (``docs/venues.md``); and a ``Date`` has whole
seconds."""

_FROM_CACHE = re.compile(r"(?<![a-z])(hit|(?<!fwd=)stale|updating|fresh|(?<!not )cached)(?![a-z])")
"""In a header of a cache's own: ``X-Cache``, ``CF-Cache-Status``, ``Cache-Status`` (RFC 9211) and their like. An answer
that was revalidated (``REVALIDATED``, ``RefreshHit``) or fetched (``MISS``, ``EXPIRED``, ``DYNAMIC``) is new."""
_STALE_WARNING = re.compile(r"(^|,)\s*11[0-3](?![0-9])")
"""``Warning`` codes of stale answers (RFC 7234, 5.5.1 to 5.5.4)."""
_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_SIGNS = tuple(
    (re.compile(name), re.compile(value, re.ASCII) if isinstance(value, str) else value)
    for name, value in (
        # Akamai's `cdn-cache; desc=HIT`.
        (r"server-timing", r"cache[^,]*(?<![a-z])(hit|stale)(?![a-z])"),
        # Its own number, and that of the request which brought what it kept.
        (r"x-varnish", r"\d+\s+\d"),
        (r".*(from-cache|cached)", r"^(?!0*$|no$|false$|off$)."),
        (r".*cache.*hits", r"[1-9]"),
        (r".*cache.*(?<!control)(?<!lookup)(?<!key)(?<!tag)", _FROM_CACHE),
    )
)
"""By a header's name: what of its value says that the answer was kept."""


def staleness(answer: Response) -> str:
    """Why an answer may be older than its question, in words without anything of its own; empty when nothing says so.

    An ``Age`` (RFC 9111, 5.1: whole seconds) may be as large as the time that the exchange took.
    """
    took = answer.timing.ended - answer.timing.first_byte if answer.timing else 0.0
    return cache_evidence(answer.headers, took)


def cache_evidence(headers: Mapping[str, str], took: float) -> str:
    """As :func:`staleness`, of an answer that came ``took`` seconds after its question."""
    for name, value in headers.items():
        name, value = name.lower(), value.strip().lower()
        if name == "age":
            age = int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None
            if age is None:
                return "its Age can't be read: it may come from a cache"
            if age > took:
                return f"it comes from a cache, {age} s old"
        elif name == "warning":
            if _STALE_WARNING.search(value):
                return "a cache warns that it is stale"
        elif any(sign.fullmatch(name) and says.search(value) for sign, says in _SIGNS):
            return "it comes from a cache"
    return ""


def dated_ms(answer: Response) -> int | None:
    """When the origin made an answer by its ``Date`` (RFC 9110, 6.6.1), UNIX ms in whole seconds; None when it does not
    tell. A cache leaves the ``Date`` of what it kept as it was; of several, the oldest counts."""
    try:
        return min(int(parsedate_to_datetime(date).timestamp()) * 1000 for date in _DATE.findall(answer.date))
    except (ValueError, OverflowError):
        return None


def distrust_if_stale(asked_ms: int | None, verdict: Verdict, answer: Response) -> Verdict:
    """The same verdict; but an answer that may be older than its question (``asked_ms``, UNIX ms by our clock) proves
    nothing of it, whatever it says.

    The status 429 of a front that limits the rate stays a proof. A ``Date`` counts for positions alone: a clock of ours
    that is ahead would make every answer old.
    """
    doubt = "" if answer.status == 429 else staleness(answer)
    if not doubt and verdict.positions is not None and asked_ms is not None:
        dated = dated_ms(answer)
        behind = (asked_ms - dated) // 1000 if dated is not None else 0
        if behind > DATE_SECONDS:
            doubt = f"it is dated {behind} s before it, unless this machine's clock is ahead"
    if not doubt:
        return verdict
    why, reason = f"{STALE}: {doubt}", Reason.UNLISTED_ANSWER
    return replace(verdict, proof=Proof.UNKNOWN, message=why, unknown_reason=reason, positions=None)
