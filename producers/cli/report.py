"""Prints a report as a record for people or as a JSON document, and gives the exit code of its outcome."""

import json
from collections.abc import Iterator

import typer
from rich.text import Text

from producers.cli.exit_codes import OUTCOMES, outcome_code
from producers.cli.forms import emit
from producers.cli.output import when
from producers.cli.tables import console, print_record, print_table
from producers.report import Outcome, Position, Report


def exit_with_report(report: Report, *, as_json: bool) -> typer.Exit:
    """Print the report and return the exit with its outcome's code."""
    if as_json:
        emit(report.to_json())
    else:
        show_report(report)
    return typer.Exit(outcome_code(report.outcome))


def show_report(report: Report) -> None:
    """Print the report for people, without its empty fields."""
    _, style, meaning = OUTCOMES[report.outcome]
    if report.command == "withdraw" and report.outcome is Outcome.ACCEPTED:
        meaning = "Submitted. The venue pays after the account's owner has confirmed it by e-mail."
    out = console()
    rows = [(name, value) for name, value in _rows(report, meaning) if value not in (None, "")]
    print_record(out, [("outcome", Text(f"{report.outcome.value} / {report.reason}", style)), *rows])
    if report.positions:
        out.print()
        print_table(_POSITION_COLUMNS, map(_position, report.positions))
    elif report.positions is not None:
        out.print("no open positions")


def _rows(report: Report, meaning: str) -> Iterator[tuple[str, object]]:
    yield "message", report.message
    yield "meaning", meaning
    yield "command", f"{report.command}, id {report.command_id}{' (stored report)' if report.replayed else ''}"
    yield "account", " at ".join(filter(None, (report.account, report.venue)))
    response = [f"HTTP {report.http_status}" if report.http_status is not None else ""]
    response += [str(part) for part in (report.venue_code, report.venue_message) if part is not None]
    yield "venue said", " · ".join(filter(None, response))
    if report.positions is None and report.result not in (None, {}, []):
        yield "result", json.dumps(report.result, ensure_ascii=False)
    yield "attempts", report.attempts
    yield "enqueued", when(report.enqueued_at)
    yield "first sent", when(report.first_sent_at)
    yield "finished", _finished(report)


def _finished(report: Report) -> str:
    if report.finished_at is None or report.enqueued_at is None:
        return when(report.finished_at)
    return f"{when(report.finished_at)}, {(report.finished_at - report.enqueued_at) / 1000:.3f} s after enqueueing"


_POSITION_COLUMNS = ("instrument", "direction", "size", "entry", "liquidation", "leverage", "margin", "unrealized")


def _position(each: Position) -> list[object]:
    prices = (each.entry_price, each.liquidation_price, each.leverage, each.margin, each.unrealized_pnl)
    return ["-" if cell is None else cell for cell in (each.instrument, each.direction.value, each.size, *prices)]
