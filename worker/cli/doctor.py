"""`orders doctor`, found through the entry points ``orders.commands``. What it needs is imported when it runs."""

from typing import Annotated

import typer

from producers.cli.exit_codes import ExitCode
from producers.cli.output import emit
from producers.cli.plugins import JsonOption, command_app

doctor = command_app()


@doctor.command()
def _doctor(
    venues: Annotated[
        bool, typer.Option("--venues", help="Also try each account's key: one read of positions at its venue.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check settings, servers, venues' clocks, queues and workers, and say what to do about each finding.

    Run it where a worker runs, with its settings. Nothing is changed and no command is sent; without --venues no key
    leaves this machine. Every check ends within 5 seconds. Exit code 0 when nothing is broken, 1 when something is.
    """
    from worker.cli.doctor_output import as_document, print_findings
    from worker.operations.doctor.diagnose import diagnose

    findings = diagnose(venues=venues)
    document = as_document(findings)
    if as_json:
        emit(document)
    else:
        print_findings(findings)
    raise typer.Exit(ExitCode.ACCEPTED if document["ok"] else ExitCode.FAILED)
