"""Shows how commands ended, from the result backend or else the ledger."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from producers.cli.exit_codes import ExitCode, worst
from producers.cli.forms import print_many
from producers.cli.ledger import LedgerAnswer, look_up, read_timeline
from producers.cli.options import SendOptions
from producers.cli.output import exit_on_error, failure, note, terminated_as_interrupted, when
from producers.cli.report import exit_with_report
from producers.cli.send import awaited, connected, interrupted
from producers.cli.tables import print_table
from producers.errors import ChainBroken, ReportPending, ReportUnverified
from producers.printable import MAX_ID_LENGTH, is_command_id
from producers.report import Outcome, Report

if TYPE_CHECKING:
    from producers.client import OrderClient

MAX_IDS = 10_000
"""How many ids one run takes from standard input."""
_LINE_BYTES = 4 * MAX_ID_LENGTH + 2

NoReport = ReportPending | ReportUnverified | ChainBroken
"""Why there is no report in the result backend."""


def show(given: Sequence[str], options: SendOptions) -> typer.Exit:
    """Print how each command ended; returns the exit to raise: of several, with the worst outcome's code. ``-`` stands
    for ids on standard input, one a line."""
    command_ids = _ids_of_standard_input() if list(given) == ["-"] else list(given)
    for number, each in enumerate(command_ids, 1):
        if not is_command_id(each):
            which = f" (the {number}. is not)" if len(command_ids) > 1 else ""
            raise typer.BadParameter(f"a command id is 1 to 255 printable characters{which}", param_hint="ID")
    deadline = time.monotonic() + options.timeout
    if len(command_ids) != 1:
        print_many()
    with terminated_as_interrupted(), exit_on_error("orders show", as_json=options.as_json), connected() as client:
        codes: list[int] = []
        for each in command_ids:
            left = replace(options, timeout=max(0.0, deadline - time.monotonic()))
            if codes and not options.as_json:
                print()
            codes.append(_show(client, each, left).exit_code)
            if codes[-1] == ExitCode.INTERRUPTED:
                break
        if len(command_ids) == 1 and not options.as_json and codes[-1] != ExitCode.INTERRUPTED:
            _print_timeline(command_ids[0])
        return typer.Exit(worst(codes))


def _print_timeline(command_id: str) -> None:
    """Print beneath the report what happened to the command, where the ledger tells."""
    found, problem = read_timeline(command_id)
    if problem:
        note(f"orders show: {problem}")
    if not found or not found["moments"]:
        return
    rows = [(when(each["at"]), _sentence(each)) for each in found["moments"]]
    print()
    print_table(("when", "what happened, as the ledger says"), rows)
    if not found["complete"]:
        note("orders show: the journal does not reach back to the command's beginning: more may have happened")


def _sentence(moment: Mapping[str, Any]) -> str:
    return f"{moment['words']} [{moment['verdict']}]" if moment["verdict"] else str(moment["words"])


def _ids_of_standard_input() -> list[str]:
    found: list[str] = []
    with closing(open(sys.stdin.fileno(), "rb", closefd=False)) as lines:
        while line := lines.readline(_LINE_BYTES):
            if len(line) == _LINE_BYTES and not line.endswith(b"\n"):
                raise typer.BadParameter("a line of standard input is no command id", param_hint="-")
            found += [text] if (text := line.decode("utf-8", "surrogateescape").strip()) else []
            if len(found) > MAX_IDS:
                raise typer.BadParameter(f"standard input has more than {MAX_IDS:,} ids", param_hint="-")
    return found


def _show(client: "OrderClient", command_id: str, options: SendOptions) -> typer.Exit:
    """Print how one command ended."""
    try:
        with exit_on_error("orders show", as_json=options.as_json, command_id=command_id):
            return _shown(client, command_id, options)
    except typer.Exit as ended:
        return ended
    except KeyboardInterrupt:
        return interrupted("orders show", command_id, "The command is not affected", as_json=options.as_json)


def _shown(client: "OrderClient", command_id: str, options: SendOptions) -> typer.Exit:
    report, reason = _stored(client, command_id, options)
    if report is not None and report.outcome is not Outcome.UNKNOWN:
        return _with_word(report, as_json=options.as_json)
    # The result has expired, or is unknown, which the ledger may have settled since.
    answer = look_up(command_id)
    if report is not None and answer.unreachable:
        note(f"orders show: can't tell whether it has been settled since: {answer.problem}")
    if not client.verifies_reports:
        report = answer.report or report
    elif report is not None and answer.report is not None:
        note(f"orders show: the ledger says, unsigned: {answer.in_words()}")
    if report is not None:
        return _with_word(report, as_json=options.as_json)
    if isinstance(reason, ChainBroken) and not answer.record:
        raise reason
    if client.verifies_reports and answer.report is not None and not isinstance(reason, ReportUnverified):
        reason = ReportUnverified(command_id, "the ledger alone has one, which is not signed")
    return _no_report(command_id, answer, reason, as_json=options.as_json)


def _with_word(report: Report, *, as_json: bool) -> typer.Exit:
    """Print a report, and of one that an operator settled, whether that word is signed; returns the exit to raise."""
    if ", by the word of " in report.message and (record := look_up(report.command_id).record):
        note(f"orders show: settled {record.get('word') or 'by nobody, as the ledger says'}")
    return exit_with_report(report, as_json=as_json)


def _stored(client: "OrderClient", command_id: str, options: SendOptions) -> tuple[Report | None, NoReport | None]:
    """The report in the result backend, or None with the reason where it is known."""
    try:
        return (awaited(client, command_id, options) if options.wait else client.report(command_id)), None
    except (ReportPending, ReportUnverified, ChainBroken) as reason:
        return None, reason


def _no_report(command_id: str, answer: LedgerAnswer, reason: NoReport | None, *, as_json: bool) -> typer.Exit:
    pending = reason if isinstance(reason, ReportPending) else None
    problem = f"no report for {command_id}" + (f" ({pending.cause})" if pending and pending.cause else "")
    message = f"{problem}, and {answer.in_words()}"
    record = dict(answer.record) if answer.record else None
    # A record without a report proves that there is none. Without a record, both places must have been read.
    unreachable = record is None and (answer.unreachable or (pending is not None and pending.unreachable))
    error_type = "Unreachable" if unreachable else "ReportPending"
    if isinstance(reason, ReportUnverified):
        error_type, message = "ReportUnverified", f"{reason} The ledger, unsigned: {answer.in_words()}"
    return failure(message, error_type, where="orders show", as_json=as_json, command_id=command_id, ledger=record)
