"""Reads the venues in one run of a reconcile: each account once, for all of its unknown commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from producers.commands import Command
from worker.clock import Clock
from worker.ledger.base import Record
from worker.reconciliation.competing import command_of
from worker.reconciliation.window import ClockOffset, ReconcileLimits
from worker.venues.accounts import Account
from worker.venues.base import Reads, Visit
from worker.venues.records import Window


@dataclass(frozen=True, slots=True)
class AccountVisit:
    """What one visit to an account read."""

    visit: Visit
    offset: ClockOffset
    searched: Mapping[str, tuple[Command, Window]]
    """By command id: the command that was searched for, and when its record can have been made. A command is missing
    if the ledger does not have its arguments or the time of a send."""


class Visits:
    """The visits of one run, each made when the first command of its account needs it."""

    def __init__(
        self, reads: Mapping[str, Reads], clock: Clock, limits: ReconcileLimits, records: Sequence[Record]
    ) -> None:
        """``reads`` by venue; ``records`` are the unknown commands of the run."""
        self._reads = reads
        self._clock = clock
        self._limits = limits
        self._clock_margin_ms = int(limits.clock_margin_seconds * 1000)
        self._records = records
        self._visits: dict[str, AccountVisit | str] = {}

    def of(self, account: Account) -> AccountVisit | str:
        """The visit to an account; or why it proves nothing, as a sentence."""
        if account.alias not in self._visits:
            self._visits[account.alias] = self._visited(account)
        return self._visits[account.alias]

    def clock_behind_ms(self, alias: str) -> int:
        """By how many ms at most the clock of a visited account's venue is behind this machine's; 0 when it is
        ahead."""
        visited = self._visits.get(alias, "")
        return 0 if isinstance(visited, str) else max(0, -visited.offset.min_ms)

    def _visited(self, account: Account) -> AccountVisit | str:
        reads = self._reads.get(account.venue)
        if reads is None:
            return f"{account.venue} has no reads that would show it"
        visit = reads.visit(account)
        before = self._offset(visit)
        if isinstance(before, str):
            return before
        searched = {}
        for record in self._records:
            command, window = command_of(record), self._limits.window(record, before)
            if record.account == account.alias and record.account_digest in ("", account.digest) and command and window:
                searched[record.command_id] = command, window
        visit.read([*searched.values()])
        after = self._offset(visit)
        if isinstance(after, str):
            return after
        if max(after.min_ms - before.max_ms, before.min_ms - after.max_ms) > self._clock_margin_ms:
            return "the venue's clock, or this machine's, jumped while the venue was read"
        return AccountVisit(visit, before, searched)

    def _offset(self, visit: Visit) -> ClockOffset | str:
        before_ms, venue_ms, after_ms = self._clock.now_ms(), visit.time(), self._clock.now_ms()
        if venue_ms is None:
            return "the venue's clock can't be read"
        offset = ClockOffset(venue_ms - max(before_ms, after_ms), venue_ms - min(before_ms, after_ms))
        if offset.max_ms - offset.min_ms > max(1000, self._clock_margin_ms):
            return "the venue took too long to tell its time: its records' times can't be compared by it"
        return offset
