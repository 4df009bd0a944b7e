"""The `orders` program: send commands, see how they ended, run and check the system.

:mod:`producers.cli.exit_codes` has the exit codes.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from producers import __version__
from producers.cli import options as values
from producers.cli.exit_codes import ExitCode
from producers.cli.keygen import keygen
from producers.cli.output import emit, exit_if_stdout_fails, failure
from producers.cli.plugins import OPERATING, add_commands
from producers.cli.send import SendOptions, parse_or_exit, send
from producers.cli.send import show as show_command

_ABOUT = """
Close, cancel, withdraw and query positions at crypto exchanges, through queues; each command at most once.

A command is enqueued under an id, a worker executes it, and it ends in one report. Its outcome is
**accepted** (the venue took it), **rejected** (the venue refused it), **not_sent** (proven not executed)
or **unknown** (it may have been executed: check at the venue).
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
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    # A traceback with its variables could show a secret.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)


@app.callback(invoke_without_command=True)
def _orders(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; may also follow the command's name.")
    ] = False,
) -> None:
    if version:
        if as_json:
            emit({"version": __version__})
        else:
            print(f"orders {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        ctx.fail("Missing command.")


_COMMANDS = "Commands to a venue"


@app.command(rich_help_panel=_COMMANDS)
def close(
    account: values.AccountOption,
    pair: values.PairOption,
    qty: Annotated[
        str | None, typer.Option(metavar="DECIMAL", help="How much to close; default: the whole position.")
    ] = None,
    price: Annotated[str | None, typer.Option(metavar="DECIMAL", help="Limit price; default: at market.")] = None,
    trigger_price: Annotated[
        str | None, typer.Option(metavar="DECIMAL", help="Close when this price is reached; default: at once.")
    ] = None,
    trigger_event: Annotated[
        str | None,
        typer.Option(metavar="EVENT", help="Which price triggers: MARK_PRICE (default), INDEX_PRICE or LAST_PRICE."),
    ] = None,
    close_on_trigger: Annotated[
        bool,
        typer.Option("--close-on-trigger", help="Send Everstrike's close_on_trigger as true; default: leave it out."),
    ] = False,
    no_close_on_trigger: Annotated[
        bool, typer.Option("--no-close-on-trigger", help="Send close_on_trigger as false.")
    ] = False,
    recv_window: Annotated[
        int | None,
        typer.Option(metavar="MS", help="Maximum age of the request at the venue, at most 15000 milliseconds."),
    ] = None,
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    lane: values.LaneOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    as_json: values.JsonOption = False,
) -> None:
    """Close a position: all of it at market, or by quantity, at a price, or at a trigger (Everstrike).

    Example: `orders close -a main --pair USD_BTC_PERP --qty 0.5 --deadline 30s --wait`
    """
    arguments = {
        "account": account,
        "pair": pair,
        "qty": qty,
        "price": price,
        "trigger_price": trigger_price,
        "trigger_event": trigger_event and trigger_event.upper(),
        "close_on_trigger": values.one_of(close_on_trigger, no_close_on_trigger, "--close-on-trigger"),
        "recv_window": recv_window,
        "deadline": values.given_deadline(deadline),
    }
    options = SendOptions(command_id, wait, timeout, as_json, lane)
    raise send(parse_or_exit("orders.close", arguments, as_json=as_json), options)


@app.command(rich_help_panel=_COMMANDS)
def cancel(
    account: values.AccountOption,
    order_id: Annotated[str, typer.Option(metavar="ORDER", help="The order's id at the venue.")],
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    lane: values.LaneOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    as_json: values.JsonOption = False,
) -> None:
    """Cancel one open order (Everstrike).

    Example: `orders cancel -a main --order-id 7d2f… --wait`
    """
    arguments = {"account": account, "order_id": order_id, "deadline": values.given_deadline(deadline)}
    options = SendOptions(command_id, wait, timeout, as_json, lane)
    raise send(parse_or_exit("orders.cancel", arguments, as_json=as_json), options)


@app.command(rich_help_panel=_COMMANDS)
def withdraw(
    account: values.AccountOption,
    asset: Annotated[str, typer.Option(metavar="ASSET", help="What to withdraw, such as ETH.")],
    qty: Annotated[str, typer.Option(metavar="DECIMAL", help="How much.")],
    address: Annotated[str, typer.Option(metavar="ADDRESS", help="Destination; a withdrawal cannot be taken back.")],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask for confirmation; required without a terminal.")
    ] = False,
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    lane: values.LaneOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    as_json: values.JsonOption = False,
) -> None:
    """Withdraw an asset to an address (Everstrike). Accepted means submitted: it is paid after confirmation by e-mail.

    Asks for confirmation unless --yes is given. Without a terminal --yes is required.

    Example: `orders withdraw -a main --asset ETH --qty 0.25 --address 0x52… --wait`
    """
    arguments: dict[str, Any] = {"account": account, "asset": asset, "qty": qty, "address": address}
    arguments["deadline"] = values.given_deadline(deadline)
    command = parse_or_exit("orders.withdraw", arguments, as_json=as_json)
    question = "Withdraw {qty} {asset} from account {account} to {address}?".format_map(command.arguments())
    values.confirm(question, "nothing was sent", where="orders withdraw", yes=yes, as_json=as_json)
    raise send(command, SendOptions(command_id, wait, timeout, as_json, lane))


