"""Which other commands could have made the venue's record that is looked for."""

import json
from collections.abc import Mapping
from typing import Any

from producers.commands import Command, parse_command
from producers.errors import InvalidCommand
from producers.report import Outcome
from worker.ledger.base import Ledger, Record, State
from worker.ledger.journal import BegunSends
from worker.reconciliation.matching import CompetingCommand
from worker.reconciliation.window import EVER, ClockOffset, ReconcileLimits
from worker.venues.accounts import Account
from worker.venues.records import Window

LEASES_MS = 600_000
"""How long before its arrival at the venue the send of a competing command may have begun: more than the longest lease
that the settings of timeouts allow."""


class CompetingCommands:
    """Finds the commands that could have made the same record as another. For one run: it remembers the records of
    commands that have ended, which send nothing any more."""

    def __init__(
        self, ledger: Ledger, begun: BegunSends, limits: ReconcileLimits, accounts: Mapping[str, Account]
    ) -> None:
        self._ledger = ledger
        self._begun = begun
        self._limits = limits
        self._accounts = accounts
        self._known: dict[str, tuple[Record, Command | None]] = {}
        self._made: dict[str, tuple[ClockOffset, CompetingCommand | None]] = {}

    def of(
        self, record: Record, command: Command, window: Window, offset: ClockOffset
    ) -> list[CompetingCommand] | None:
        """Every command of the same kind and account that is not proven not executed, begun when it could have made a
        record in the window; None when the journal does not reach back so far.

        Raises:
            LedgerUnavailable: the ledger can't be asked.
        """
        before = int(self._limits.arrival_seconds * 1000) + LEASES_MS + offset.largest_ms
        start, end = window.start - before, window.suspect_until + offset.largest_ms
        same_account = self._same_account(record.account)
        ids = self._begun.between(start, end, record.command, same_account)
        if ids is None:
            return None
        found = [
            self._competing(each, record, command, same_account, offset) for each in ids if each != record.command_id
        ]
        return [each for each in found if each is not None]

    def _same_account(self, alias: str) -> set[str]:
        """The aliases that may be this one's account as well: two keys of one account look like two accounts here."""
        mine = self._accounts.get(alias)
        address = (mine.venue, mine.base_url) if mine else None
        return {alias, *(each.alias for each in self._accounts.values() if (each.venue, each.base_url) == address)}

    def _competing(
        self, command_id: str, record: Record, command: Command, same_account: set[str], offset: ClockOffset
    ) -> CompetingCommand | None:
        known = self._known.get(command_id) or self._read(command_id)
        # A record without its arguments or times may be of any command: it is taken for a double of this one. So is a
        # record that has expired.
        if known is None:
            return CompetingCommand(command_id, command, EVER)
        other, asked = known
        if other.command != record.command or other.account not in same_account:
            return None
        if asked is None or command_id not in self._known:
            return self._as_competing(other, asked or command, offset)
        made = self._made.get(command_id)
        if made is None or made[0] != offset:
            made = self._made[command_id] = offset, self._as_competing(other, asked, offset)
        return made[1]

    def _read(self, command_id: str) -> tuple[Record, Command | None] | None:
        record = self._ledger.read(command_id)
        if record is None:
            return None
        known = record, command_of(record)
        if record.state in (State.SETTLED, State.UNKNOWN):
            self._known[command_id] = known
        return known

    def _as_competing(self, other: Record, asked: Command, offset: ClockOffset) -> CompetingCommand | None:
        if other.report is not None and other.report.outcome in (Outcome.REJECTED, Outcome.NOT_SENT):
            return None
        accepted = other.report is not None and other.report.outcome is Outcome.ACCEPTED
        # After an attempt of unknown fate there may be two records, and the response to a later attempt names the
        # second alone. A command that was settled without a response, by evidence or by a person's word, has one
        # record.
        second = bool(other.progress.tainted and other.report and other.report.http_status)
        reference = reference_of(other.report.result) if accepted and other.report and not second else ""
        return CompetingCommand(other.command_id, asked, self._limits.window(other, offset) or EVER, reference)


def reference_of(result: Any) -> str:
    """The venue's id in its response to an accepted command; an order may be nested (``docs/venues.md``)."""
    inner = result.get("order", result) if isinstance(result, Mapping) else None
    found = inner.get("id") if isinstance(inner, Mapping) else None
    return str(found) if isinstance(found, str | int) else ""


def command_of(record: Record) -> Command | None:
    """The command of a record; None when the record does not have its arguments."""
    try:
        return parse_command(f"orders.{record.command}", json.loads(record.arguments))
    except (ValueError, TypeError, InvalidCommand):
        return None
