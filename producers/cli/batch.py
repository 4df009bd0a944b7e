"""`orders send`, as it is typed; :mod:`producers.cli.send_file` does it."""

from typing import Annotated

import typer

from producers.cli.forms import JsonOption
from producers.cli.options import DryRunOption, SendOptions, TimeoutOption, WaitOption


def send_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; - is standard input.")],
    id_prefix: Annotated[
        str | None,
        typer.Option(
            "--id-prefix",
            metavar="PREFIX",
            help="A line without an id gets PREFIX-DIGEST, by what it says; default: a new prefix. With the same "
            "prefix the file can be sent again, and no command is executed twice.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before withdrawals; required without a terminal.")
    ] = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 60.0,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send many commands in one batch: one JSON object a line, with the command, its arguments, and an id and a lane
    if wanted.

    Everything is validated before anything is enqueued, and each problem is told with its line. With --wait each report
    is shown, and the exit code is the worst: 5 unknown, then 1 failed, 6 no report, 2, 3 rejected, 4 not_sent, 0.

    Example: a line such as {"command": "cancel", "account": "main", "order_id": "7d2f", "id": "cancel-17"}
    """
    from producers.cli.send_file import send_lines

    options = SendOptions(None, wait, timeout, as_json, dry_run=dry_run)
    raise send_lines(file, id_prefix, options, confirmed=yes)
