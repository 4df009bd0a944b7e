"""What is built from the settings is the same for every program."""

from worker.cli.options import open_operator
from worker.settings import WorkerSettings


def test_what_a_person_settles_trims_the_journal_no_more_than_a_worker_does() -> None:
    """Its moves cut the journal to the default length, whatever ORDERS_LEDGER__JOURNAL_LINES said."""
    settings = WorkerSettings.model_validate({"ledger": {"journal_lines": 5_000_000}})
    with open_operator(settings) as desk:
        assert desk._ledger._script._journal_lines == 5_000_000  # type: ignore[attr-defined]
