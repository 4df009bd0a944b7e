"""What is printed fits the terminal, and whatever somebody copies stands whole on one line."""

import re
from collections.abc import Callable

import pytest
from rich.text import Text

from producers.cli.report import show_report
from producers.cli.tables import print_table
from producers.report import Direction, Outcome, Position, Report
from worker.broker.dead_letters import DeadLetter
from worker.cli.doctor_output import print_findings
from worker.cli.output import print_dead, print_halts, print_reconciled, print_unknowns
from worker.ledger.base import Halted, Progress, Record, State
from worker.ledger.halts import HaltScope
from worker.operations.doctor.findings import Finding, Level
from worker.operations.operator import Unknown
from worker.reconciliation.reconciler import Reconciled

ID = "5d08530c-3682-4815-80c5-6c46f2ca2f7e"
LONG_ID = "payout:" + "x" * 100
ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"
PAIR = "USD_SOMETHING_LONG_PERP_2026_DECEMBER"
WORDS = "the reply was lost: connection reset; it may have been executed, and nobody can know before somebody looks"

REPORT = Report(
    command_id=ID,
    command="positions",
    account="main",
    venue="everstrike",
    outcome=Outcome.ACCEPTED,
    reason="ok",
    message=WORDS,
    fingerprint="f" * 64,
    attempts=1,
    positions=[Position(instrument=PAIR, direction=Direction.LONG, size="284578000.00000004", entry_price="3.4")],
)


def _unknown(command_id: str) -> Unknown:
    arguments = f'{{"account":"main","asset":"ETH","qty":"0.5","address":"{ADDRESS}"}}'
    lost = REPORT.model_copy(update={"positions": None, "outcome": Outcome.UNKNOWN, "reason": "lost_reply"})
    record = Record(command_id, State.UNKNOWN, "f", "withdraw", "main", 1, Progress(tries=1), lost, arguments)
    return Unknown(command_id, 1_700_000_000_000, record, None)


FOUND = [Reconciled(each, "withdraw", "main", "absent", WORDS, "", "unknown") for each in (ID, LONG_ID)]
DEAD = [
    (
        "orders.close",
        1,
        [DeadLetter("orders.close", 0, 1234, "orders.close", ID, "", "it is compressed", "3f9a1c22" * 5)],
    )
]
FINDINGS = [
    Finding("ledger", "open unknowns", Level.WARNING, WORDS, f"begin with: orders show {ID}"),
    Finding("settings", "/etc/orders/secrets/ORDERS_ACCOUNTS__MAIN__SECRET_KEY", Level.FAULT, "others may write it"),
]

PRINTED: dict[str, tuple[Callable[[], None], set[str]]] = {
    "report and positions": (lambda: show_report(REPORT), {ID, PAIR, "284578000.00000004"}),
    "unknown": (lambda: print_unknowns([_unknown(ID), _unknown(LONG_ID)], {}), {ID, LONG_ID, f"address={ADDRESS}"}),
    "reconcile": (lambda: print_reconciled(FOUND), {ID, LONG_ID}),
    "halt": (lambda: print_halts([(HaltScope(), Halted("ann@a-long-host-name", WORDS, 1))]), {"ann@a-long-host-name"}),
    "dead": (lambda: print_dead(DEAD), {ID, "3f9a1c223f9a"}),
    "doctor": (lambda: print_findings(FINDINGS), {ID, FINDINGS[1].name}),
}


@pytest.mark.parametrize("columns", ["40", "80", "200", None])
@pytest.mark.parametrize("case", PRINTED)
def test_what_is_copied_stands_whole_on_one_line(
    case: str, columns: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At any width, and where there is none; nothing is cut, and no line is longer than it must be."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    show, wholes = PRINTED[case]
    show()
    out = capsys.readouterr().out
    assert "…" not in out
    for whole in wholes:
        assert re.search(rf"(^|\s){re.escape(whole)}(\s|$)", out), whole
    for line in out.splitlines() if columns else ():
        assert len(line) <= int(columns or 0) or len(line.split("  ")[-1].split()) <= 2, line


def test_a_table_where_there_is_room(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a row; the last column folds between words, under itself."""
    monkeypatch.setenv("COLUMNS", "40")
    print_table(("id", "why"), [("a", Text("one two three four five six seven eight nine")), ("b", "ten")])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["id  why", "a   one two three four five six seven", "    eight nine", "b   ten"]
