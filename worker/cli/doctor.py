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
        bool, typer.Option("--venues", help="Also test each account's key with one read of positions at its venue.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check settings, servers, venues' clocks, queues and workers, and advise on each problem.

    Run it where a worker runs, with the worker's settings. It changes nothing and sends no command; without --venues no
    key leaves this machine. Every check ends within 5 seconds. Exit code 0 if there is no fault, else 1.
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
