"""The ledger as `orders show` sees it: through an entry point, for the producers' side knows nothing of the worker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from producers.cli.output import when
from producers.cli.plugins import load
from producers.report import Report
from producers.settings import SettingsError

GROUP = "orders.ledger"
"""Entry points of this group take a command id and return its record as a JSON object, or None.

The record's fields: ``state`` (the ledger's, or ``ENQUEUED``), ``command``, ``account``, ``fence``, ``tries``,
``sent``, ``tainted``, ``first_sent_at``, ``last_signed_at``, ``report``. They raise :class:`ConnectionError` when the
ledger can't be read.
"""
IN_A_SOURCE_TREE = "worker.cli.ledger_record:ledger_record"


@dataclass(frozen=True, slots=True)
class LedgerAnswer:
    """What the ledger says about a command: its record, or None and why."""

    record: Mapping[str, Any] | None
    problem: str = ""
    unreachable: bool = False
    """Whether it should have been looked at, and could not."""

    @property
    def report(self) -> Report | None:
        """The command's report, when it has ended."""
        stored = self.record.get("report") if self.record else None
        return Report.model_validate(stored) if stored else None

    def in_words(self) -> str:
        """What stands in the ledger, to end a sentence with."""
        if self.record is None:
            return self.problem or "nothing in the ledger: it was never begun, or waits in its queue"
        record = self.record
        if record["state"] == "ENQUEUED":
            return f"it has not begun: it is enqueued ({record['command']} for {record['account']})"
        sent = f"attempts begun: {record['tries']}, requests sent: {record['sent']}"
        last = f", last signed {when(record['last_signed_at'])}" if record["last_signed_at"] else ""
        return f"the ledger has it in {record['state']} ({record['command']} for {record['account']}, {sent}{last})"


def look_up(command_id: str) -> LedgerAnswer:
    """Ask the ledger; never raises."""
    try:
        read: Callable[[str], Mapping[str, Any] | None] = load(
            GROUP, "record", "worker.cli.ledger_record:ledger_record"
        )
        return LedgerAnswer(read(command_id))
    except ModuleNotFoundError:
        return LedgerAnswer(None, "the ledger is not looked at, for the worker is not installed here")
    except (ConnectionError, SettingsError) as error:
        return LedgerAnswer(None, f"the ledger can't be read: {error}", unreachable=True)
