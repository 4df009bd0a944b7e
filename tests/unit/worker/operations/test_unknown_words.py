"""What the operator is told of an open unknown: what is known, and the next step at each time."""

import json
from dataclasses import replace

import pytest

from producers.cli.output import when
from producers.report import Outcome, Reason, Report
from worker.ledger.base import Progress, Record, State
from worker.operations.operator import Unknown
from worker.operations.unknown_words import WHY, advice, arguments_of, known_of
from worker.reconciliation.window import ReconcileLimits
from worker.venues.lookups import Lookup

T0 = 1_790_000_000_000
LIMITS = ReconcileLimits(settle_seconds=60, apart_seconds=30, arrival_seconds=15)
COUNTS_FROM = T0 + 75_000
"""The last arrival, 15 s after the signature, and a minute for the venue to list it."""
REPORT = Report(
    command_id="c-1",
    command="close",
    account="main",
    outcome=Outcome.UNKNOWN,
    reason=Reason.LOST_REPLY,
    message="the reply was lost",
    fingerprint="f" * 64,
    attempts=1,
    first_sent_at=T0,
    last_signed_at=T0,
)
RECORD = Record("c-1", State.UNKNOWN, "f" * 64, "close", "main", 1, Progress(tries=2), REPORT, '{"qty": "1"}', T0)


def unknown(first_absence_at: int | None = None, **record: object) -> Unknown:
    return Unknown("c-1", T0, replace(RECORD, **record), first_absence_at)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("each", "now_ms", "do", "words"),
    [
        (unknown(), T0 + 1, "reconcile now", f"look again from {when(COUNTS_FROM)}"),
        (unknown(), COUNTS_FROM, "reconcile now", "a second time 30 s later"),
        (unknown(COUNTS_FROM), COUNTS_FROM + 29_999, f"reconcile again at {when(COUNTS_FROM + 30_000)}", "again from"),
        (unknown(COUNTS_FROM), COUNTS_FROM + 30_000, "reconcile now", "absent a second time"),
        (unknown(command="withdraw"), COUNTS_FROM, "reconcile, then ask the venue", "proves nothing for a withdrawal"),
        (replace(unknown(), record=None), T0, "look by hand", "missing"),
    ],
)
def test_the_next_step_depends_on_what_a_look_would_prove(each: Unknown, now_ms: int, do: str, words: str) -> None:
    found = advice(each, LIMITS, now_ms)
    assert found.do == do
    assert words in " ".join(found.steps)


def test_where_the_venue_refuses_late_requests_that_time_counts() -> None:
    """Of a command with a client order id: not the end of the lease, but what the request says of itself."""
    lookup = Lookup("id-1", until_ms=T0 + 100_000).to_text()
    assert LIMITS.absence_counts_from(replace(RECORD, lookup=lookup)) == T0 + 162_000
    assert LIMITS.absence_counts_from(RECORD) == COUNTS_FROM


def test_what_is_known_is_named_without_a_character_that_nobody_sees() -> None:
    report = REPORT.model_copy(update={"venue_message": "no\x1b[2J\u202e", "http_status": 503, "venue_code": "7"})
    known = dict(known_of(unknown(T0, report=report)))
    assert known["the venue said"] == "HTTP 503, code 7, no\\x1b[2J\\u202e"
    assert known["attempts"] == "2 begun, 1 request put on the wire"
    assert known["looks at the venue"].startswith(f"not found at {when(T0)}")
    assert known_of(replace(unknown(), record=None)) == [("record", "missing, or it can't be read")]


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000])
def test_arguments_that_are_none_are_shown_as_none(text: str) -> None:
    assert arguments_of(replace(RECORD, arguments=text)) == {}
    assert arguments_of(RECORD) == json.loads(RECORD.arguments)


def test_each_reason_of_an_unknown_has_its_meaning() -> None:
    of_unknown = (Reason.LOST_REPLY, Reason.CRASHED, Reason.UNLISTED_ANSWER, Reason.SEEN, Reason.REFUSED_AFTER_LOST)
    assert set(WHY) == set(of_unknown)
