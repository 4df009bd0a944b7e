"""The `orders` program: send commands, see how they ended, run and check the system.

:mod:`producers.cli.exit_codes` has the exit codes.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.completion import completion_init  # type: ignore[attr-defined] # Typer has no other name for it

from producers.cli.about import print_version
from producers.cli.exit_codes import ExitCode
from producers.cli.forms import TABLE, JsonOption, OutputOption, asked_form, emit, use, wants_document
from producers.cli.lazy import Program
from producers.cli.options import ProfileOption
from producers.cli.output import exit_if_stdout_fails, failure
from producers.cli.plugins import COMMANDS, OWN_COMMANDS

_ABOUT = """
Submit and cancel orders, close positions, withdraw and query positions at crypto exchanges, through queues; each
command at most once.

A command is enqueued under an id, a worker executes it, and it ends in one report. Its outcome is
accepted (the venue took it), rejected (the venue refused it), not_sent (proven not executed) or unknown (it may have
been executed: check at the venue).
"""

_EPILOG = """
Exit codes of --wait and show: 0 accepted, 3 rejected, 4 not_sent (also a link of a Celery chain that was never sent),
5 unknown, 6 no report yet. Of all commands: 1 failed (a server can't be reached), 2 bad usage, 130 interrupted.

Settings: ORDERS_REDIS_URL (redis://127.0.0.1:6379) names the server; workers also need ORDERS_ACCOUNTS__ALIAS__VENUE,
ORDERS_ACCOUNTS__ALIAS__API_KEY and ORDERS_ACCOUNTS__ALIAS__SECRET_KEY for each account. Try `orders demo` first.
"""

app = typer.Typer(
    name="orders",
    help=_ABOUT,
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    cls=Program,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    # A traceback with its variables could show a secret.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)


@app.callback(invoke_without_command=True)
def _orders(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    as_json: JsonOption = False,
    profile: ProfileOption = None,  # noqa: ARG001 - its callback has chosen it
    output: OutputOption = None,  # noqa: ARG001 - its callback has chosen the form
) -> None:
    if version:
        print_version(as_json=as_json)
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        ctx.fail("Missing command.")


def _is_text(argument: str) -> bool:
    """Whether an argument is UTF-8; Python represents other bytes as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed (``2>&-``). Otherwise ``print`` to a missing stream
    goes to standard output, and a connection to a server gets its file descriptor."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115, PTH123 - open to the end


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The console script `orders`. Without ``argv`` it takes the arguments of the process."""
    _open_closed_streams()
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    use(asked_form(args))
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks must not end in a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    undecodable = next((number for number, text in enumerate(args, 1) if not _is_text(text)), None)
    if undecodable is not None:
        # No server accepts it, and the errors of the libraries on the way are not meant for a person.
        failure(f"argument {undecodable} is not UTF-8", "Usage", where="orders", as_json=wants_document())
        raise SystemExit(ExitCode.USAGE)
    name = next((text for text in args if text in (*OWN_COMMANDS, *COMMANDS)), "")
    where = f"orders {name}".rstrip()
    if os.environ.get("_ORDERS_COMPLETE"):
        completion_init()
    with exit_if_stdout_fails(where, "The command may have been carried out all the same"):
        _run(args)


def _run(args: list[str]) -> NoReturn:
    form = asked_form(args)
    if form == TABLE:
        app(args=args, prog_name="orders")
        raise SystemExit(0)
    try:
        code = app(args=args, prog_name="orders", standalone_mode=False)
    except typer.TyperException as error:
        use(form)
        emit({"error": {"type": "Usage", "message": error.format_message()}})
        raise SystemExit(error.exit_code) from None
    except typer.Abort:
        use(form)
        emit({"error": {"type": "Interrupted", "message": "interrupted"}})
        raise SystemExit(ExitCode.INTERRUPTED) from None
    raise SystemExit(code or 0)
