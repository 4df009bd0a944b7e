"""How a wait looks and listens: it takes no longer than the report does."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from producers.report_checks import ReportChecker
from producers.report_reader import ReportReader
from producers.settings import QueueSettings
from tests.model.conformance import report


class Stored:
    """Results that come one by one, each with the pause before it."""

    def __init__(self, *coming: str) -> None:
        self._coming = list(coming)
        self._there: set[str] = set()

    def read(self, command_ids: Sequence[str]) -> list[bytes | None]:
        return [self._result(each) if each in self._there else None for each in command_ids]

    @contextmanager
    def announced(self, command_ids: Sequence[str]) -> Iterator[Callable[[float], object]]:
        def pause(_: float) -> None:
            assert self._coming, "it listens although it has every report: that is a second for nothing"
            self._there.add(self._coming.pop(0))

        yield pause

    @staticmethod
    def _result(command_id: str) -> bytes:
        return json.dumps({"status": "SUCCESS", "result": report(command_id=command_id).to_json()}).encode()


@pytest.mark.parametrize("coming", [["a"], ["b", "a"]])
def test_a_wait_ends_with_its_last_report(coming: list[str]) -> None:
    """It listened once more for what could not come, so that every wait took a second longer than its command."""
    reader = ReportReader(Stored(*coming), ReportChecker(QueueSettings(), None))
    told = [each.command_id for each in reader.as_completed(sorted(coming), 60)]
    assert told == coming
