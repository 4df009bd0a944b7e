"""The commands of `orders`, each imported when it is used: its own, and those of the worker's distribution.

Those of the worker are entry points of the group ``orders.commands``, each a :class:`typer.Typer` with one command.
Where the worker or its dependencies are missing they say what to install.
"""

from typing import Any

import typer

from producers.cli.forms import JsonOption as JsonOption

GROUP = "orders.commands"

SENDING, RUNNING, OPERATING, PROGRAM = "Commands to a venue", "Running", "Operating", "This program"
"""Sections of the help."""

OWN_COMMANDS = {
    "submit": ("Submit a new order: at market, at a price, or at a trigger.", SENDING, "venue_commands:submit"),
    "close": ("Close a position: all of it, or by quantity, price or trigger.", SENDING, "venue_commands:close"),
    "cancel": ("Cancel one open order.", SENDING, "venue_commands:cancel"),
    "withdraw": ("Withdraw an asset to an address.", SENDING, "venue_commands:withdraw"),
    "positions": ("Query open positions.", SENDING, "venue_commands:positions"),
    "show": ("Show how a command ended.", SENDING, "venue_commands:show"),
    "send": ("Send many commands in one batch, from a file of JSON lines.", SENDING, "batch:send_file"),
    "keygen": ("Make a key to sign with.", OPERATING, "keygen:keygen"),
    "config": ("Show the settings in force, and where each comes from.", PROGRAM, "config:config"),
    "completion": ("Print the completion of a shell: bash, zsh or fish.", PROGRAM, "completion:completion"),
    "help": ("Show the help of a command, or this.", PROGRAM, "about:show_help"),
    "version": ("Show the version.", PROGRAM, "about:version"),
}
"""By name, the commands that need no worker: one line of help, the section, and module and function in
``producers.cli``."""

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
    "list": ("List commands, the last one first.", "worker", OPERATING, "listing"),
    "journal": ("Show the ledger's journal, of one command or of all.", "worker", OPERATING, "halts"),
    "webhooks": ("List what waits for the webhooks; send a report again.", "worker", OPERATING, "webhooks"),
    "archive": ("Follow the journal into files elsewhere, and tell of tampering.", "worker", RUNNING, "archive"),
    "policy": ("The withdrawal policy: show, check and apply it.", "worker", OPERATING, "policy"),
    "dead": ("List, show, resend and drop messages that could not be read.", "worker", OPERATING, "dead"),
}
"""By name: one line of help, the extra with the command's dependencies, its section in the help, and its module in
``worker.cli``."""


def command_app() -> typer.Typer:
    """An app with one command, as an entry point provides it."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        rich_markup_mode=None,  # importing and running Rich takes longer than all the rest of a command's help
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
    from importlib.metadata import EntryPoint, entry_points

    installed = entry_points(group=group, name=name)
    entry = next(iter(installed), None) or EntryPoint(name, default, group)
    return entry.load()
