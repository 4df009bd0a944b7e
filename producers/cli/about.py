"""`orders version` and `orders help`."""

from typing import Annotated

import typer

from producers import __version__
from producers.cli.forms import JsonOption, emit


def print_version(*, as_json: bool) -> None:
    """Print the version, which both distributions have."""
    if as_json:
        emit({"version": __version__})
    else:
        print(f"orders {__version__}")


def version(as_json: JsonOption = False) -> None:
    """Show the version."""
    print_version(as_json=as_json)


def show_help(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND]...", help="Such as close, or policy check.")
    ] = None,
) -> None:
    """Show the help of a command, or of the program.

    Example: `orders help close`
    """
    program = ctx.find_root().command
    program.main([*(words or ()), "--help"], prog_name="orders", standalone_mode=False)
