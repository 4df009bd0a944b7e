"""The ledger: the idempotency store that durably says what has begun and how it ended.

::

    absent ─begin─▶ SENDING ─settle─▶ SETTLED(report)              accepted, rejected, not_sent
                     │  ▲  └────────▶ UNKNOWN(report) ─settle by evidence of its own sender─▶ SETTLED
                pause▼  │begin
                    WAITING            between attempts: the last one's fate is on record
                          └─resolve by evidence or an operator─▶ SETTLED
    owner gone (lease over): WAITING, or SENDING of a repeatable command, is taken over with a higher fence;
    SENDING of any other command is abandoned: UNKNOWN/crashed

Every move is atomic, compares the owner's token, and adds a line to an append-only journal in the same step. This
module holds the words and the protocol; :mod:`worker.ledger.redis` is the real one and
the one in tests/support/memory_ledger.py its twin. Both pass the same contract tests.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from producers.report import Report


class State(StrEnum):
    """Where a command stands."""

    SENDING = "SENDING"
    WAITING = "WAITING"
    SETTLED = "SETTLED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who wants to execute which command."""

    command_id: str
    fingerprint: str
    command: str
    account: str
    repeatable: bool
    token: str
    """Unique to one run of one command in one worker; only its bearer moves the record."""
    lease_ms: int
    """How long one attempt may take; while it lasts nobody else touches the record. Milliseconds."""
    arguments: str = ""
    """The normalised arguments as canonical JSON: what a reconcile looks for at the venue. Empty when they make no
    command. They hold addresses: the ledger keeps them, no log line does."""
    account_digest: str = ""
    """Where it is sent (:attr:`~worker.venues.accounts.Account.digest`); an alias may mean another account tomorrow."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a command's attempts so far, over all of its owners."""

    tries: int = 0
    """How many attempts were begun."""
    sent: int = 0
    """How many requests were put on the wire; one of a dead worker counts, because it may have been."""
    tainted: str = ""
    """Why an earlier attempt is of unknown fate (a :class:`~producers.report.Reason`), or empty."""
    first_sent_at: int | None = None
    last_signed_at: int | None = None

    def after(self, before: "Progress") -> "Progress":
        """The same, with what its owner remembers of earlier attempts: a server that was restarted without its last
        writes may have forgotten them, and a doubt that has arisen stays."""
        return Progress(
            tries=max(self.tries, before.tries),
            sent=max(self.sent, before.sent),
            tainted=self.tainted or before.tainted,
            first_sent_at=self.first_sent_at or before.first_sent_at,
            last_signed_at=self.last_signed_at or before.last_signed_at,
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """The claim holds: a send may begin, and the ledger says so."""

    fence: int
    progress: Progress


@dataclass(frozen=True, slots=True)
class Busy:
    """Another owner is alive; ask again when its lease is over."""

    lease_left_ms: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The command has its report already."""

    report: Report


@dataclass(frozen=True, slots=True)
class Reused:
    """The id belongs to a command with other arguments. Its report, when it has one."""

    report: Report | None


@dataclass(frozen=True, slots=True)
class Orphaned:
    """The owner is gone, and this claim must not or can't carry on."""

    token: str
    """The dead owner's."""
    begun_at: int
    """When its last send was begun, UNIX ms."""
    sending: bool
    """Whether it died with a send begun, and not between two attempts."""
    progress: Progress


@dataclass(frozen=True, slots=True)
class Halted:
    """An operator halted sending; nothing was begun."""

    who: str
    why: str
    at: int
    """UNIX ms."""


BeginAnswer = Begun | Busy | Ended | Reused | Orphaned | Halted


@dataclass(frozen=True, slots=True)
class Record:
    """One command's record, as a reader sees it."""

    command_id: str
    state: State
    fingerprint: str
    command: str
    account: str
    fence: int
    progress: Progress
    report: Report | None
    arguments: str = ""
    """As in :class:`Claim`; empty also in records that an earlier version wrote."""
    first_begun_at: int = 0
    """When the first send was begun, by whichever owner, UNIX ms on the ledger's clock; 0 when none was."""
    lease_until: int = 0
    """Until when the last owner could sign, UNIX ms on the ledger's clock."""
    account_digest: str = ""
    """As in :class:`Claim`; ``*`` when its owners would have sent it to different places, empty when nobody knows: in
    records that an earlier version began."""


class LedgerUnavailable(Exception):
    """The ledger can't be reached or refuses writes: nothing may be sent, and nothing settled, until it is back."""


class Ledger(Protocol):
    """What the executor needs of a ledger. Every method may raise :class:`LedgerUnavailable`; repeating a call whose
    reply was lost is safe."""

    def begin(self, claim: Claim, attempt: int) -> BeginAnswer:
        """Say durably that attempt number ``attempt`` (1 for the first of this owner) begins, and take the lease."""

    def renew(self, claim: Claim) -> bool:
        """Take a fresh lease for the attempt under way; False when the record is not this claim's any more."""

    def pause(self, claim: Claim, progress: Progress, lease_ms: int) -> bool:
        """Record the last attempt's fate before waiting for the next; False when the record has another owner."""

    def settle(self, claim: Claim, report: Report) -> Report | None:
        """End the command with this report and return the report that stands.

        It is another one when the record was ended without this owner, and None while another owner is at work. A
        command that was declared ``unknown/crashed`` while its sender lived is still settled by that sender: its
        answer is evidence.
        """

    def refuse(self, claim: Claim, report: Report) -> BeginAnswer | None:
        """End a command that was never begun with this report; None when that is done, else what stands there.

        For a worker that can't execute the command at all: a record that another worker left open is ``Busy`` while
        its owner lives and ``Orphaned`` after.
        """

    def abandon(self, claim: Claim, orphan: Orphaned, report: Report) -> bool:
        """End an orphaned command with this report, made for what was found; False when that is not so any more: its
        owner came back, if only for one more attempt, or another was faster."""

    def resolve(self, report: Report, *, who: str, why: str) -> Report | None:
        """Settle an unknown by evidence or by an operator's word, and return the report that stands: another one when
        the command was not unknown. None when there is no record, or it is still open."""

    def read(self, command_id: str) -> Record | None:
        """The record, or None."""

    def halted(self, account: str, command: str) -> Halted | None:
        """The halt that names this command, of this account or of every one: for a query, which begins nothing."""


class NoSuchCommand(LookupError):
    """The ledger has no record of this id."""


class StillOpen(Exception):
    """The command is being executed; there is nothing to reconcile yet."""
