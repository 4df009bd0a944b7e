"""What the executor knows of a venue: how a request is built, and what an answer proves.

A venue knows no Celery and no Redis, keeps no state and reads no clock: the time of each attempt is passed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from producers.commands import Command
from producers.report import Position, Reason
from worker.venues.accounts import Account
from worker.venues.http.base import Response, SignedRequest
from worker.venues.records import VenueSnapshot, Window

FRONT_STATUSES = frozenset({400, 401, 403, 404, 422, 500, 502, 503, 504})
"""HTTP statuses that a proxy, a challenge page or a server's breakdown answers with: without the application's envelope
the venue's own reply is lost."""


class Proof(StrEnum):
    """What an attempt proves. Only ``NOT_EXECUTED`` and ``REFUSED`` are proofs that nothing was executed."""

    EXECUTED = "executed"
    """The venue said yes."""
    REFUSED = "refused"
    """Not executed, finally: the same request would be refused again."""
    NOT_EXECUTED = "not_executed"
    """Not executed, for the moment: the same command may be sent again."""
    UNKNOWN = "unknown"
    """It may or may not have been executed: nothing listed (``worker/venues/listed_answers.py``) proves either."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one attempt proves, and what the venue said."""

    proof: Proof
    message: str
    """One line for a person; no secret in it."""
    unknown_reason: Reason = Reason.LOST_REPLY
    """Why it is not known, should it come to that."""
    http_status: int | None = None
    venue_code: int | str | None = None
    venue_message: str | None = None
    result: Any = None
    positions: tuple[Position, ...] | None = None
    retry_after: float | None = None
    """Seconds the venue asks to wait (RFC 9110, 10.2.3), or None."""
    own_refusal: bool = False
    """The venue's application answered with its whole error envelope, listed or not."""


class Venue(Protocol):
    """One exchange."""

    name: str
    base_url: str
    """Where its API is reached when an account names no other place."""
    commands: tuple[str, ...]
    """The kinds of command that it takes."""

    def unsupported(self, command: Command) -> str | None:
        """Why this venue can't take this command, as a sentence; None when it can."""

    def request(self, command: Command, account: Account, now_ms: int) -> SignedRequest:
        """The request of one attempt, signed over the exact bytes of its body as of ``now_ms`` (UNIX ms)."""

    def judge(self, command: Command, answer: Response) -> Verdict:
        """What this answer proves. Never raises: what can't be read is unknown."""


class Visit(Protocol):
    """One run's look at one account, read once for all of its commands. No method raises for what the venue answers."""

    def time(self) -> int | None:
        """The venue's clock, UNIX ms; None when it can't be read."""

    def read(self, wanted: Sequence[tuple[Command, Window]]) -> None:
        """Read everything that is there of these commands' kinds and times."""

    def snapshot(self, command: Command, window: Window) -> VenueSnapshot:
        """What was read that could be this command's, which is one of the wanted."""


class Reads(Protocol):
    """Looking at one venue."""

    def visit(self, account: Account) -> Visit:
        """A look that begins now."""
