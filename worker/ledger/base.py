"""The ledger: the idempotency store that durably says what has begun and how it ended.

::

    absent ─begin─▶ HELD ─begin, approved─▶ SENDING           until then: decide; refuse ends it
    absent ─begin─▶ SENDING ─settle─▶ SETTLED(report)              accepted, rejected, not_sent
                     │  ▲  └────────▶ UNKNOWN(report) ─settle by evidence of its own sender─▶ SETTLED
                pause▼  │begin                       └─resolve by evidence or an operator─▶ SETTLED
                    WAITING            between attempts: the last one's fate is on record, its owner waits
    SENDING, WAITING ─park─▶ PARKED ─begin by anybody, when due─▶ SENDING, with a higher fence
    owner gone (lease over): WAITING, or SENDING of a repeatable command, is taken over with a higher fence;
    SENDING of any other command is abandoned: UNKNOWN/crashed; WAITING of what needs approval: not_sent
    in doubt, with a lookup, owner gone ─take_to_look─▶ WAITING, with a higher fence: its new owner looks for it

What is PARKED has no owner: the token that parked it is like any other, except that a repeated park is done already.
Its last attempt is proven not executed, or it is repeatable, with its doubt on record; so no begin of it finds an
orphan, unless it needs approval by now. Or it is in doubt and to be looked for. The moves, before it is due and after::

    begin, refuse        Busy                            begun: fence + 1, tries + 1, all else as stored;
                                                         refuse (and begin of what needs approval): Orphaned
    abandon              lost                            ended by what is on record: not_sent, or unknown with a doubt
    take_to_look         Busy                            of one in doubt: Doubtful, WAITING; of any other: None
    renew, pause         lost                            lost
    settle               late: None is returned          the same
    resolve, decide      still open; not held            the same

A command is in doubt when an attempt of unknown fate is on record (``tainted``), or its owner died with a send begun.
Where its record has a lookup, and each of its attempts went to the account that the claim names, a venue can be asked
what became of it. ``take_to_look`` takes such a command over and begins nothing: no halt, limit, rate limit or approval
stands in its way, and an owner that dies looking leaves no further doubt. What is in doubt and can't be repeated is
begun by nobody until its doubt is gone: :class:`LookFirst` is the answer to a run that can look, and :class:`Orphaned`
to any other, its owner included, who alone can clear the doubt, by a pause, a park or the end. The stored lookup is
that of the last begin, with the latest time until which the venue may take any attempt that is in doubt; a record that
was in doubt without a lookup never gets one, because no look would show all of its attempts.

A withdrawal is counted under its limits once, at its last begin, and given back once by an end that proves that
nothing was executed: ``not_sent`` or ``rejected``, whoever brings it. Nothing else takes it out of a counter but time.

Every move is atomic, compares the owner's token, and adds a line to an append-only journal in the same step. This
module holds the states and the protocol; :mod:`worker.ledger.redis` is the real ledger. Tests have one in memory
(``tests/support/memory_ledger.py``), which passes the same contract tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Protocol

from producers.report import Report
from worker.ledger.following import Following as Following
from worker.ledger.following import Known as Known
from worker.ledger.holds import Held, Hold, HoldOver
from worker.ledger.limits import Denied, Limit
from worker.ledger.pacing import CoolDown, Pace, Throttled
from worker.ledger.records import Progress as Progress
from worker.ledger.records import Record as Record
from worker.ledger.records import State as State


@dataclass(frozen=True, slots=True)
class Claim:
    """A run's request for the lease on a command."""

    command_id: str
    fingerprint: str
    command: str
    account: str
    repeatable: bool
    token: str
    """Unique to one run of one command in one worker; only the run that has it may move the record."""
    lease_ms: int
    """How long one attempt may take; until then no other run touches the record."""
    arguments: str = ""
    """The normalised arguments as canonical JSON: what a reconcile looks for at the venue. Empty when they make no
    command. They hold addresses: the ledger stores them, and no log line shows them."""
    account_digest: str = ""
    """Which account it is sent to (:attr:`~worker.venues.accounts.Account.digest`): an alias may mean another account
    tomorrow."""
    sealed_by: str = ""
    """Which producer has sealed the command; empty without a verified seal."""
    begin_by: int = 0
    """UNIX ms on the ledger's clock: an id that the ledger does not have is neither begun nor ended after it
    (:class:`TooLate`), nor a hold that is not over; 0 sets no limit. Nothing that has begun is stopped by it."""
    amount: Decimal = Decimal(0)
    """How much is withdrawn, for the limits."""
    limits: tuple[Limit, ...] = ()
    """What a withdrawal is counted under at each begin, once, all of them or none."""
    hold: Hold | None = None
    """Set where persons must approve a command that has not begun."""
    pace: Pace | None = None
    """Under which rate limits and cool-downs it begins; None heeds none."""
    probe: bool = False
    """Whether its attempt shows if the venue answers again after a cool-down (:attr:`Begun.probe`)."""
    lookup: str = ""
    """By what the attempt that begins can be found at the venue (:meth:`worker.venues.lookups.Lookup.to_text`), stored
    with each begin; empty where the venue knows no client order ids."""
    heeds_result: bool = False
    """Whether a stored result of this id is an answer (:class:`Known`), at its first attempt."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The answer to a claim that was granted: the ledger says that a send begins."""

    fence: int
    progress: Progress
    since_ms: int = 0
    """How long ago the retry budget began: at the first attempt of this owner, or of the owner that parked it."""
    doubt: str = ""
    """As in :meth:`Ledger.park`, where it was ever parked."""
    probe: bool = False
    """Whether a cool-down is over and this attempt shows if the venue answers again; the owner's claim must say so in
    its later moves."""
    lookup: str = ""
    """The stored one, where it finds every attempt of the command; empty where earlier ones were sent to another
    account, or left a doubt and no lookup."""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """The answer to a run that takes a command over to look for it: nothing was begun, and its doubt is on record."""

    fence: int
    progress: Progress
    lookup: str
    """As in :class:`Claim`, of the last attempt."""
    since_ms: int = 0
    doubt: str = ""
    """Both as in :class:`Begun`."""
    begun_ms: int = 0
    """How long ago the last attempt was begun."""


