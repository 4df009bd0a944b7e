"""What a report, a record and a log line may show, whatever a sender, an operator or a venue writes."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from producers.report import Outcome, Reason, Report
from tests.support.fakes import START_MS
from tests.unit.worker.execution.executor_fixture import (
    ACCOUNT,
    BUSY,
    CANCEL,
    POSITIONS,
    WITHDRAW,
    ExecutorFixture,
    ended,
    stored,
)
from worker.ledger.base import Halted
from worker.venues.accounts import Credentials
from worker.venues.http.base import Response


def test_an_echo_of_the_keys_is_redacted() -> None:
    """A venue that quotes the key or a signature in its answer does not get it into a report; each attempt is signed
    anew, and the second may be answered with the words of the first."""
    fixture = ExecutorFixture(BUSY)

    @fixture.step
    def echo() -> Response:
        signatures = ", ".join(request.headers["x-signature"] for request in fixture.transport.requests)
        echoed = f"bad key key-of-main, secret-of-main, {signatures}"
        return Response(401, json.dumps({"code": 401, "msg": echoed, "result": {"echo": echoed}}).encode())

    report = fixture.run("withdraw", WITHDRAW)
    signatures = {request.headers["x-signature"] for request in fixture.transport.requests}
    assert (report.outcome, report.attempts, len(signatures)) == (Outcome.REJECTED, 2, 2)
    text = report.model_dump_json()
    assert not [secret for secret in ("key-of-main", "secret-of-main", *signatures) if secret in text]
    assert report.venue_message == "bad key ***, ***, ***, ***"


@pytest.mark.parametrize("kept", [1, 4, 9, 13])
@pytest.mark.parametrize(("field", "room"), [("msg", 199), ("code", 63)])
def test_a_key_is_redacted_before_the_venues_words_are_cut(field: str, room: int, kept: int) -> None:
    """What would be left of a key at the end of what is kept is still some of it."""
    quoted = "x" * (room - kept) + " secret-of-main" + " and more" * 30
    answer = {"code": 401, "msg": "no", "result": {}, field: quoted}
    report = ExecutorFixture(*[Response(401, json.dumps(answer).encode())] * 5).run("withdraw", WITHDRAW)
    words = report.venue_message if field == "msg" else report.venue_code
    assert isinstance(words, str)
    assert words.startswith("x" * (room - kept))
    assert words.endswith("…")
    assert "se" not in words.replace(" and more", "")


@pytest.mark.parametrize("status", [200, 400, 403, 503])
@pytest.mark.parametrize("field", ["code", "msg"])
def test_no_part_of_a_key_gets_into_a_report_however_it_is_cut(field: str, status: int) -> None:
    """Words of the venue's are cut once for a field and once more for the line for people."""
    key = "mZ4qT9wLpXc7RfKd2Hn8Vb3Ys6Jg1Ue0At5OiQkEwPzMBxN7yC2s"
    parts = [key[at : at + 4] for at in range(len(key) - 3)]
    for before in range(10, 70, 3):
        answer = {"code": status, "msg": "x", "result": {}, field: f"{'Invalid API-key: ':>{before}}{key}"}
        fixture = ExecutorFixture(*[Response(status, json.dumps(answer).encode())] * 5)
        fixture.accounts = {"main": replace(ACCOUNT, credentials=Credentials(key, "secret-of-main"))}
        text = fixture.run("withdraw", WITHDRAW).model_dump_json()
        assert not [part for part in parts if part in text], text


LONG = "x" * 200_000
ODD = "main\n2026-01-01 INFO end id=forged \x1b[2J\u202e\x9b"
OVERSIZE: dict[str, dict[str, Any]] = {
    "100,000 unknown arguments": {**CANCEL, **{f"name{number}": 1 for number in range(100_000)}},
    "a name of 6 MB": {**CANCEL, "y" * 6_000_000: 1},
    "odd names": {**CANCEL, **{f"{ODD}{number}": 1 for number in range(100)}},
    "a long account": {"account": LONG, "order_id": "7"},
    "an odd account": {"account": ODD, "order_id": "7"},
    "an account of escapes": {"account": "\u200b" * 1_000_000, "order_id": "7"},
    "half an account": {"account": "\ud800" * 1000, "order_id": "7"},
    "a long word": {"account": "main", "order_id": LONG},
    "everything": {"account": LONG, "order_id": LONG, "deadline": LONG, **{f"{n}{LONG}": LONG for n in range(9)}},
}


