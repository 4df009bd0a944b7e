"""A command that is held until persons have approved it: what the ledger is told, answers and keeps."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

NO_DEADLINE = 2**53


@dataclass(frozen=True, slots=True)
class Hold:
    """Asks a begin to hold the command instead."""

    hold_ms: int
    """How long at most."""
    message: str
    """What is needed to publish the command again, as JSON; it holds the command's arguments."""
    needed: str
    """Who must approve, for people, as JSON: ``[{"rule", "needed", "approvers": [name]}]``. Nothing believes it."""
    sealed_by: str = ""
    """Which producer has sealed the command."""
    deadline: int | None = None
    """UNIX ms: it is not held for longer."""
    decided: str = ""
    """:attr:`Held.decided` of the answer by which enough persons have approved it: then it begins, unless somebody has
    decided anything since."""

    def to_json(self) -> str:
        """The hold as ``transitions.lua`` takes it."""
        deadline = NO_DEADLINE if self.deadline is None else min(self.deadline, NO_DEADLINE)
        fields = {"hold_ms": self.hold_ms, "message": self.message, "needed": self.needed}
        return json.dumps({**fields, "sealed_by": self.sealed_by, "deadline": deadline, "decided": self.decided})


@dataclass(frozen=True, slots=True)
class Held:
    """The answer when the command is held, now or since an earlier begin: nothing was begun."""

    until: int
    """UNIX ms on the ledger's clock."""
    sealed_by: str = ""
    """Who has sealed the command that is held, by the message with which it was first held."""
    decided: str = "0"
    """How many decisions were stored so far, those included that later ones have replaced."""
    decisions: tuple[str, ...] = ()
    """What persons have decided (:mod:`worker.ledger.decisions`), as it is stored: nothing of it is verified."""


@dataclass(frozen=True, slots=True)
class HoldOver:
    """The answer when the time is over for which the command was held."""

    until: int
    """UNIX ms on the ledger's clock; 0 when it can't be held at all: too many are, or somebody has spoilt a key."""


@dataclass(frozen=True, slots=True)
class HoldRecord:
    """What the record of a command that is or was held says, for readers."""

    since: int
    until: int
    """Both are UNIX ms on the ledger's clock."""
    needed: str
    """As in :class:`Hold`."""
    sealed_by: str
    decisions: tuple[str, ...]
    """As in :class:`Held`."""


def hold_record(fields: Mapping[str, str]) -> HoldRecord | None:
    """The hold in a record's fields; None when the command was never held."""
    if "held_at" not in fields:
        return None
    decisions = tuple(text for name, text in sorted(fields.items()) if name.startswith("decision:"))
    return HoldRecord(
        int(fields["held_at"]),
        int(fields["hold_until"]),
        fields.get("needed", ""),
        fields.get("sealed_by", ""),
        decisions,
    )