@dataclass(frozen=True, slots=True)
class LookFirst:
    """The answer to a begin when the command is in doubt and can be looked for: nothing was begun."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The answer when a query may be sent."""

    probe: bool = False
    """As in :class:`Begun`."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The answer while another owner is alive: ask again when its lease is over."""

    lease_left_ms: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer when the command has its report already."""

    report: Report


@dataclass(frozen=True, slots=True)
class Reused:
    """The answer when the id belongs to a command with other arguments."""

    report: Report | None
    """That command's report, when it has one."""


@dataclass(frozen=True, slots=True)
class Orphaned:
    """The answer when the owner is gone, and this claim must not or can't carry on."""

    token: str
    """The dead owner's."""
    begun_at: int
    """When its last send was begun, UNIX ms."""
    sending: bool
    """Whether it died with a send begun, and not between two attempts."""
    progress: Progress
    doubt: str = ""
    """As in :class:`Begun`."""


@dataclass(frozen=True, slots=True)
class Halted:
    """The answer when an operator halted sending: nothing was begun."""

    who: str
    why: str
    at: int
    """UNIX ms."""
    kid: str = ""
    sig: str = ""
    """The id of the operator's key and the signature; empty where the halt is not signed. No worker needs them: halting
    is always safe."""


@dataclass(frozen=True, slots=True)
class TooLate:
    """The answer when the ledger does not have the id, and ``begin_by`` has passed: nothing was begun or ended."""

    begin_by: int
    """UNIX ms, the claim's."""


Stands = Busy | Ended | Reused
BeginAnswer = Begun | Known | LookFirst | Stands | Orphaned | Halted | Denied | Held | HoldOver | TooLate | Throttled
QueryAnswer = Admitted | Halted | Throttled | Known
LookAnswer = Doubtful | Stands

