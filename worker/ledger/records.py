"""What the ledger keeps of one command, for those that read it; the moves are in :mod:`worker.ledger.base`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from producers.report import Report
from worker.ledger.holds import HoldRecord


class State(StrEnum):
    """The states of a command's record; the values are stored."""

    HELD = "HELD"
    SENDING = "SENDING"
    WAITING = "WAITING"
    PARKED = "PARKED"
    SETTLED = "SETTLED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a command's attempts so far, over all of its owners."""

    tries: int = 0
    """How many attempts were begun."""
    sent: int = 0
    """How many requests were put on the wire. One that a worker may have sent before it died is counted."""
    tainted: str = ""
    """Why an earlier attempt is of unknown fate (a :class:`~producers.report.Reason`), or empty."""
    first_sent_at: int | None = None
    last_signed_at: int | None = None
    """Both are UNIX ms on the clocks of the workers."""

    def after(self, before: "Progress") -> "Progress":
        """This progress with what the command's owner remembers of attempts ``before``: a server that was restarted
        without its last writes may have lost them, and an attempt of unknown fate must not be forgotten."""
        return Progress(
            tries=max(self.tries, before.tries),
            sent=max(self.sent, before.sent),
            tainted=self.tainted or before.tainted,
            first_sent_at=self.first_sent_at or before.first_sent_at,
            last_signed_at=self.last_signed_at or before.last_signed_at,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """One command's record, for readers."""

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
    """When the first send was begun, by any owner, UNIX ms on the ledger's clock; 0 when none was."""
    lease_until: int = 0
    """Until when the last owner could sign, UNIX ms on the ledger's clock; of what is parked, when it is due."""
    account_digest: str = ""
    """As in :class:`Claim`; ``*`` when its owners would have sent it to different accounts; empty, for unknown, in
    records that an earlier version began."""
    sealed_by: str = ""
    """As in :class:`Claim`, by its first begin."""
    lookup: str = ""
    """By what it is looked for at its venue, as of its last begin (:class:`~worker.venues.lookups.Lookup`); empty where
    it has no id of its own there."""
    hold: HoldRecord | None = None
    """When it is or was held for approval."""

    @property
    def given(self) -> Mapping[str, Any]:
        """What the command asks for; empty where :attr:`arguments` is no JSON object."""
        try:
            found = json.loads(self.arguments)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
