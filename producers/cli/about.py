"""`orders version` and `orders help`."""

from typing import Annotated

import typer

from producers import __version__
from producers.cli.forms import JsonOption, emit
from producers.cli.plugins import COMMANDS, OWN_COMMANDS


def print_version(*, as_json: bool) -> None:
    """Print the version, which both distributions have."""
    if as_json:
        emit({"version": __version__})
    else:
        print(f"orders {__version__}")


def names(incomplete: str) -> list[str]:
    """The program's commands that begin so."""
    return [each for each in (*OWN_COMMANDS, *COMMANDS) if each.startswith(incomplete)]


def version(as_json: JsonOption = False) -> None:
    """Show the version."""
    print_version(as_json=as_json)


def show_help(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND]...", help="Such as close, or policy check.", autocompletion=names),
    ] = None,
) -> None:
    """Show the help of a command, or of the program.

    Example: `orders help close`
    """
    program = ctx.find_root().command
    program.main([*(words or ()), "--help"], prog_name="orders", standalone_mode=False)
