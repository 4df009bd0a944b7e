"""A newer and an older worker side by side: each reads what the other has written, as in a rolling deploy."""

import json
from dataclasses import replace
from typing import Any

import pytest
import redis

from producers.report import Reason, Report, report_from_result
from tests.model.conformance import claim, report
from worker.clock import SystemClock
from worker.ledger.base import Begun, Busy, Ended, Orphaned, State
from worker.ledger.journal import Journal
from worker.ledger.keys import JOURNAL_KEY, RECORD_KEY
from worker.ledger.redis import RedisLedger
from worker.operations.operator import OperatorService

CLAIM = claim("x")
REPORT = report("unknown", command_id="x", reason=Reason.CRASHED)
FIRST_VERSION = {
    "fingerprint": "f" * 64,
    "command": "withdraw",
    "account": "main",
    "token": "another",
    "fence": "1",
    "tries": "1",
    "sent": "0",
    "tainted": "",
    "begun_at": "1",
    "attempt": "1",
}
"""The fields that the first version wrote; what has been added since is missing in its records."""
FROM_THE_FUTURE = {"state_of_mind": "calm", "region": '{"a":[1]}'}
NEWER_REPORT = {
    **json.loads(REPORT.model_dump_json()),
    "reason": "struck_by_lightning",
    "weather": {"wind": 7},
    "positions": [{"instrument": "P", "direction": "long", "size": "1", "mood": "fine"}],
}


RECORD = RECORD_KEY.format("x")


@pytest.fixture
def ledger(client: redis.Redis) -> RedisLedger:
    return RedisLedger(client, disk_ms=0)


def write(client: redis.Redis, **fields: str) -> None:
    """Write a record as the first version wrote it, with these fields in it."""
    client.hset(RECORD, mapping={**FIRST_VERSION, "lease_until": "1", **fields})


@pytest.mark.parametrize("more", [{}, FROM_THE_FUTURE], ids=["older", "newer"])
def test_a_record_of_another_version_is_respected(
    client: redis.Redis, ledger: RedisLedger, more: dict[str, str]
) -> None:
    """Its lease is respected, its send is an orphan after that, and its end is final."""
    write(client, **more, state="SENDING", lease_until="99999999999999")
    assert isinstance(ledger.begin(CLAIM, 1), Busy)
    write(client)
    found = ledger.begin(CLAIM, 1)
    assert isinstance(found, Orphaned)
    assert ledger.abandon(CLAIM, found, REPORT)
    assert ledger.begin(CLAIM, 1) == Ended(REPORT)
    record = ledger.read("x")
    assert record is not None
    assert (record.state, record.report) == (State.UNKNOWN, REPORT)
    assert client.hgetall(RECORD).items() >= more.items()


def test_where_an_older_worker_sent_it_nobody_knows(client: redis.Redis, ledger: RedisLedger) -> None:
    """After a takeover it may have been sent to both places."""
    write(client, state="WAITING")
    assert isinstance(ledger.begin(replace(CLAIM, account_digest="here"), 1), Begun)
    record = ledger.read("x")
    assert record is not None
    assert record.account_digest == ""


def test_a_report_of_a_newer_version_is_read_and_handed_on(client: redis.Redis, ledger: RedisLedger) -> None:
    """It has fields and words that were added later, and an older sender still learns the outcome."""
    write(client, state="UNKNOWN", report=json.dumps(NEWER_REPORT))
    answer = ledger.begin(CLAIM, 1)
    assert isinstance(answer, Ended)
    assert (answer.report.outcome, answer.report.reason) == ("unknown", "struck_by_lightning")
    assert answer.report.to_json()["reason"] == "struck_by_lightning"
    failure = {"exc_type": "OrderUnknown", "exc_message": [NEWER_REPORT]}
    found = report_from_result({"status": "FAILURE", "result": failure})
    assert found is not None
    assert found.positions is not None
    assert found.positions[0].size == "1"


@pytest.mark.parametrize(
    ("status", "kind", "outcome"),
    [
        ("SUCCESS", None, "unknown"),
        ("STARTED", None, "accepted"),
        ("FAILURE", None, "accepted"),
        ("FAILURE", "OrderRejected", "accepted"),
        ("FAILURE", "OrderUnknown", "rejected"),
        ("FAILURE", ["OrderUnknown"], "unknown"),
        ("SUCCESS", "OrderUnknown", "unknown"),
    ],
)
def test_a_report_that_contradicts_what_it_is_stored_as_is_none(status: str, kind: Any, outcome: str) -> None:
    """No worker writes such a report, and nobody can know which of two outcomes is true."""
    told = {**NEWER_REPORT, "outcome": outcome}
    result = {"exc_type": kind, "exc_message": [told]} if kind else told
    assert report_from_result({"status": status, "result": result}) is None


def test_a_known_reason_is_still_the_word_that_programs_compare() -> None:
    """It is the enum member, not only a text that is equal to it."""
    assert Report.model_validate_json(REPORT.model_dump_json()).reason is Reason.CRASHED


def test_a_journal_of_a_newer_version_is_read(client: redis.Redis, ledger: RedisLedger) -> None:
    """Unknown events and fields are shown, and none of them hides a competing command from a reconcile."""
    assert isinstance(ledger.begin(CLAIM, 1), Begun)
    client.xadd(JOURNAL_KEY, {"event": "teleport", "id": "y", "token": "t", "outcome": "", "to": "elsewhere"})
    events = [entry.fields["event"] for entry in OperatorService(client, ledger, SystemClock()).journal()]
    assert events == ["begin", "teleport"]
    assert Journal(client).begun_sends().between(0, 10**15, "withdraw", {"main"}) == ["x", "y"]
