"""How a command is found at a venue that knows client order ids, and what a look shows."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_LOOKUP_CHARACTERS = 1000
"""The longest text of a :class:`Lookup`. Handles and symbols are short; anything longer is no lookup of ours."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """By what a command can be found at its venue. The ledger stores it with each begin, so that any worker can look
    for a command whose own worker is gone."""

    handle: str
    """The client order id: the same for every attempt of the command, and for no other command."""
    symbol: str = ""
    """The venue's market, or for a withdrawal the asset."""
    is_stop: bool = False
    """Whether it is a stop, which some venues list apart."""
    until_ms: int = 0
    """After this time (UNIX ms) the venue itself refuses every request that was sent so far; 0 where nothing makes it
    refuse them, so that absence proves nothing."""

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps([self.handle, self.symbol, int(self.is_stop), self.until_ms])

    @classmethod
    def from_text(cls, text: str) -> "Lookup | None":
        """Read :meth:`to_text`; None for anything else."""
        if not text:
            return None
        try:
            handle, symbol, is_stop, until_ms = json.loads(text[: MAX_LOOKUP_CHARACTERS + 1])
        except (ValueError, TypeError, RecursionError):
            return None
        whole = all(isinstance(each, int) and not isinstance(each, bool) for each in (is_stop, until_ms))
        if not whole or not isinstance(handle, str) or not isinstance(symbol, str) or not handle:
            return None
        return cls(handle, symbol, bool(is_stop), until_ms)


def latest(*lookups: Lookup) -> int:
    """Until when the venue may take any of the requests that these find: 0 where nothing keeps it from that."""
    times = [each.until_ms for each in lookups]
    return max(times) if all(times) else 0


class Sight(StrEnum):
    """What one look for a command shows."""

    FOUND = "found"
    ABSENT = "absent"
    """Everywhere that the venue could list it was read, and it is nowhere."""
    UNREADABLE = "unreadable"
    """The look proves nothing."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """The result of one look. A venue's records are evidence only where they are complete and fresh."""

    sight: Sight
    words: str
    """A phrase for people, without secrets."""
    taken: bool | None = None
    """Of what was found: True, the venue took the command; False, its record proves that nothing was executed and
    nothing will be (``rejected``); None, the record contradicts the command or can't be understood."""
    reference: str = ""
    """The venue's own id of what was found."""
    record: Any = None
    """What was found, as the venue shows it, for the report's ``result``."""
    venue_time_ms: int | None = None
    """The time on the venue's clock when it answered (``Date``), UNIX ms; None where it does not say. Absence counts
    only if this is after :attr:`Lookup.until_ms`, too."""


NO_CLIENT_ORDER_IDS = Sighting(Sight.UNREADABLE, "the venue knows no client order ids")
"""The answer of a venue whose commands can't be looked for."""
