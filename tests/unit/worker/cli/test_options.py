"""What the operator's commands work with."""

from worker.cli.options import open_operator
from worker.settings import LedgerSettings, WorkerSettings


def test_an_operator_keeps_to_the_limits_of_the_ledgers_settings() -> None:
    """`orders resolve` trimmed a journal of more than a million lines, whatever the setting said."""
    with open_operator(WorkerSettings(ledger=LedgerSettings(journal_lines=5_000_000, keep_days=3))) as operator:
        assert operator._ledger._script._journal_lines == 5_000_000  # type: ignore[attr-defined]
        assert operator._ledger._keep_ms == 3 * 86_400_000  # type: ignore[attr-defined]
