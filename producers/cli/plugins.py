"""Commands of `orders` that the worker's distribution provides, imported when they are used.

They are entry points of the group ``orders.commands``, each a :class:`typer.Typer` with one command. Where the worker
or its dependencies are missing they say what to install.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer

from producers.cli.output import failure

GROUP = "orders.commands"

RUNNING, OPERATING = "Running", "Operating"
"""Sections of the help."""

COMMANDS = {
    "worker": ("Run a worker: execute commands from the queues.", "worker", RUNNING, "worker"),
    "doctor": ("Check settings, servers, clocks, queues and workers.", "worker", RUNNING, "doctor"),
    "init": ("Write the settings of an account to a file, and check them.", "worker", RUNNING, "init"),
    "venue-check": ("Try what is believed of an account's exchange at the exchange.", "worker", RUNNING, "venue_check"),
    "simulator": ("Run a simulator of the venues on this machine.", "demo", RUNNING, "worker"),
    "demo": ("Run everything on this machine against the simulator.", "demo", RUNNING, "worker"),
    "desk": ("What an operator sees and does, in a browser.", "desk", OPERATING, "desk"),
    "unknown": ("List the commands whose outcome is unknown.", "worker", OPERATING, "unknowns"),
    "reconcile": ("Settle unknown commands by what the venue shows.", "worker", OPERATING, "unknowns"),
    "resolve": ("Record the outcome of an unknown command manually.", "worker", OPERATING, "unknowns"),
    "parked": ("List what waits at the servers and why; end a cool-down.", "worker", OPERATING, "parked"),
    "held": ("List the commands that wait for approval.", "worker", OPERATING, "held"),
    "approve": ("Approve a command that waits for it.", "worker", OPERATING, "held"),
    "deny": ("Deny a command that waits for approval.", "worker", OPERATING, "held"),
    "halt": (
        "Halt withdrawals, an account, a command, or (--all) everything.",
        "worker",
        OPERATING,
        "halts",
    ),
    "resume": ("End a halt, so that workers send again.", "worker", OPERATING, "halts"),
    "journal": ("Show the ledger's journal, of one command or of all.", "worker", OPERATING, "halts"),
    "webhooks": ("List what waits for the webhooks; send a report again.", "worker", OPERATING, "webhooks"),
    "archive": ("Keep a copy of the journal elsewhere, and tell of tampering.", "worker", RUNNING, "archive"),
    "policy": ("Show, check and apply the withdrawal policy.", "worker", OPERATING, "policy"),
    "dead": ("List, show, resend and drop dead letters: messages that could not be read.", "worker", OPERATING, "dead"),
}
"""By name: one line of help, the extra with the command's dependencies, its section in the help, and its module in
``worker.cli``."""

# All arguments are passed to the command itself, also --help, so that listing the commands imports none of them.
_PASS_ALL_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True}


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for errors too.")]


def command_app() -> typer.Typer:
    """An app with one command, as an entry point provides it."""
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


def load(group: str, name: str, default: str) -> Any:
    """Load an entry point; ``default`` is its value for a source tree, which has no metadata.

    Raises:
        ModuleNotFoundError: a dependency is not installed.
    """
    installed = entry_points(group=group, name=name)
    entry = next(iter(installed), None) or EntryPoint(name, default, group)
    return entry.load()


def add_commands(app: typer.Typer) -> None:
    """Register every command without importing any of them."""
    for name, (summary, extra, panel, module) in COMMANDS.items():
        app.command(
            name,
            help=summary,
            add_help_option=False,
            context_settings=_PASS_ALL_ARGUMENTS,
            rich_help_panel=panel,
        )(_forward(name, extra, f"worker.cli.{module}:{name.replace('-', '_')}"))


def _forward(name: str, extra: str, default: str) -> Callable[[typer.Context], None]:
    """A command that loads the worker's command of this name and runs it with all of its arguments."""

    def run(ctx: typer.Context) -> None:
        where, as_json = ctx.command_path, "--json" in ctx.args
        try:
            command = typer.main.get_command(load(GROUP, name, default))
            # Not run as a program of its own, so that its errors are reported like those of the other commands.
            with command.make_context(where, list(ctx.args)) as context:
                command.invoke(context)
        except ModuleNotFoundError as missing:
            message = f"needs {missing.name}, which is not installed. {how_to_install(extra)}"
            raise failure(message, "NotInstalled", where=where, as_json=as_json) from None
        except KeyboardInterrupt:
            raise failure("interrupted", "Interrupted", where=where, as_json=as_json) from None

    return run
