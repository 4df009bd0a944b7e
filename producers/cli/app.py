"""The `orders` program: send commands, see how they ended, run and check the system.

Exit codes: 0 accepted, 1 failed (a server unreachable, declined, doctor's findings), 2 bad usage, 3 rejected, 4 not
sent, 5 unknown, 6 no report (yet), 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from producers import __version__
from producers.cli import options as values
from producers.cli.exit_codes import ExitCode
from producers.cli.output import emit, exit_if_stdout_fails, failure
from producers.cli.plugins import add_commands
from producers.cli.send import SendOptions, parse_or_exit, send
from producers.cli.send import show as show_command

_ABOUT = """
Close, cancel, withdraw and ask for positions at crypto exchanges, through queues; each command at most once.

A command is enqueued under an id, a worker executes it, and it ends in one report. Its outcome is
**accepted** (the venue took it), **rejected** (the venue refused it), **not_sent** (proven not executed)
or **unknown** (it may have been executed: look at the venue).
"""

_EPILOG = """
Exit codes of --wait and show: 0 accepted, 3 rejected, 4 not_sent (also a link of a Celery chain that was never sent),
5 unknown, 6 no report yet. Of all commands: 1 failed (a server that can't be reached), 2 bad usage, 130 interrupted.

Settings: ORDERS_REDIS_URL (redis://127.0.0.1:6379) is the server; workers also need ORDERS_ACCOUNTS__ALIAS__VENUE,
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
    asked: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output; also after the command's name.")
    ] = False,
) -> None:
    if asked:
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
        str | None, typer.Option(metavar="DECIMAL", help="How much to close; the whole position unless given.")
    ] = None,
    price: Annotated[str | None, typer.Option(metavar="DECIMAL", help="Limit price; at market unless given.")] = None,
    trigger_price: Annotated[
        str | None, typer.Option(metavar="DECIMAL", help="Close when this price is reached; at once unless given.")
    ] = None,
    trigger_event: Annotated[
        str | None,
        typer.Option(metavar="EVENT", help="Which price triggers: MARK_PRICE (default), INDEX_PRICE or LAST_PRICE."),
    ] = None,
    close_on_trigger: Annotated[
        bool, typer.Option("--close-on-trigger", help="Everstrike's close_on_trigger, left out unless given.")
    ] = False,
    no_close_on_trigger: Annotated[bool, typer.Option("--no-close-on-trigger", help="The same as false.")] = False,
    recv_window: Annotated[
        int | None,
        typer.Option(metavar="MS", help="How old the request may be at the venue, at most 15000 milliseconds."),
    ] = None,
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
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
    options = SendOptions(command_id, wait, timeout, as_json)
    raise send(parse_or_exit("orders.close", arguments, as_json=as_json), options)


@app.command(rich_help_panel=_COMMANDS)
def cancel(
    account: values.AccountOption,
    order_id: Annotated[str, typer.Option(metavar="ORDER", help="The order's id at the venue.")],
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    as_json: values.JsonOption = False,
) -> None:
    """Cancel one open order (Everstrike).

    Example: `orders cancel -a main --order-id 7d2f… --wait`
    """
    arguments = {"account": account, "order_id": order_id, "deadline": values.given_deadline(deadline)}
    options = SendOptions(command_id, wait, timeout, as_json)
    raise send(parse_or_exit("orders.cancel", arguments, as_json=as_json), options)


@app.command(rich_help_panel=_COMMANDS)
def withdraw(
    account: values.AccountOption,
    asset: Annotated[str, typer.Option(metavar="ASSET", help="What to withdraw, such as ETH.")],
    qty: Annotated[str, typer.Option(metavar="DECIMAL", help="How much.")],
    address: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to: nobody can take it back.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")] = False,
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    as_json: values.JsonOption = False,
) -> None:
    """Withdraw an asset to an address (Everstrike). Accepted means submitted: it is paid once confirmed by e-mail.

    It asks first, unless --yes is given; where there is no terminal to ask at, it needs --yes.

    Example: `orders withdraw -a main --asset ETH --qty 0.25 --address 0x52… --wait`
    """
    arguments: dict[str, Any] = {"account": account, "asset": asset, "qty": qty, "address": address}
    arguments["deadline"] = values.given_deadline(deadline)
    command = parse_or_exit("orders.withdraw", arguments, as_json=as_json)
    question = "Withdraw {qty} {asset} from account {account} to {address}?".format_map(command.arguments())
    values.confirm(question, "nothing was sent", where="orders withdraw", yes=yes, as_json=as_json)
    raise send(command, SendOptions(command_id, wait, timeout, as_json))


@app.command(rich_help_panel=_COMMANDS)
def positions(
    account: values.AccountOption,
    pair: Annotated[str | None, typer.Option(metavar="PAIR", help="One Everstrike market; all unless given.")] = None,
    contract_id: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Bit-Z contract id, which Bit-Z accounts need.")
    ] = None,
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    as_json: values.JsonOption = False,
) -> None:
    """Ask for open positions (Everstrike, Bit-Z).

    Example: `orders positions -a main --wait --json`
    """
    arguments = {"account": account, "pair": pair, "contract_id": contract_id}
    arguments["deadline"] = values.given_deadline(deadline)
    options = SendOptions(command_id, wait, timeout, as_json)
    raise send(parse_or_exit("orders.positions", arguments, as_json=as_json), options)


@app.command(rich_help_panel=_COMMANDS)
def show(
    command_id: Annotated[str, typer.Argument(metavar="ID", help="The command's id.")],
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    as_json: values.JsonOption = False,
) -> None:
    """Show how a command ended; the exit code tells its outcome, 6 when there is no report (yet).

    A link of a Celery chain that was never sent is told as that, with exit code 4.

    Looks for its result, and then in the ledger, which also knows what is being sent and what was settled later.
    """
    raise show_command(command_id, SendOptions(command_id, wait, timeout, as_json))


add_commands(app)


def _is_text(argument: str) -> bool:
    """Whether it came as UTF-8; Python hides the bytes that did not in lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _reopened() -> None:
    """Give every stream that came closed (``2>&-``) the null device: printing to none means standard output, and a
    server's connection would get its number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115, PTH123 - open to the end


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The console script: `orders`, with the arguments of the process unless given others."""
    _reopened()
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        # A sign that the terminal's encoding lacks is no reason to end with a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    strange = next((place for place, text in enumerate(args, 1) if not _is_text(text)), None)
    if strange is not None:
        # No server takes it, and none of the libraries on the way there says so in words for a person.
        failure(f"argument {strange} is not UTF-8", "Usage", where="orders", as_json="--json" in args)
        raise SystemExit(ExitCode.USAGE)
    with exit_if_stdout_fails("orders", "What was asked for may have been done all the same"):
        _run(_json_last(args))


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
    """The same with a --json that stands before the command's name right after it: each command has its own."""
    name = next((place for place, text in enumerate(args) if not text.startswith("-")), 0)
    if "--json" not in args[:name]:
        return args
    return [*(text for text in args[:name] if text != "--json"), args[name], "--json", *args[name + 1 :]]
