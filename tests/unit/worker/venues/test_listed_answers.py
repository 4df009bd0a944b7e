"""The setting that `orders unknown` prints for an unlisted message of a venue."""

import json
import shlex
from dataclasses import replace

import pytest

from producers.commands import Cancel
from producers.report import Outcome, Reason, Report
from worker.bootstrap import build_venues
from worker.cli.output import print_unknowns, unknown_json
from worker.ledger.base import Progress, Record, State
from worker.operations.operator import Unknown
from worker.settings import load
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Plan, Proof, Verdict
from worker.venues.http.base import Response
from worker.venues.listed_answers import refusals_setting_line

ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials("key", "secret"))
CANCEL = Cancel(account="main", order_id="7")


def unknown(message: str | None, status: int | None = 503, code: int | None = 503, result: object = None) -> Unknown:
    """An unknown command whose venue sent this message."""
    report = Report(
        command_id="c-1",
        command="withdraw",
        account="main",
        venue="everstrike",
        outcome=Outcome.UNKNOWN,
        reason=Reason.UNLISTED_ANSWER,
        message="the venue answered something",
        http_status=status,
        venue_code=code,
        venue_message=message,
        result=result,
        fingerprint="f" * 64,
    )
    record = Record("c-1", State.UNKNOWN, "f" * 64, "withdraw", "main", 1, Progress(), report)
    return Unknown("c-1", 1_700_000_000_000, record, None)


@pytest.mark.parametrize(
    "message",
    [
        "The position was not found",
        "Can't do (that): 5 > 4.9 [USD] * 2?",
        'say "no"  to $x\\y',
        "Größe unzulässig!",
        "a|b^c{2}",
        "The\u00a0position was not found",
    ],
)
def test_the_line_lists_the_message_that_it_was_made_for(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an environment file it makes exactly this message a refusal, in addition to those that are listed already."""
    line = unknown_json(unknown(message), lambda _: ["frozen, account [0-9]"])["to_list"]
    (assignment,) = shlex.split(line)
    monkeypatch.setenv(*assignment.split("=", 1))
    venue = build_venues(load())["everstrike"]

    def judged(text: str) -> Verdict:
        return venue.judge(
            Plan(CANCEL, ACCOUNT), Response(503, json.dumps({"code": 503, "msg": text, "result": {}}).encode())
        )

    assert judged(message).proof is Proof.REFUSED
    assert judged("Frozen, account 7").proof is Proof.REFUSED
    assert judged(message + " x").proof is Proof.UNKNOWN
    assert refusals_setting_line("everstrike", message, load().venues.refusals_of("everstrike")) is None, (
        "it is listed now"
    )


@pytest.mark.parametrize(
    "each",
    [
        unknown(None),
        unknown(""),
        unknown("Order pending"),
        unknown("bad key ***"),
        unknown("cut " * 50 + "…"),
        unknown("The order was not found"),
        unknown("no", status=200),
        unknown("no", status=500, code=500),
        unknown("no", code=200),
        unknown("no", result={"status": "COMPLETED"}),
        unknown(None, status=None, code=None),
        replace(unknown("no"), record=None),
    ],
)
def test_what_can_not_be_listed_gets_no_line(
    each: Unknown, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a line would have no effect, or would be refused."""
    monkeypatch.setenv("COLUMNS", "200")
    assert unknown_json(each, lambda _: ())["to_list"] is None
    print_unknowns([each], lambda _: ())
    assert "REFUSALS" not in capsys.readouterr().out


def test_each_message_gets_one_line_that_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    """It is not wrapped, and printed once even if the message ended several commands."""
    long = "The withdrawal was refused because the account has not been verified since its last review"
    print_unknowns([unknown(long), replace(unknown(long), command_id="c-2"), unknown("Frozen.")], lambda _: ())
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert lines == [
        "# c-1",
        f"ORDERS_VENUES__EVERSTRIKE__REFUSALS='[\"{long}\"]'",
        "# c-1",
        r"""ORDERS_VENUES__EVERSTRIKE__REFUSALS='["Frozen\\."]'""",
    ]
