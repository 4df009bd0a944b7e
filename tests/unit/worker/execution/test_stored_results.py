"""What a stored result says of an id: a query has no record, and only its result says that its id is taken."""

import json

import pytest

from producers.report import Report
from tests.unit.worker.execution.executor_fixture import (
    ACCEPTED,
    ACCEPTED_AT_ONCE,
    CANCEL,
    LOST,
    NOTHING,
    POSITIONS,
    WITHDRAW,
    ExecutorFixture,
    ended,
    stored,
)
from worker.ledger.base import Halted

NEVER_SENT = json.dumps({"status": "FAILURE", "result": {"exc_type": "ChainBroken", "exc_message": [{}]}}).encode()
HALT = Halted("ann", "venue on fire", 5)


def asked(fixture: ExecutorFixture) -> Report:
    """The report of a query, which is stored."""
    fixture.transport.steps.append(NOTHING)
    report = fixture.run("positions", POSITIONS)
    fixture.ledger.results["id"] = stored(report)
    fixture.transport.requests.clear()
    return report


@pytest.mark.parametrize("arguments", [POSITIONS, {"account": "nobody"}])
def test_a_repeated_query_has_its_report_again(arguments: dict[str, str]) -> None:
    """Whatever would keep it from being sent now: it asks for nothing new."""
    fixture = ExecutorFixture()
    first = asked(fixture)
    fixture.ledger.halts["*/positions"] = HALT
    assert fixture.run("positions", arguments) == first.as_replay()
    assert fixture.transport.requests == []


@pytest.mark.parametrize("arguments", [WITHDRAW, {**WITHDRAW, "qty": "-1"}])
def test_a_querys_id_executes_no_other_command(arguments: dict[str, str]) -> None:
    """However often it is sent: the id is refused in the ledger, and the query's report stays the answer."""
    fixture = ExecutorFixture()
    first = asked(fixture)
    for _ in range(2):
        assert fixture.run("withdraw", arguments) == first.as_replay()
    assert fixture.transport.requests == []
    record = fixture.ledger.read("id")
    assert record is not None
    assert record.report is not None
    assert ended(record.report) == ("not_sent", "invalid", 0)


def test_a_query_does_not_answer_for_another_command() -> None:
    fixture = ExecutorFixture(LOST)
    first = fixture.run("withdraw", WITHDRAW)
    fixture.ledger.results["id"] = stored(first)
    assert fixture.run("positions", POSITIONS) == first.as_replay()
    assert len(fixture.transport.requests) == 1


@pytest.mark.parametrize("result", [b"{", b"\xff", b"null", NEVER_SENT])
def test_what_is_no_report_stops_nothing(result: bytes) -> None:
    """The mark that a command was never sent is not true any more."""
    fixture = ExecutorFixture(ACCEPTED)
    fixture.ledger.results["id"] = result
    assert fixture.ends("withdraw", WITHDRAW) == ACCEPTED_AT_ONCE
    assert fixture.forgotten == (["id"] if result == NEVER_SENT else [])


def test_the_report_of_a_command_whose_record_has_expired_stops_nothing() -> None:
    """As before: a record is kept for as long as its id is known."""
    fixture = ExecutorFixture(ACCEPTED, ACCEPTED)
    fixture.ledger.results["id"] = stored(fixture.run("cancel", CANCEL))
    fixture.ledger.forget("id")
    assert fixture.ends("cancel", CANCEL) == ACCEPTED_AT_ONCE
    assert len(fixture.transport.requests) == 2
