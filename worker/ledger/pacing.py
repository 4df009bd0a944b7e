"""How fast commands may be sent to an account at its venue: what a begin asks, and what the ledger answers.

The ledger counts each begin of an attempt under the account's rate limits, and keeps cool-downs: the times until which
a venue has asked for no further request. Both hold for every worker.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

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
    """How long ago the retry budget of a command began that was begun before, as in
    :attr:`~worker.ledger.base.Begun.since_ms`; None when nothing of it has begun."""


@dataclass(frozen=True, slots=True)
class CoolDown:
    """What an attempt's response says about the attempts that follow, recorded with that attempt's fate."""

    seconds: float | None
    """The seconds that the venue asked to wait; None where it did not say, and the ledger chooses: a second, doubled
    with each cool-down that follows without an answer between them."""
    by_address: bool
    """Whether it holds for every account at the host, and not for this one's key alone."""
    why: str
    """For people: what the venue answered, without secrets."""


MAX_COOL_DOWN_SECONDS = 900.0
"""The longest cool-down, whatever the venue asks for: after it one attempt is made. No response stops an account for
longer, however it came about."""
FIRST_COOL_DOWN_SECONDS, LONGEST_CHOSEN_SECONDS = 1.0, 60.0
"""The first and the longest cool-down that the ledger chooses itself."""
