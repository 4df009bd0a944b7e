"""Reads the ledger for `orders show` through an entry point, because producers do not import the worker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from producers.cli.output import when
from producers.cli.plugins import load
from producers.report import Report
from producers.settings import SettingsError

GROUP = "orders.ledger"
"""Entry points of this group take a command id and return its record as a JSON object, or None.

The record's fields: ``state`` (the ledger's, or ``ENQUEUED``), ``command``, ``account``, ``sealed_by``, ``fence``,
``tries``, ``sent``, ``tainted``, ``first_sent_at``, ``last_signed_at``, ``report``, ``word``: by whose word it was
settled, and whether that is signed; and ``held_until`` while it is ``HELD``, ``parked_until`` while it is ``PARKED``.
They raise :class:`PermissionError` when the ledger has a command and its record may not be read, and
:class:`ConnectionError` when the ledger can't be read.
"""
_SOURCE_TREE_VALUE = "worker.cli.ledger_record:ledger_record"
"""The value of the entry point in a source tree, which has no metadata of installed packages."""
_TIMELINE_VALUE = "worker.cli.ledger_record:timeline"


@dataclass(frozen=True, slots=True)
class LedgerAnswer:
    """The ledger's record of a command, or None and the reason."""

    record: Mapping[str, Any] | None
    problem: str = ""
    unreachable: bool = False
    """Whether the ledger is configured and could not be read."""

    @property
    def report(self) -> Report | None:
        """The command's report if it has ended."""
        stored = self.record.get("report") if self.record else None
        return Report.model_validate(stored) if stored else None

    def in_words(self) -> str:
        """The state in the ledger as the end of a sentence."""
        if self.record is None:
            return self.problem or "nothing in the ledger: it has never begun, or waits in its queue"
        record = self.record
        if record["state"] == "ENQUEUED":
            named = f"{record['command']} for {record['account']}"
            return f"it has not begun: it is enqueued ({named}); `orders parked` shows what waits, and for what"
        if record["state"] == "HELD":
            named = f"{record['command']} for {record['account']}"
            until = when(record["held_until"])
            return f"it is held for approval until {until} ({named}); `orders held` shows who may approve it"
        sent = f"attempts begun: {record['tries']}, requests sent: {record['sent']}"
        if record["state"] == "SENDING":  # the present attempt is counted when it has ended
            sent += " before the present attempt, whose request may have been sent"
        if record["state"] == "PARKED":
            named = f"{record['command']} for {record['account']}, {sent}"
            return f"it is parked until {when(record['parked_until'])} and waits for its next attempt or look ({named})"
        last = f", last signed {when(record['last_signed_at'])}" if record["last_signed_at"] else ""
        ended = f" as {self.report.outcome}/{self.report.reason}" if self.report else ""
        sealed = f", sealed by {record['sealed_by']}" if record.get("sealed_by") else ""
        details = f"{record['command']} for {record['account']}{sealed}, {sent}{last}"
        return f"its state in the ledger is {record['state']}{ended} ({details})"


def look_up(command_id: str) -> LedgerAnswer:
    """Read a command's record from the ledger. Where that fails, the answer says why; no expected error is raised."""
    try:
        read: Callable[[str], Mapping[str, Any] | None] = load(GROUP, "record", _SOURCE_TREE_VALUE)
        return LedgerAnswer(read(command_id))
    except ModuleNotFoundError:
        return LedgerAnswer(None, "the ledger is not checked, because the worker is not installed here")
    except PermissionError as error:
        return LedgerAnswer(None, str(error))
    except (ConnectionError, SettingsError) as error:
        return LedgerAnswer(None, f"the ledger can't be read: {error}", unreachable=True)


def read_timeline(command_id: str) -> tuple[Mapping[str, Any] | None, str]:
    """What happened to a command, or None: ``{"complete", "moments": [{"at", "words", "verdict"}]}``. And why it can't
    be read, which is empty where that is as it should be: with a producer's login, or without the worker."""
    try:
        read: Callable[[str], Mapping[str, Any] | None] = load(GROUP, "timeline", _TIMELINE_VALUE)
        return read(command_id), ""
    except (ModuleNotFoundError, PermissionError):
        return None, ""
    except (ConnectionError, SettingsError) as error:
        return None, f"the timeline can't be read: {error}"
