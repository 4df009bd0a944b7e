"""A newer and an older worker side by side: each reads what the other has written, as in a rolling deploy."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from producers.report import Outcome, Reason, Report, report_from_result
from tests.servers import Server
from worker.clock import SystemClock
from worker.ledger.base import Begun, Busy, Claim, Ended, Orphaned, State
from worker.ledger.connection import connect
from worker.ledger.keys import JOURNAL_KEY, RECORD_KEY
from worker.ledger.redis import RedisLedger
from worker.operations.operator import OperatorService
from worker.reconciliation.store import ReconcileStore

CLAIM = Claim("x", "f" * 64, "withdraw", "main", False, "mine", 60_000, '{"qty":"1"}')
REPORT = Report(
    command_id="x",
    command="withdraw",
    outcome=Outcome.UNKNOWN,
    reason=Reason.CRASHED,
    message="its worker died",
    fingerprint="f" * 64,
)
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


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    """An empty ledger's."""
    server.flush()
    made = connect(server.url(2))
    yield made
    made.close()


@pytest.mark.parametrize("more", [{}, FROM_THE_FUTURE], ids=["older", "newer"])
def test_a_record_of_another_version_is_respected(client: redis.Redis, more: dict[str, str]) -> None:
    """Its lease keeps us out; after it, its send is an orphan; and what it says is never sent again."""
    ledger = RedisLedger(client, disk_ms=0)
    far = "99999999999999"
    client.hset(RECORD_KEY.format("x"), mapping={**FIRST_VERSION, **more, "state": "SENDING", "lease_until": far})
    assert isinstance(ledger.begin(CLAIM, 1), Busy)
    client.hset(RECORD_KEY.format("x"), "lease_until", "1")
    found = ledger.begin(CLAIM, 1)
    assert isinstance(found, Orphaned)
    assert ledger.abandon(CLAIM, found, REPORT)
    assert ledger.begin(CLAIM, 1) == Ended(REPORT)
    record = ledger.read("x")
    assert record is not None
    assert (record.state, record.report) == (State.UNKNOWN, REPORT)
    assert {**client.hgetall(RECORD_KEY.format("x")), **more} == client.hgetall(RECORD_KEY.format("x"))


def test_where_an_older_worker_sent_it_nobody_knows(client: redis.Redis) -> None:
    """Taken over by this one, it may have been sent to both places."""
    ledger = RedisLedger(client, disk_ms=0)
    client.hset(RECORD_KEY.format("x"), mapping={**FIRST_VERSION, "state": "WAITING", "lease_until": "1"})
    assert isinstance(ledger.begin(replace(CLAIM, place="here"), 1), Begun)
    assert ledger.read("x").place == ""  # type: ignore[union-attr]


def test_a_report_of_a_newer_version_is_read_and_handed_on(client: redis.Redis) -> None:
    """Fields and words that were added since: a sender that is older still learns the outcome."""
    ledger = RedisLedger(client, disk_ms=0)
    stored = {**FIRST_VERSION, "state": "UNKNOWN", "lease_until": "1", "report": json.dumps(NEWER_REPORT)}
    client.hset(RECORD_KEY.format("x"), mapping=stored)
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
    "meta",
    [
        {"status": "SUCCESS", "result": {"outcome": "unknown"}},
        {"status": "STARTED", "result": {"outcome": "accepted"}},
        {"status": "FAILURE", "result": {"outcome": "accepted"}},
        *(
            {"status": "FAILURE", "result": {"exc_type": kind, "exc_message": [{"outcome": outcome}]}}
            for kind, outcome in (
                ("OrderRejected", "accepted"),
                ("OrderUnknown", "rejected"),
                (["OrderUnknown"], "unknown"),
            )
        ),
        {"status": "SUCCESS", "result": {"exc_type": "OrderUnknown", "exc_message": [{"outcome": "unknown"}]}},
    ],
    ids=str,
)
def test_a_report_that_contradicts_what_it_is_stored_as_is_none(meta: dict[str, Any]) -> None:
    """No worker writes one; and of two outcomes nobody knows which is true."""
    inner = meta["result"].get("exc_message", [meta["result"]])
    inner[0] |= {**NEWER_REPORT, **inner[0]}
    assert report_from_result(meta) is None


def test_a_known_reason_is_still_the_word_that_programs_compare() -> None:
    """Not just a text that looks like it."""
    assert Report.model_validate_json(REPORT.model_dump_json()).reason is Reason.CRASHED


def test_a_journal_of_a_newer_version_is_read(client: redis.Redis) -> None:
    """Events and fields that are not known yet are shown, and none of them hides a rival from a reconcile."""
    ledger = RedisLedger(client, disk_ms=0)
    assert isinstance(ledger.begin(CLAIM, 1), Begun)
    client.xadd(JOURNAL_KEY, {"event": "teleport", "id": "y", "token": "t", "outcome": "", "to": "elsewhere"})
    events = [entry.fields["event"] for entry in OperatorService(client, ledger, SystemClock()).journal()]
    assert events == ["begin", "teleport"]
    assert ReconcileStore(client).begun_between(0, 10**15, "withdraw", {"main"}) == ["x", "y"]
