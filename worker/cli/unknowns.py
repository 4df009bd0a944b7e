"""Commands of `orders` for unknown commands: reconcile, unknown, resolve.

Each is a :class:`typer.Typer` with one command, found through the entry points ``orders.commands``. They use the
ledger's server, so they need a worker's settings; `reconcile` also needs the accounts' keys.
"""

from typing import Annotated

import typer

from producers.cli.exit_codes import ExitCode, error_code, error_type, outcome_code
from producers.cli.options import confirm
from producers.cli.output import emit, failure, note
from producers.cli.plugins import JsonOption, command_app
from producers.cli.report import exit_with_report
from producers.errors import BrokerUnavailable, ReportPending
from producers.report import Outcome, Report
from worker.cli.options import (
    IdArgument,
    WhoOption,
    YesOption,
    acting_operator,
    open_operator,
    operator_command,
)
from worker.cli.output import print_reconciled, print_unknowns, unknown_json
from worker.reconciliation.reconciler import Reconciled
from worker.reconciliation.reconciler import as_json as documents
from worker.settings import WorkerSettings

reconcile, unknown, resolve = (command_app() for _ in range(3))


@reconcile.command()
def _reconcile(
    command_id: Annotated[str | None, typer.Argument(metavar="ID", help="One command.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every open unknown, oldest first.")] = False,
    by_worker: Annotated[bool, typer.Option("--by-worker", help="Let a worker do it, which has the keys.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait for the worker.")
    ] = 120.0,
    as_json: JsonOption = False,
) -> None:
    """Look up `unknown` commands at the venue, and settle those whose outcome is proven.

    A command that is found is accepted at once. One that is not found counts as not executed only when it is absent
    twice, late enough, and never for a withdrawal; run this again when the output says so. Exit code for one command:
    that of its outcome; for --all: 5 while a command is unknown.

    Example: `orders reconcile 7d2f…`
    """
    from worker.operations.reconcile import run_by_worker, run_here

    where = "orders reconcile"
    if (command_id is None) != every:
        raise failure("give either an ID or --all", "Usage", where=where, as_json=as_json)
    with operator_command(where, as_json=as_json) as settings:
        if not (settings.accounts or by_worker):
            message = "no account is configured here to query the venue with; let a worker do it: --by-worker"
            raise failure(message, "NoAccounts", where=where, as_json=as_json)
        try:
            found = run_by_worker(settings, command_id, timeout) if by_worker else run_here(settings, command_id)
        except (BrokerUnavailable, ReportPending) as error:
            message = f"no answer from a worker ({error.cause}). It is safe to run this again"
            raise failure(message, error_type(error), where=where, as_json=as_json, code=error_code(error)) from None
    _print(found, as_json=as_json)
    codes = [outcome_code(Outcome(each.outcome)) for each in found]
    if every:
        codes = [code for code in codes if code is ExitCode.UNKNOWN]
    raise typer.Exit(codes[0] if codes else ExitCode.ACCEPTED)


def _print(found: list[Reconciled], *, as_json: bool) -> None:
    if as_json:
        emit({"reconciled": documents(found)})
    elif found:
        print_reconciled(found)
    else:
        print("No unknown commands.")


@unknown.command()
def _unknown(as_json: JsonOption = False) -> None:
    """List the commands that may or may not have been executed, oldest first. Exit code 5 if there are any.

    Settle each with `orders reconcile ID`, or with `orders resolve ID` if the venue's records do not prove its outcome.
    """
    with operator_command("orders unknown", as_json=as_json) as settings, open_operator(settings) as operator:
        found, refusals = operator.unknowns(), settings.venues.refusals_of
    if as_json:
        emit({"unknown": [unknown_json(each, refusals) for each in found]})
    elif found:
        print_unknowns(found, refusals)
        note(
            "orders reconcile ID asks the venue what became of one; orders resolve ID records what you found out there"
        )
    else:
        print("No unknown commands.")
    raise typer.Exit(ExitCode.UNKNOWN if found else ExitCode.ACCEPTED)


@resolve.command()
def _resolve(
    command_id: IdArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="How you know; it is recorded.")],
    executed: Annotated[
        str | None, typer.Option("--executed", metavar="REF", help="It was executed; REF is the venue's id.")
    ] = None,
    not_executed: Annotated[
        bool, typer.Option("--not-executed", help="It was not executed and never will be.")
    ] = False,
    who: WhoOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Record the outcome of an `unknown` command manually, after you have checked at the venue yourself.

    Who, why and when are recorded in the ledger's journal and the report. Asks for confirmation unless --yes is given;
    without a terminal --yes is required. Exit code: that of the recorded outcome.

    Example: `orders resolve 7d2f… --not-executed --reason "not in the venue's history, asked their support"`
    """
    where = "orders resolve"
    reference = None if executed is None else executed.strip()
    problem = ""
    if (reference is None) != not_executed:
        problem = "give either --executed REF or --not-executed"
    elif reference == "":
        problem = "--executed needs the venue's id of the command"
    elif not reason.strip():
        problem = "--reason must say how you know"
    if problem:
        raise failure(problem, "Usage", where=where, as_json=as_json)
    with acting_operator(where, who, as_json=as_json) as (settings, operator, name):
        report = operator.unknown(command_id)
        decision = f"executed as {reference}" if reference else "NOT executed"
        question = f"Settle {report.command} of {report.account} ({report.message}) as {decision}?"
        confirm(question, "it stays unknown", where=where, yes=yes, as_json=as_json)
        settled = operator.resolve(command_id, reference=reference, who=name, why=reason.strip())
        _publish(settings, settled)
    raise exit_with_report(settled, as_json=as_json)


def _publish(settings: WorkerSettings, report: Report) -> None:
    from worker.operations.reconcile import NotPublished, publish_settled

    try:
        publish_settled(settings, report)
    except NotPublished as error:
        note(str(error))