NOT_SIGNED: Mapping[str, str] = MappingProxyType({})
"""What proves whose word it is, where nothing does."""


MAX_DOUBT_CHARACTERS = 4000
"""How much a ledger keeps of what an owner that parks a command knows."""


class LedgerUnavailable(Exception):
    """Raised when the ledger can't be reached or refuses writes: nothing may be sent or settled until it is back."""


class Ledger(Protocol):
    """What the executor needs of a ledger. Every method may raise :class:`LedgerUnavailable`; repeating a call whose
    reply was lost is safe."""

    def begin(self, claim: Claim, attempt: int) -> BeginAnswer:
        """Record durably that attempt number ``attempt`` (1 for the first of this owner) begins, and take the lease."""

    def take_to_look(self, claim: Claim) -> LookAnswer | None:
        """Take the lease on a command that is in doubt and can be looked for, to look for it; None when there is none,
        and it is to be begun like any other. The owner renews its lease by :meth:`pause`."""

    def renew(self, claim: Claim) -> bool:
        """Take a fresh lease for the attempt under way; False when the record no longer belongs to this claim."""

    def pause(self, claim: Claim, progress: Progress, lease_ms: int, cool_down: CoolDown | None = None) -> bool:
        """Record the last attempt's fate before waiting for the next, and what it says about further attempts at the
        account; False when the record has another owner."""

    def park(
        self, claim: Claim, progress: Progress, wait_ms: int, doubt: str = "", cool_down: CoolDown | None = None
    ) -> bool:
        """Record the last attempt's fate as :meth:`pause` does, and give the command up: any worker may begin its next
        attempt once ``wait_ms`` have passed. ``doubt`` is what this owner knows beside the progress, in its own words,
        for the next one; it replaces what an earlier park has left."""

    def settle(
        self, claim: Claim, report: Report, cool_down: CoolDown | None = None, following: Following | None = None
    ) -> Report | None:
        """End the command with this report and return the report that the record has now. What follows happens only
        with this very report, and never undoes or repeats the end.

        It is another report when the record was ended without this owner, and None while another owner is at work. A
        command that was declared ``unknown/crashed`` while its sender lived is still settled by that sender: the
        venue's response is evidence.
        """

    def refuse(self, claim: Claim, report: Report) -> BeginAnswer | None:
        """End a command that was never begun with this report; None when that is done, else what keeps it from that.

        For a worker that can't execute the command at all: a record that another worker left open is ``Busy`` while
        its owner lives and ``Orphaned`` after.
        """

    def abandon(self, claim: Claim, orphan: Orphaned, report: Report) -> bool:
        """End an orphaned command with a report that was made for this ``orphan``; False when the record has changed
        since: its owner has begun another attempt, or another worker has ended it."""

    def resolve(self, report: Report, *, who: str, why: str, signed: Mapping[str, str] = NOT_SIGNED) -> Report | None:
        """Settle an unknown by evidence or by an operator's word, and return the report that the record has now:
        another one when the command was not unknown. None when there is no record, or it is still open. ``signed`` are
        the further fields of the journal's entry that prove whose word it is."""

    def read(self, command_id: str) -> Record | None:
        """The record, or None."""

    def stored_result(self, command_id: str) -> bytes | None:
        """The stored result of an id, for what is refused before it begins; None where there is none to be had."""

    def admit_query(self, claim: Claim) -> QueryAnswer:
        """Whether a query may be sent: a halt that names it stops it, or a heeded result. Its pace counts it."""

    def cool_down(self, claim: Claim, cool_down: CoolDown | None) -> None:
        """Record what a query's response says about further attempts at the account; for a probe, None ends the
        cool-down."""


class NeverBegun(Exception):
    """Raised when a command may only be ended, and the ledger has no record of it: nobody can know whether its id was
    ever executed."""


class NoSuchCommand(LookupError):
    """Raised when the ledger has no record of an id."""


class StillOpen(Exception):
    """Raised when a command is still being executed, so that there is nothing to reconcile."""
