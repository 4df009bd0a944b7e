"""The history of commands, from the journal and the records: one command with all that happened to it, or a search.

The ledger has no record of a query, and none of a command that has not begun but its intent. It keeps about
``ORDERS_LEDGER__JOURNAL_LINES`` entries of the journal, and most records for ``ORDERS_LEDGER__KEEP_DAYS``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from producers.intents import Intent
from producers.printable import is_command_id
from producers.report import Report
from worker.ledger.journal import Journal, JournalEntry
from worker.ledger.journal_search import JournalSearch
from worker.ledger.outbox import intent_of
from worker.ledger.records import Record
from worker.ledger.redis import RedisLedger
from worker.operations.history_search import Filter as Filter
from worker.operations.history_search import Line as Line
from worker.operations.history_search import Page as Page
from worker.operations.history_search import Search, entered_at_ms
from worker.operations.timeline import Moment as Moment
from worker.operations.timeline import tell
from worker.public_keys import PublicKeys

ENQUEUED, NO_RECORD = "ENQUEUED", "NO_RECORD"
"""States beside those of the ledger: an intent and no record; entries of the journal and no readable record."""
OPENING = frozenset({"held", "begin", "refuse"})
"""Events of which one is the first of a command that has a record."""
CLOCKS_APART_MS = 600_000
"""How far a worker's clock may be from the ledger's: a record that never began has only its worker's time."""


@dataclass(frozen=True, slots=True)
class CommandHistory:
    """A command and all that happened to it, as far as that is known."""

    command_id: str
    command: str
    """Empty where neither record nor intent nor journal tells, and so is the account."""
    account: str
    arguments: Mapping[str, Any]
    """Empty where they are not known."""
    state: str
    """Of the record (:class:`~worker.ledger.records.State`), or :data:`ENQUEUED` or :data:`NO_RECORD`."""
    report: Report | None
    record: Record | None
    moments: tuple[Moment, ...]
    """Oldest first, but what its sender says of the enqueueing comes first."""
    complete: bool
    """False when the journal was trimmed behind the command's begin, or may have been."""


class History:
    """Reads only. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`; a producer's login may read
    neither the journal nor records."""

    def __init__(self, client: redis.Redis, ledger: RedisLedger, keys: PublicKeys | None = None) -> None:
        """``client`` is the ledger's, and decodes replies. ``keys`` are those by which signatures are checked."""
        self._client = client
        self._ledger = ledger
        self._journal = Journal(client)
        self._entries = JournalSearch(client)
        self._keys = keys

    def of(self, command_id: str) -> CommandHistory | None:
        """The history of a command; None where nothing is known of it."""
        if not is_command_id(command_id):
            return None
        record = self._record(command_id)
        intent = None if record and record.report else intent_of(self._client, command_id)
        start_ms = _start_ms(record)
        entries = list(self._entries.of_command(command_id, start_ms))
        if record is None and intent is None and not entries:
            return None
        enqueued_at = intent.enqueued_at if intent else record.report.enqueued_at if record and record.report else None
        command, account = _named(record, intent, entries)
        return CommandHistory(
            command_id=command_id,
            command=command,
            account=account,
            arguments=record.given if record else intent.kwargs if intent else {},
            state=record.state.value if record else ENQUEUED if intent else NO_RECORD,
            report=record.report if record else None,
            record=record,
            moments=tell(entries, record, enqueued_at, self._keys),
            complete=self._is_complete(record, intent, entries, start_ms),
        )

    def search(self, wanted: Filter, limit: int = 50, before: str = "") -> Page:
        """Commands that have begun, or ended without, the last one first: up to ``limit`` of them, and those that came
        before the entry at the position ``before``. A page may be shorter, because only so many entries are looked at
        (:data:`~worker.operations.history_search.MOST_READ`)."""
        return Search(self._client, wanted).page(limit, before)

    def _record(self, command_id: str) -> Record | None:
        try:
            return self._ledger.read(command_id)
        except (LookupError, ValueError):
            return None

    def _is_complete(
        self, record: Record | None, intent: Intent | None, entries: list[JournalEntry], start_ms: int
    ) -> bool:
        if record is None and intent is not None:
            return True
        # Of the millisecond in which it began a part may be gone.
        is_begun = record is None or any(each.fields.get("event") in OPENING for each in entries)
        return is_begun and self._journal.reaches(start_ms)


def _start_ms(record: Record | None) -> int:
    """From when on the journal has what happened to a command, UNIX ms."""
    if record is None:
        return 0
    if entered_at := entered_at_ms(record):
        return entered_at
    finished_at = (record.report.finished_at if record.report else None) or 0
    return max(0, finished_at - CLOCKS_APART_MS)


def _named(record: Record | None, intent: Intent | None, entries: list[JournalEntry]) -> tuple[str, str]:
    """Command and account."""
    if record:
        return record.command, record.account
    if intent:
        return intent.task.removeprefix("orders."), str(intent.kwargs.get("account", ""))
    named = next((each.fields for each in entries if "account" in each.fields), {})
    return named.get("command", ""), named.get("account", "")