@app.command(rich_help_panel=_COMMANDS)
def positions(
    account: values.AccountOption,
    pair: Annotated[str | None, typer.Option(metavar="PAIR", help="One Everstrike market; default: all.")] = None,
    contract_id: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Bit-Z contract id, required for Bit-Z accounts.")
    ] = None,
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    lane: values.LaneOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    as_json: values.JsonOption = False,
) -> None:
    """Query open positions (Everstrike, Bit-Z).

    Example: `orders positions -a main --wait --json`
    """
    arguments = {"account": account, "pair": pair, "contract_id": contract_id}
    arguments["deadline"] = values.given_deadline(deadline)
    options = SendOptions(command_id, wait, timeout, as_json, lane)
    raise send(parse_or_exit("orders.positions", arguments, as_json=as_json), options)


@app.command(rich_help_panel=_COMMANDS)
def show(
    command_id: Annotated[str, typer.Argument(metavar="ID", help="The command's id.")],
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    as_json: values.JsonOption = False,
) -> None:
    """Show how a command ended; the exit code is that of its outcome, or 6 when there is no report (yet).

    A link of a Celery chain that was never sent is reported as such, with exit code 4.

    It reads the result backend and then the ledger, which also has commands being executed and those settled later.
    """
    raise show_command(command_id, SendOptions(command_id, wait, timeout, as_json))


add_commands(app)
app.command(rich_help_panel=OPERATING)(keygen)


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
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks must not end in a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    undecodable = next((number for number, text in enumerate(args, 1) if not _is_text(text)), None)
    if undecodable is not None:
        # No server accepts it, and the errors of the libraries on the way are not meant for a person.
        failure(f"argument {undecodable} is not UTF-8", "Usage", where="orders", as_json="--json" in args)
        raise SystemExit(ExitCode.USAGE)
    args = _json_last(args)
    where = "orders" if args[0].startswith("-") else f"orders {args[0]}"
    with exit_if_stdout_fails(where, "The command may have been carried out all the same"):
        _run(args)


def _run(args: list[str]) -> NoReturn:
    if "--json" not in args:
        app(args=args, prog_name="orders")
        raise SystemExit(0)
    try:
        code = app(args=args, prog_name="orders", standalone_mode=False)
    except typer.TyperException as error:
        emit({"error": {"type": "Usage", "message": error.format_message()}})
        raise SystemExit(error.exit_code) from None
    except typer.Abort:
        emit({"error": {"type": "Interrupted", "message": "interrupted"}})
        raise SystemExit(ExitCode.INTERRUPTED) from None
    raise SystemExit(code or 0)


def _json_last(args: list[str]) -> list[str]:
    """Move a --json that precedes the command's name behind it, because each command has an option of its own. The
    name of a command of `orders policy` is the second word."""
    words = [index for index, text in enumerate(args) if not text.startswith("-")]
    name = words[0] if words else 0
    if len(words) > 1 and args[name] == "policy":
        name = words[1]
    if "--json" not in args[:name]:
        return args
    return [*(text for text in args[:name] if text != "--json"), args[name], "--json", *args[name + 1 :]]
