"""How fast commands may be sent to an account at its venue: what a begin asks, and what the ledger answers.

The ledger counts each begin of an attempt under the account's rate limits, and keeps cool-downs: the times until which
a venue has asked for no further request. Both hold for every worker.
"""

import json
import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache

from producers.printable import printable
from worker.rate_limits import RateLimit


class Urgency(IntEnum):
    """How urgent a command is. Each class has requests of every rate limit to itself that the next one can't use."""

    CANCEL = 0
    CLOSE = 1
    OTHER = 2


@dataclass(frozen=True, slots=True)
class Pace:
    """Under which limits and cool-downs an attempt begins."""

    bucket: str
    """Names what is limited: the address and the API key, by a digest. Aliases with one key share it."""
    host: str
    """The address whose cool-down holds for every account there, ``host:port``."""
    limits: tuple[RateLimit, ...] = ()
    urgency: Urgency = Urgency.OTHER
    passes_cool_down: bool = False
    """Whether the venue documents that such a command may be sent while it limits others."""


class Brake(StrEnum):
    """What keeps an attempt from beginning now; the values are stored and are labels of a metric."""

    RATE_LIMIT = "rate_limit"
    COOL_DOWN = "cool_down"
    PROBE = "probe"
    """The cool-down is over, and another command's attempt shows first whether the venue answers again."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """The answer to a begin that must wait for the venue's sake: nothing was begun or counted."""

    brake: Brake
    wait_ms: int
    """After how long to ask again; counted from this answer, so that no two clocks are compared."""
    why: str = ""
    """For people: the limit, or what the venue answered."""
    since_ms: int | None = None
    """As in :class:`~worker.ledger.base.Begun`, of a command that has begun before; None for any other."""


@dataclass(frozen=True, slots=True)
class CoolDown:
    """What an attempt's response says about the attempts that follow, recorded with that attempt's fate."""

    seconds: float | None
    """The seconds that the venue asked to wait; None where it did not say, and the ledger chooses: a second, doubled
    with each cool-down that follows without an answer between them."""
    by_address: bool | None
    """Whether it holds for every account at the host, and not for this one's key alone. None renews what the attempt
    probes, and begins nothing: it has shown nothing."""
    why: str
    """For people: what the venue answered, without secrets."""


MAX_COOL_DOWN_SECONDS = 900.0
"""The longest cool-down, whatever the venue asks for: after it one attempt is made. No response stops an account for
longer, however it came about."""
FIRST_COOL_DOWN_SECONDS, LONGEST_CHOSEN_SECONDS = 1.0, 60.0
"""The first and the longest cool-down that the ledger chooses itself."""
MAX_WHY_CHARACTERS = 200
"""How much is kept of what a venue answered, for people."""
_LEAST_MARGIN_MS, _MOST_MARGIN_MS = 100, 500


def span_ms(limit: RateLimit) -> int:
    """Within which time no more attempts begin than a limit has requests: its window and 2 % of it, at least 100 ms and
    at most 500 ms. A request arrives some time after its begin, the first ones later than those that follow on open
    connections; what arrives in one window may have begun in one that is longer by that."""
    return limit.window_ms + max(_LEAST_MARGIN_MS, min(limit.window_ms // 50, _MOST_MARGIN_MS))


def allowed(limit: RateLimit, urgency: Urgency) -> int:
    """How many of a limit's requests attempts of this urgency may use up: a tenth, at least one, is kept for closes and
    cancels, and as many more for cancels alone; but everything may use one."""
    return max(1, limit.requests - urgency * math.ceil(limit.requests / 10))


@lru_cache(maxsize=1024)
def pace_argument(pace: Pace) -> str:
    """A pace as ``pacing.lua`` takes it."""
    limits = [{"most": allowed(each, pace.urgency), "span_ms": span_ms(each)} for each in pace.limits]
    keep = max((each.requests for each in pace.limits), default=0)
    keep_ms = max((span_ms(each) for each in pace.limits), default=0)
    asked = {"bucket": pace.bucket, "host": pace.host, "passes": pace.passes_cool_down, "limits": limits}
    return json.dumps({**asked, "keep": keep, "keep_ms": keep_ms})


def fate_argument(pace: Pace | None, cool_down: CoolDown | None, *, probe: bool) -> str:
    """What an attempt's response says about those that follow, as ``pacing.lua`` takes it; empty when it is nothing."""
    if pace is None or (cool_down is None and not probe):
        return ""
    asked = {"bucket": pace.bucket, "host": pace.host}
    if cool_down is None:
        return json.dumps(asked)
    told = {"ms": cool_down_ms(cool_down), "by_address": cool_down.by_address, "why": stored_why(cool_down)}
    chosen = {"first_ms": int(FIRST_COOL_DOWN_SECONDS * 1000), "longest_ms": int(LONGEST_CHOSEN_SECONDS * 1000)}
    return json.dumps(
        {**asked, "cool_down": {key: value for key, value in (told | chosen).items() if value is not None}}
    )


def cool_down_ms(cool_down: CoolDown) -> int | None:
    """How long it lasts as the venue said; None where the ledger chooses."""
    seconds = cool_down.seconds
    if seconds is None or math.isnan(seconds):
        return None
    return math.ceil(max(0.0, min(seconds, MAX_COOL_DOWN_SECONDS)) * 1000)


def stored_why(cool_down: CoolDown) -> str:
    """The words that are kept of it."""
    return printable(cool_down.why, MAX_WHY_CHARACTERS)