@pytest.mark.parametrize("arguments", OVERSIZE.values(), ids=OVERSIZE)
@pytest.mark.parametrize("redelivered", [False, True])
def test_whatever_a_sender_writes_report_record_and_log_are_short(
    arguments: dict[str, Any], redelivered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A message of megabytes made a report, a record and a log line of megabytes; a line break in it forged a line."""
    caplog.set_level("DEBUG")
    fixture = ExecutorFixture()
    report = fixture.run("cancel", arguments, redelivered=redelivered)
    assert (report.outcome, report.reason) == (Outcome.NOT_SENT, Reason.INVALID)
    record = fixture.ledger.read("id")
    assert record is not None
    fixture.ledger.results["id"] = stored(report)
    assert fixture.run("positions", arguments).replayed
    fixture.ledger.refuse = None  # type: ignore[assignment, method-assign] # a fault of the worker's own
    fixture.requeues("cancel", arguments, "other")
    lines = [line.getMessage() for line in caplog.records]
    texts = [report.model_dump_json(), str(record), *(str(entry) for entry in fixture.ledger.journal), *lines]
    assert all(len(text) < 4000 for text in texts)
    assert lines
    assert all(line.isprintable() for line in lines)
    assert all(re.sub('"[^"]*"', "", line).count(" id=") == 1 for line in lines), "one field of each name"


def test_what_an_operator_wrote_is_one_short_line() -> None:
    """A halt may have been stored by hand; its words go into every report that it makes."""
    fixture = ExecutorFixture()
    fixture.ledger.halts["*/*"] = Halted(ODD * 100, ODD + LONG, START_MS)
    report = fixture.run("withdraw", WITHDRAW)
    assert ended(report) == ("not_sent", "halted", 0)
    assert report.message.isprintable()
    assert len(report.message) <= 1000


@pytest.mark.parametrize(
    "answer",
    [
        {"code": LONG, "msg": LONG, "result": {}},
        {"code": ODD, "msg": ODD, "result": {}},
        {"code": int("9" * 3000), "msg": "\u200b" * 100_000, "result": {}},
        {"code": 200, "msg": None, "result": {LONG: {"stats": {"size": "1", "direction": "BUY"}}}},
        {"code": 200, "msg": None, "result": {ODD: {"stats": {"size": "1", "direction": "BUY"}}}},
    ],
)
@pytest.mark.parametrize("status", [200, 400, 503])
def test_whatever_a_venue_says_the_report_is_short_and_printable(status: int, answer: Any) -> None:
    """But for its ``result``, which is the venue's own and bounded with the answer."""
    response = Response(status, json.dumps(answer).encode())
    report = ExecutorFixture(*[response] * 5).run("positions", POSITIONS).model_copy(update={"result": None})
    assert len(report.model_dump_json()) < 6000
    words = [report.message, str(report.venue_code), str(report.venue_message)]
    words += [each.instrument for each in report.positions or ()]
    assert all(word.isprintable() for word in words)


RESULTS = {
    "half a character": '{"id":"\\ud83d"}',
    "deep": "[" * 150 + "]" * 150,
    "deeper": "[" * 400 + "]" * 400,
    "huge exponent": '{"qty":1e99999999999999999999}',
    "huge number": '{"id":' + "7" * 5000 + "}",
    "huge code": '{},"code":' + "7" * 5000,
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
@pytest.mark.parametrize(
    ("command", "arguments"), [("withdraw", WITHDRAW), ("cancel", CANCEL), ("positions", POSITIONS)]
)
def test_no_answer_leaves_a_command_without_a_report(command: str, arguments: dict[str, str], result: str) -> None:
    """What no report could repeat is left out of it; that the request was put on the wire is not."""
    response = Response(200, f'{{"code":200,"msg":"\\ud83d","result":{result}}}'.encode())
    fixture = ExecutorFixture(*[response] * 3)
    report = fixture.run(command, arguments)
    assert report.attempts == len(fixture.transport.requests) > 0
    assert report.reason in (Reason.OK, Reason.LOST_REPLY, Reason.UNLISTED_ANSWER)
    assert Report.model_validate_json(report.model_dump_json()) == report
