"""Finds the other commands that could have made the venue's record of a command."""

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

MAX_LEASE_MS = 600_000
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
        self._ended: dict[str, tuple[Record, Command | None]] = {}
        self._cached: dict[str, tuple[ClockOffset, CompetingCommand | None]] = {}

    def of(
        self, record: Record, command: Command, window: Window, offset: ClockOffset
    ) -> list[CompetingCommand] | None:
        """Every command of the same kind and account that is not proven not executed, begun when it could have made a
        record in the window (the venue's clock); None when that part of the journal has been trimmed.

        Raises:
            LedgerUnavailable: the ledger can't be asked.
        """
        before = int(self._limits.arrival_seconds * 1000) + MAX_LEASE_MS + offset.largest_ms
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
        """The aliases that may be this one's account as well: two keys of one account at the venue are two accounts in
        the settings."""
        account = self._accounts.get(alias)
        address = (account.venue, account.base_url) if account else None
        return {alias, *(each.alias for each in self._accounts.values() if (each.venue, each.base_url) == address)}

    def _competing(
        self, command_id: str, record: Record, command: Command, same_account: set[str], offset: ClockOffset
    ) -> CompetingCommand | None:
        found = self._ended.get(command_id) or self._read(command_id)
        # A record without its arguments or times, or one that has expired, may be of any command: it counts as one
        # with the same arguments.
        if found is None:
            return CompetingCommand(command_id, command, EVER)
        other, other_command = found
        if other.command != record.command or other.account not in same_account:
            return None
        if other_command is None or command_id not in self._ended:
            return self._as_competing(other, other_command or command, offset)
        cached = self._cached.get(command_id)
        if cached is None or cached[0] != offset:
            cached = self._cached[command_id] = offset, self._as_competing(other, other_command, offset)
        return cached[1]

    def _read(self, command_id: str) -> tuple[Record, Command | None] | None:
        record = self._ledger.read(command_id)
        if record is None:
            return None
        found = record, command_of(record)
        if record.state in (State.SETTLED, State.UNKNOWN):
            self._ended[command_id] = found
        return found

    def _as_competing(self, other: Record, command: Command, offset: ClockOffset) -> CompetingCommand | None:
        if other.report is not None and other.report.outcome in (Outcome.REJECTED, Outcome.NOT_SENT):
            return None
        if other.state is State.HELD:
            return None  # it has not begun
        accepted = other.report is not None and other.report.outcome is Outcome.ACCEPTED
        # After an attempt of unknown fate there may be two records, and the response to a later attempt names the
        # second alone. A command that was settled without a response, by evidence or by a person's word, has one
        # record.
        may_have_two = bool(other.progress.tainted and other.report and other.report.http_status)
        reference = reference_of(other.report.result) if accepted and other.report and not may_have_two else ""
        return CompetingCommand(other.command_id, command, self._limits.window(other, offset) or EVER, reference)


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
