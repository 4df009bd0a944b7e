"""The ledger's journal: every move of every command."""

from dataclasses import dataclass
from typing import Any

FOLLOW_SECONDS = 1.0


PAGE = 500


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of the journal."""

    position: str
    """Its place in the stream, ``<UNIX ms on the ledger's clock>-<number>``."""
    fields: dict[str, str]
    """``event``, ``id``, ``token``, ``outcome``, and what the event adds."""

    @property
    def at(self) -> int:
        """UNIX ms."""
        return int(self.position.partition("-")[0])


def _entries(rows: Any) -> list[JournalEntry]:
    return [JournalEntry(position, dict(fields)) for position, fields in rows]
