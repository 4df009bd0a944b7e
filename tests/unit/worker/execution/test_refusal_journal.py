"""Journal entries of refused commands: written beside the work, at a limited rate, and none lost to an outage."""

import threading
from typing import Any

import pytest

from tests.support.waiting import until
from worker.execution.policy import refusal_journal
from worker.execution.policy.refusal_journal import BURST, SECONDS_PER_ENTRY, RefusalJournal
from worker.ledger.base import LedgerUnavailable


class Written:
    """What was written; ``errors`` are raised first."""

    def __init__(self, *errors: Exception) -> None:
        self.entries: list[dict[str, Any]] = []
        self.errors = list(errors)
        self.now = 0.0
        self.journal = RefusalJournal(self.write, lambda: self.now)

    def write(self, event: str, command_id: str, **more: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.entries.append({"event": event, "id": command_id, **more})

    def add(self, *ids: int) -> None:
        for each in ids:
            self.journal.add("unsealed", str(each), why="unsealed")


def test_a_flood_of_refusals_writes_few_entries_and_the_next_one_counts_the_others() -> None:
    written = Written()
    written.add(*range(10_000))
    until(lambda: len(written.entries) == BURST, "the first entries")
    written.now += SECONDS_PER_ENTRY
    written.add(1, 2)
    until(lambda: len(written.entries) == BURST + 1, "one more")
    assert written.entries[-1] == {
        "event": "unsealed",
        "id": "1",
        "why": "unsealed",
        "left_out": str(10_000 - BURST),
    }


def test_an_outage_loses_no_entry_and_a_fault_loses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal_journal, "RETRY_SECONDS", 0)
    written = Written(LedgerUnavailable("away"), LedgerUnavailable("away"))
    written.add(1)
    until(lambda: written.entries, "the entry")
    written.errors.append(ValueError("x"))
    written.add(2, 3)
    until(lambda: written.entries[-1]["id"] == "3", "the last")
    assert [each["id"] for each in written.entries] == ["1", "3"]


def test_whoever_takes_messages_does_not_wait_for_the_ledger() -> None:
    released = threading.Event()
    written = Written()
    written.write = lambda *_, **__: released.wait()  # type: ignore[assignment, method-assign] # it hangs
    written.journal = RefusalJournal(written.write, lambda: written.now)
    for _ in range(5):
        written.now += BURST * SECONDS_PER_ENTRY
        written.add(*range(BURST))
    released.set()
