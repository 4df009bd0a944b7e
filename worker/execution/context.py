"""What one execution knows of its command, and the refusal of a command that must not be sent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from producers.commands import Command
from producers.printable import printable
from producers.report import Reason
from worker.execution.carried import Ending, Memory
from worker.execution.claims import Lease
from worker.execution.events import CommandRef
from worker.execution.pacing import NO_ANSWER
from worker.ledger.base import Following, Progress
from worker.ledger.pacing import CoolDown
from worker.venues.accounts import Account
from worker.venues.base import Plan, Proof, Venue, Verdict
from worker.venues.lookups import latest
from worker.venues.response_redaction import Secrets

MAX_ALIAS_CHARACTERS = 64
"""How many characters are shown of the account, which a sender may set to anything."""


class Envelope(NamedTuple):
    """A command as its message brings it."""

    command_id: str
    task: str
    arguments: Mapping[str, Any]
    positional: int = 0
    """How many positional arguments came along; the contract takes none."""
    enqueued_at: int | None = None
    """UNIX ms on the sender's clock."""
    redelivered: bool = False
    """Whether the broker says that it delivered the message before."""
    expires_at: int | None = None
    """UNIX ms; its message must not be taken up later (Celery's ``expires``)."""
    refusal: str | None = None
    """Why the message's envelope (its ``eta``, say) can't be honoured, whatever its command is; a phrase for people."""
    sealed_by: str = ""
    """Which producer has sealed it; empty without a verified seal."""
    begin_by: int = 0
    known_until: int = 0
    """UNIX ms, 0 for no limit: an id that the ledger does not have is not begun after the first; and it gets no report
    after the second, because its record may have expired."""
    heeds_result: bool = True
    """Whether a stored result of its id may be its answer."""
    kept_message: Callable[[], str] = lambda: "{}"
    """What is needed to publish its message again, as JSON; it holds the command's arguments."""
    parks: bool = False
    """Whether the broker can park its message while the command waits."""
    following: Following | None = None
    """What follows the command's end, where that may happen in the same step."""
    waits_since: object = None
    progress: object = None
    """The message's headers :data:`~worker.execution.parking.SINCE_HEADER` and
    :data:`~worker.execution.parking.PROGRESS_HEADER`, unchecked: a stranger may have written them."""

    @property
    def command_ref(self) -> CommandRef:
        """The command as its message names it, before anybody has checked the arguments."""
        account = self.arguments.get("account")
        alias = printable(account, MAX_ALIAS_CHARACTERS).lower() if isinstance(account, str) else ""
        return CommandRef(self.command_id, self.task.removeprefix("orders."), alias)


class CommandRefused(Exception):
    """Raised when a command must not be sent, for this reason."""

    def __init__(self, reason: Reason, message: str, *, while_held: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.while_held = while_held
        """Whether it is held, and a person's word ends it, whatever message brings that word to a worker."""


_NO_SECRETS = Secrets()


@dataclass(slots=True)
class Run:
    """What one worker knows while it executes one command."""

    envelope: Envelope
    command: Command
    account: Account
    venue: Venue
    command_ref: CommandRef
    """The command as it is named to observers."""
    lease: Lease
    was_held: bool = False
    """Whether it was held for approval until now."""
    parks: bool = False
    """Whether it may be parked between two attempts."""
    parks_looking: bool = False
    """Whether it may be parked between two looks."""
    planned: bool = True
    """False for a query until its attempt, and for what was taken over to be looked for."""
    attempt: int = 1
    """The number of the attempt under way, counted over this run alone."""
    last_verdict: Verdict | None = None
    signed_at: int | None = None
    """The time in the last signature, UNIX ms."""
    signed_monotonic: float = 0.0
    """When the wall clock was read for the last signature, in seconds on the monotonic clock."""
    first_doubt: str = ""
    """The verdict's message of the first attempt of unknown fate in this run, or before it was parked."""
    refused_after_doubt: bool = False
    """The venue itself refused the last attempt, in other words than those that raised the first doubt: the refusal may
    be the echo of what the doubtful attempt did."""
    looks: int = 0
    absences: int = 0
    ending: Ending | None = None
    """The last three as in :class:`~worker.execution.carried.Memory`."""
    cool_down: CoolDown | None = None
    """What the last attempt says about those that follow, until the ledger has it."""
    secrets: Secrets = _NO_SECRETS
    """The secrets in this run's requests, each of which is signed anew: no report or log line may show any of them."""

    def __post_init__(self) -> None:
        """Take up what its owner knew that parked it."""
        self.cool_down = NO_ANSWER if self.lease.claim.probe else None
        known = self.lease.memory
        if known is not None:
            self.first_doubt, self.refused_after_doubt = known.first_doubt, known.refused_after_doubt
            if self.lease.taken_to_look:
                self.looks, self.absences, self.ending = known.looks, known.absences, known.ending
            fields = known.http_status, known.venue_code, known.venue_message, known.result
            if fields != (None, None, None, None):
                self.last_verdict = Verdict(Proof.UNKNOWN, "", Reason.LOST_REPLY, *fields)

    def take_over(self, lost: "Run") -> None:
        """Take up what this worker remembers of a run whose lease was lost: the ledger may have lost its record."""
        if lost.progress.tainted and not self.progress.tainted:
            self.first_doubt = lost.first_doubt
            mine, other = self.lease.lookup, lost.lease.lookup
            # Without a lookup of its own, what is in doubt can't be looked for.
            self.lease.lookup = replace(mine, until_ms=latest(mine, other)) if mine and other else None
        self.lease.progress = self.progress.after(lost.progress)

    @property
    def memory(self) -> Memory:
        """What the next owner is to know, if it is parked."""
        last = self.last_verdict or Verdict(Proof.UNKNOWN, "")
        return Memory(
            self.first_doubt,
            self.refused_after_doubt,
            last.http_status,
            last.venue_code,
            last.venue_message,
            last.result,
            self.progress.tries,
            self.looks,
            self.absences,
            self.ending,
        )

    @property
    def plan(self) -> Plan:
        """How it is sent."""
        return self.lease.plan

    @property
    def lookable(self) -> bool:
        """Whether a look at the venue finds every attempt of it."""
        return self.lease.lookup is not None

    @property
    def progress(self) -> Progress:
        """What is known of the command's attempts so far, over all of its owners."""
        return self.lease.progress
