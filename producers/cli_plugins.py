"""Commands of `orders` that live on the worker's side, loaded when they are used and not before.

The base install has neither an HTTP client nor a web server. These commands are found through the entry points of the
group ``orders.commands``, each a :class:`typer.Typer` with one command; where their dependencies are missing they say
what to install.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

from producers.cli_output import ExitCode, failure

GROUP = "orders.commands"

COMMANDS = {
    "worker": ("Run a worker: execute commands from the queues.", "worker"),
    "doctor": ("Check settings, servers, venues' clocks, queues and workers, and say what to do.", "worker"),
    "simulator": ("Run a simulator of both venues on this machine.", "demo"),
    "demo": ("See all of it work on this machine, against the simulator.", "demo"),
}
"""Name: one line of help, and the extra that installs what the command needs."""

# Every argument goes to the command itself, --help included, so that listing the commands imports none of them.
_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}


def load(group: str, name: str, elsewhere: str) -> Any:
    """What an entry point names; ``elsewhere`` is where it is in a source tree, which has no metadata.

    Raises:
        ModuleNotFoundError: a dependency is not installed.
    """
    found = entry_points(group=group, name=name)
    entry = next(iter(found), None) or EntryPoint(name, elsewhere, group)
    return entry.load()


def add_commands(app: typer.Typer) -> None:
    """Register every command of the group, importing none."""
    for name, (summary, extra) in COMMANDS.items():
        app.command(
            name,
            help=summary,
            add_help_option=False,
            context_settings=_PASS_ON,
            rich_help_panel="Running it",
        )(_passing_on(name, extra))


def _passing_on(name: str, extra: str) -> Callable[[typer.Context], None]:
    def run(ctx: typer.Context) -> None:
        try:
            command: typer.Typer = load(GROUP, name, f"worker.cli:{name}")
            # Not standalone, so that its errors are told like those of any other command.
            code = command(args=ctx.args, prog_name=ctx.command_path, standalone_mode=False)
        except ModuleNotFoundError as missing:
            message = f"needs {missing.name}, which is not installed: pip install 'order-execution-worker[{extra}]'"
            raise failure(
                message,
                ExitCode.USAGE,
                where=ctx.command_path,
                kind="NotInstalled",
                as_json="--json" in ctx.args,
            ) from None
        raise typer.Exit(code or 0)

    return run
