"""Commands of `orders` that live on the worker's side, loaded when they are used and not before.

The base install has neither an HTTP client nor a web server. These commands are found through the entry points of the
group ``orders.commands``, each a :class:`typer.Typer` with one command; where their dependencies are missing they say
what to install.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer

from producers.cli.output import failure

GROUP = "orders.commands"

RUNNING, WATCHING = "Running it", "Watching over it"

COMMANDS = {
    "worker": ("Run a worker: execute commands from the queues.", "worker", RUNNING, "worker"),
    "doctor": ("Check settings, servers, clocks, queues and workers, and say what to do.", "worker", RUNNING, "doctor"),
    "simulator": ("Run a simulator of both venues on this machine.", "demo", RUNNING, "worker"),
    "demo": ("See all of it work on this machine, against the simulator.", "demo", RUNNING, "worker"),
    "unknown": ("List the commands of which nobody knows whether they were executed.", "worker", WATCHING, "unknowns"),
    "reconcile": ("Look for unknown commands at the venue, and settle what it shows.", "worker", WATCHING, "unknowns"),
    "resolve": ("Settle an unknown command by your own word; who and why are kept.", "worker", WATCHING, "unknowns"),
    "halt": (
        "Halt withdrawals, an account, a command, or (--all) everything.",
        "worker",
        WATCHING,
        "halts",
    ),
    "resume": ("Let workers send again.", "worker", WATCHING, "halts"),
    "journal": ("Show every move of the ledger, of one command or of all.", "worker", WATCHING, "halts"),
    "dead": ("List the messages that could not be read; they are kept.", "worker", WATCHING, "halts"),
}
"""Name: one line of help, the extra that installs what the command needs, its group of the help, and its module of the
worker's in a source tree."""

# Every argument goes to the command itself, --help included, so that listing the commands imports none of them.
_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}


JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, for errors too.")]


def command_app() -> typer.Typer:
    """An app for one command, as an entry point names it."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def how_to_install(extra: str) -> str:
    """How to install the worker with an extra; neither distribution is on a package index."""
    return f"Install the extra [{extra}]: pip install ./producers '.[{extra}]' in a checkout of order-execution-worker"


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
    for name, (summary, extra, panel, module) in COMMANDS.items():
        app.command(
            name,
            help=summary,
            add_help_option=False,
            context_settings=_PASS_ON,
            rich_help_panel=panel,
        )(_passing_on(name, extra, f"worker.cli.{module}:{name}"))


def _passing_on(name: str, extra: str, elsewhere: str) -> Callable[[typer.Context], None]:
    def run(ctx: typer.Context) -> None:
        where, as_json = ctx.command_path, "--json" in ctx.args
        try:
            command = typer.main.get_command(load(GROUP, name, elsewhere))
            # Not as a program of its own, so that its errors are told like those of any other command.
            with command.make_context(where, list(ctx.args)) as own:
                command.invoke(own)
        except ModuleNotFoundError as missing:
            message = f"needs {missing.name}, which is not installed. {how_to_install(extra)}"
            raise failure(message, "NotInstalled", where=where, as_json=as_json) from None
        except KeyboardInterrupt:
            raise failure("interrupted", "Interrupted", where=where, as_json=as_json) from None

    return run
