"""What the executor knows of a venue: how a command is planned, how a request is built, what a response proves, and how
a command is found again.

A venue uses neither Celery nor Redis and reads no clock; the time of each attempt is passed in. It keeps no state but
what its exchange publishes for everybody, such as the list of markets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from producers.commands import Command
from producers.report import Position, Reason
from worker.rate_limits import RateLimit
from worker.venues.accounts import Account
from worker.venues.http.base import Response, Send, SignedRequest
from worker.venues.lookups import Lookup, Sighting
from worker.venues.records import VenueSnapshot, Window

FRONT_STATUSES = frozenset({400, 401, 403, 404, 422, 500, 502, 503, 504})
"""HTTP statuses that a proxy, a challenge page or a failing server responds with. Without the envelope of the venue's
application, the venue's own reply is lost."""


class Proof(StrEnum):
    """What an attempt proves. Only ``NOT_EXECUTED`` and ``REFUSED`` are proofs that nothing was executed."""

    EXECUTED = "executed"
    """The venue accepted the command."""
    REFUSED = "refused"
    """Refused for good: the venue would refuse the same request again."""
    NOT_EXECUTED = "not_executed"
    """Not executed this time: the command may be sent again."""
    UNKNOWN = "unknown"
    """It may or may not have been executed: no listed answer (:mod:`worker.venues.listed_answers`) proves either."""
    SEEN = "seen"
    """The venue knows this client order id already: this attempt did nothing, and an earlier one arrived. It is never
    sent again; a look shows what became of it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one attempt proves, and the venue's own words."""

    proof: Proof
    message: str
    """One line for a person, without secrets."""
    unknown_reason: Reason = Reason.LOST_REPLY
    """The reason in the report if the command ends as unknown."""
    http_status: int | None = None
    venue_code: int | str | None = None
    venue_message: str | None = None
    result: Any = None
    positions: tuple[Position, ...] | None = None
    retry_after: float | None = None
    """The seconds that the venue asks to wait (RFC 9110, 10.2.3), or None."""
    overload: "Overload | None" = None
    """Set where the response asks for no further requests for some time."""
    own_refusal: bool = False
    """Whether the venue's application responded with its complete error envelope, listed or not."""

    @property
    def overload_words(self) -> str:
        """What asks for no further requests, for people: status, code and wait, and no word of the response, which may
        quote one account's command to the others."""
        code = self.venue_code
        listable = isinstance(code, int) and code != self.http_status and abs(code) < 10**9
        wait = f", Retry-After {self.retry_after:g} s" if self.retry_after else ""
        return f"the venue answered {self.http_status}{f' ({code})' if listable else ''}{wait}"


@dataclass(frozen=True, slots=True)
class Plan:
    """How one command is sent: everything that its requests have in common. Its details are the venue's own."""

    command: Command
    account: Account
    lookup: Lookup | None = None
    """By what the command can be found later; None at a venue without client order ids."""
    window_ms: int = 0
    """How long after the begin of an attempt the venue may still take its request. The request tells the venue so; 0
    where it can't."""
    base_url: str = ""
    """Where its requests go, if not to the account's address."""
    details: Any = None

    def until(self, until_ms: int) -> "Plan":
        """The same plan for an attempt whose request the venue is to refuse after ``until_ms``."""
        return replace(self, lookup=replace(self.lookup, until_ms=until_ms)) if self.lookup else self


class PlanRefused(Exception):
    """Raised when a command can't be sent: nothing was sent, and nothing will be. The text is a phrase for people."""

    def __init__(self, words: str, reason: Reason = Reason.INVALID) -> None:
        super().__init__(words)
        self.reason = reason


class PlanFailed(Exception):
    """Raised when what a plan needs could not be read; it may be tried again. The text is a phrase for people."""

    def __init__(self, words: str, retry_after: float | None = None) -> None:
        super().__init__(words)
        self.retry_after = retry_after


class Overload(StrEnum):
    """For whom a venue asks for no further requests (429, 418, ``Retry-After``, a listed overload)."""

    ACCOUNT = "account"
    ADDRESS = "address"
    """Every account at its host: the venue limits by the address of the sender."""


class Venue(Protocol):
    """A venue: how commands are sent to it, and what its responses prove."""

    name: str
    base_url: str
    """The address of its API, unless an account names another one."""
    commands: tuple[str, ...]
    """The names of the commands that it supports."""
    rate_limits: tuple[RateLimit, ...]
    """The limits that it documents, or that its own client keeps; they hold at its own address."""
    overload_scope: "Overload"
    """For whom it limits the rate of requests."""
    passes_cool_down: frozenset[str]
    """The names of the commands that it documents to take while it limits others."""
    knows_client_order_ids: bool
    """Whether its plans may have lookups. The ledger is then asked, before anything is planned, whether the command is
    in doubt and to be looked for; elsewhere that would cost a round trip for nothing."""

    def unsupported(self, command: Command) -> str | None:
        """Why the venue does not support this command, as a sentence; None when it does."""

    def plan(self, command: Command, command_id: str, account: Account, send: Send) -> Plan:
        """Plan a command before it begins. All reads that it needs are made here, over ``send``; none of them changes
        anything at the venue.

        Raises:
            PlanRefused: the command can't be sent.
            PlanFailed: a read failed.
        """

    def request(self, plan: Plan, now_ms: int) -> SignedRequest:
        """The request of one attempt, signed over the exact bytes of its body as of ``now_ms`` (UNIX ms). It is the
        only request that may change anything at the venue."""

    def judge(self, plan: Plan, response: Response) -> Verdict:
        """What this response proves. Never raises an exception; an unreadable response proves nothing."""

    def look(self, command: Command, lookup: Lookup, account: Account, send: Send) -> Sighting:
        """Look for a command by its client order id. Never raises an exception because of the venue's responses. Called
        only with a lookup that :meth:`plan` has made, maybe in another worker."""


class Visit(Protocol):
    """The records of one account, read once for all commands of a run. No method raises because of the venue's
    responses."""

    def time(self) -> int | None:
        """The time on the venue's clock, UNIX ms; None when it can't be read."""

    def read(self, commands: Sequence[tuple[Command, Window]]) -> None:
        """Read all records of the kinds and times of these commands."""

    def snapshot(self, command: Command, window: Window) -> VenueSnapshot:
        """The records that may be those of a command; it must be one of those that were given to :meth:`read`."""


class Reads(Protocol):
    """Reads the records of accounts at one venue."""

    def visit(self, account: Account) -> Visit:
        """Begin to read an account now."""
