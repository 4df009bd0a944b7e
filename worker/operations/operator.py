"""What an operator sees and does: unknown commands and their manual resolution, halts, and the journal.

Over the ledger's client; every method may raise :class:`~worker.ledger.base.LedgerUnavailable`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import redis

from producers.printable import printable
from producers.report import Outcome, Report
from producers.signing import PrivateKey
from worker.clock import Clock
from worker.execution.reports import settled
from worker.ledger.base import Halted, Ledger, NoSuchCommand, State, StillOpen
from worker.ledger.halts import ANY, COMMANDS, Halts, HaltScope
from worker.ledger.journal import Journal, JournalEntry
from worker.operations.signed_words import Word, halt_word
from worker.reconciliation.store import ReconcileStore
from worker.reconciliation.store import Unknown as Unknown

PASSING = ("cancel", "close", "positions")
"""Commands that a halt of :data:`ANY` command does not stop: they reduce risk, or change nothing."""
MAX_WHO_LENGTH, MAX_WHY_LENGTH = 100, 500
"""How many characters of a name and of a reason are recorded."""


class NotUnknown(Exception):
    """The command is not unknown: it has a report with another outcome."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"{report.command_id} is not unknown: it is {report.outcome.value} ({report.message})")
        self.report = report


def all_scopes(account: str) -> list[HaltScope]:
    """The scopes that together halt every command of an account, or of all accounts."""
    return [HaltScope(account, command) for command in (ANY, *PASSING)]


def commands_still_sent(halts: Sequence[HaltScope]) -> dict[str, list[str]]:
    """The commands that these halts let through, each with the accounts for which it is halted."""
    found = {}
    for command in COMMANDS:
        names = {command} if command in PASSING else {command, ANY}
        accounts = sorted({halt.account for halt in halts if halt.command in names})
        if ANY not in accounts:
            found[command] = accounts
    return found


def still_sent_in_words(halts: Sequence[HaltScope]) -> str:
    """The commands that these halts let through, as a list with its exceptions; ``nothing`` if there are none."""
    passes = commands_still_sent(halts).items()
    return ", ".join(f"{name} (not of {', '.join(but)})" if but else name for name, but in passes) or "nothing"


class OperatorService:
    """What an operator may see and do; it depends on neither a terminal nor a browser."""

    def __init__(self, client: redis.Redis, ledger: Ledger, clock: Clock, key: PrivateKey | None = None) -> None:
        """``key`` signs what the operator says; the ``who`` of each word is then its owner."""
        self._key = key
        self._ledger = ledger
        self._clock = clock
        self._store = ReconcileStore(client)
        self._halts = Halts(client)
        self._journal = Journal(client)

    # -- unknowns ----------------------------------------------------------------------------------------------------

    def unknowns(self, start: int = 0, limit: int | None = None) -> list[Unknown]:
        """The open unknown commands, oldest first, from the one numbered ``start`` (0 for the oldest) on; all without a
        ``limit``."""
        return self._store.open_unknowns(start, limit)

    def open_unknown(self, command_id: str) -> Unknown | None:
        """One open unknown; None for a command that is none."""
        return self._store.open_unknown(command_id)

    def count_unknowns(self) -> int:
        """How many open unknown commands there are."""
        return self._store.count()

    def unknown(self, command_id: str) -> Report:
        """The report of an unknown command.

        Raises:
            NoSuchCommand, StillOpen, NotUnknown: the command is not unknown.
        """
        record = self._ledger.read(command_id)
        if record is None:
            raise NoSuchCommand(f"the ledger has no command {command_id}")
        if record.report is None:
            raise StillOpen(f"{command_id} is being executed ({record.state.value}): nothing is unknown yet")
        if record.state is not State.UNKNOWN:
            raise NotUnknown(record.report)
        return record.report

    def resolve(self, command_id: str, *, reference: str | None, who: str, why: str) -> Report:
        """Settle an unknown command manually: executed with the venue's ``reference``, or not executed if that is None.

        Who and why are recorded in the ledger, the journal and the report. Returns the new report.

        Raises:
            NoSuchCommand, StillOpen, NotUnknown: the command is not unknown.
        """
        report = self.unknown(command_id)
        who, why = _printable(who, why)
        outcome = Outcome.NOT_SENT if reference is None else Outcome.ACCEPTED
        named = None if reference is None else printable(reference, MAX_WHY_LENGTH)
        decision = "not executed" if named is None else f"executed as {named}"
        result = None if named is None else {"id": named}
        message = f"{decision}, by the word of {who}: {why}"
        now = self._clock.now_ms()
        resolved = settled(report, outcome, message, result, now)
        word = Word("resolve", who, why, now, id=command_id, outcome=outcome.value, reference=named or "")
        stored = self._ledger.resolve(resolved, who=who, why=why, signed=word.signed(self._key))
        self._store.forget_absence(command_id)
        if stored is None:
            raise NoSuchCommand(f"the ledger has no command {command_id} any more")
        if stored != resolved:
            raise NotUnknown(stored)
        return stored

    # -- halts ---------------------------------------------------------------------------------------------------------

    def halt(self, *scopes: HaltScope, who: str, why: str) -> Halted:
        """Halt sending of all these scopes at once; a halt of the same scope is replaced. They hold until
        :meth:`resume`, over every restart."""
        halt = Halted(*_printable(who, why), self._clock.now_ms())
        self._halts.add({scope: self._signed_halt(scope, halt) for scope in scopes})
        return halt

    def _signed_halt(self, scope: HaltScope, halt: Halted) -> Halted:
        signed = halt_word(scope, halt).signed(self._key)
        return replace(halt, kid=signed.get("kid", ""), sig=signed.get("sig", ""))

    def resume(self, halted: HaltScope, *, who: str, why: str = "", seen: Halted | None = None) -> bool:
        """End the halt of exactly this scope, if it is the one that was ``seen``; else False."""
        who, why = _printable(who, why)
        word = Word("resume", who, why, self._clock.now_ms(), scope=halted.field)
        return self._halts.remove(halted, who=who, why=why, seen=seen, signed=word.signed(self._key))

    def halts(self) -> list[tuple[HaltScope, Halted]]:
        """Every halt that holds."""
        return self._halts.all()

    # -- journal -------------------------------------------------------------------------------------------------------

    def journal(self, command_id: str | None = None, last: int | None = None) -> list[JournalEntry]:
        """Entries, oldest first; of one command, or the ``last`` of all."""
        return self._journal.entries(command_id, last)

    def follow(self, after: str = "0-0", command_id: str | None = None) -> Iterator[JournalEntry | None]:
        """The entries after the position ``after`` as they are written, without end; None about once a second while
        there is no new one."""
        return self._journal.follow(after, command_id)


def _printable(who: str, why: str) -> tuple[str, str]:
    """Who and why on one line each, of limited length and without invisible characters."""
    return printable(who, MAX_WHO_LENGTH), printable(why, MAX_WHY_LENGTH)
