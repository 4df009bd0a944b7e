"""The commands to a venue as they are typed, and `orders show`."""

from collections.abc import Mapping
from typing import Annotated, Any, NoReturn

import typer

from producers.cli import completion
from producers.cli import options as values
from producers.cli.forms import JsonOption
from producers.cli.options import SendOptions

PriceOption = Annotated[str | None, typer.Option("--price", metavar="DECIMAL", help="Limit price; default: at market.")]
TriggerEventOption = Annotated[
    str | None,
    typer.Option(
        "--trigger-event",
        metavar="EVENT",
        help="Which price triggers: MARK_PRICE, INDEX_PRICE or LAST_PRICE; default: the venue's.",
    ),
]


def _send(task: str, arguments: Mapping[str, Any], options: SendOptions, *, confirmed: bool = False) -> NoReturn:
    """Send a command, a withdrawal once it is confirmed, and exit as it ended."""
    from producers.cli.send import dry_run, parse_or_exit, send, what_pays_out

    command = parse_or_exit(task, arguments, as_json=options.as_json)
    if options.dry_run:
        raise dry_run(command, options)
    if what := what_pays_out(command):
        where = f"orders {command.name}"
        values.confirm(f"{what}?", "nothing was sent", where=where, yes=confirmed, as_json=options.as_json)
    raise send(command, options)


def close(
    account: values.AccountOption,
    pair: values.PairOption,
    qty: Annotated[
        str | None, typer.Option(metavar="DECIMAL", help="How much to close; default: the whole position.")
    ] = None,
    price: PriceOption = None,
    trigger_price: Annotated[
        str | None, typer.Option(metavar="DECIMAL", help="Close when this price is reached; default: at once.")
    ] = None,
    trigger_event: TriggerEventOption = None,
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
    direction: Annotated[
        str | None,
        typer.Option(metavar="SIDE", help="Which position, of an account that holds both: long or short."),
    ] = None,
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    lane: values.LaneOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    dry_run: values.DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Close a position: all of it at market, or by quantity, at a price, or at a trigger.

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
        "direction": direction and direction.lower(),
        "deadline": values.given_deadline(deadline),
    }
    _send("orders.close", arguments, SendOptions(command_id, wait, timeout, as_json, lane, dry_run))


def submit(
    account: values.AccountOption,
    pair: values.PairOption,
    side: Annotated[str, typer.Option(metavar="SIDE", help="buy or sell.")],
    qty: Annotated[str, typer.Option(metavar="DECIMAL", help="How much.")],
    price: PriceOption = None,
    trigger_price: Annotated[
        str | None, typer.Option(metavar="DECIMAL", help="Place it when this price is reached; default: at once.")
    ] = None,
    trigger_event: TriggerEventOption = None,
    reduce_only: Annotated[
        bool, typer.Option("--reduce-only", help="Only as far as it makes a position smaller.")
    ] = False,
    post_only: Annotated[
        bool, typer.Option("--post-only", help="Only if it rests in the order book; needs --price.")
    ] = False,
    time_in_force: Annotated[
        str | None, typer.Option(metavar="HOW", help="GTC, IOC or FOK; default: the venue's.")
    ] = None,
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    lane: values.LaneOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    dry_run: values.DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Submit a new order: at market, at a price, or at a trigger (not at Everstrike and Bit-Z).

    Example: `orders submit -a main --pair BTC/USD:USD --side buy --qty 0.5 --price 61000 --post-only --wait`
    """
    arguments = {
        "account": account,
        "pair": pair,
        "side": side.lower(),
        "qty": qty,
        "price": price,
        "trigger_price": trigger_price,
        "trigger_event": trigger_event and trigger_event.upper(),
        "reduce_only": reduce_only or None,
        "post_only": post_only or None,
        "time_in_force": time_in_force and time_in_force.upper(),
        "deadline": values.given_deadline(deadline),
    }
    _send("orders.submit", arguments, SendOptions(command_id, wait, timeout, as_json, lane, dry_run))


def cancel(
    account: values.AccountOption,
    order_id: Annotated[str, typer.Option(metavar="ORDER", help="The order's id at the venue.")],
    pair: Annotated[
        str | None, typer.Option(metavar="PAIR", help="The order's market, for venues that want it.")
    ] = None,
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    lane: values.LaneOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    dry_run: values.DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Cancel one open order.

    Example: `orders cancel -a main --order-id 7d2f… --wait`
    """
    arguments: dict[str, Any] = {"account": account, "order_id": order_id, "pair": pair}
    arguments["deadline"] = values.given_deadline(deadline)
    _send("orders.cancel", arguments, SendOptions(command_id, wait, timeout, as_json, lane, dry_run))


def withdraw(
    account: values.AccountOption,
    asset: Annotated[str, typer.Option(metavar="ASSET", help="What to withdraw, such as ETH.")],
    qty: Annotated[str, typer.Option(metavar="DECIMAL", help="How much.")],
    address: Annotated[str, typer.Option(metavar="ADDRESS", help="Destination; a withdrawal cannot be taken back.")],
    network: Annotated[
        str | None, typer.Option(metavar="NETWORK", help="The chain, where the venue has several for the asset.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(metavar="TAG", help="The memo or tag of the address, where the asset needs one.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask for confirmation; required without a terminal.")
    ] = False,
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    lane: values.LaneOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    dry_run: values.DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Withdraw an asset to an address. Accepted means submitted; Everstrike pays after confirmation by e-mail.

    Asks for confirmation unless --yes is given. Without a terminal --yes is required.

    Example: `orders withdraw -a main --asset ETH --qty 0.25 --address 0x52… --wait`
    """
    arguments: dict[str, Any] = {"account": account, "asset": asset, "qty": qty, "address": address}
    arguments |= {"network": network, "tag": tag, "deadline": values.given_deadline(deadline)}
    options = SendOptions(command_id, wait, timeout, as_json, lane, dry_run)
    _send("orders.withdraw", arguments, options, confirmed=yes)


def positions(
    account: values.AccountOption,
    pair: Annotated[str | None, typer.Option(metavar="PAIR", help="One market (not Bit-Z); default: all.")] = None,
    contract_id: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Bit-Z contract id, required for Bit-Z accounts.")
    ] = None,
    deadline: values.DeadlineOption = None,
    command_id: values.IdOption = None,
    lane: values.LaneOption = None,
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    dry_run: values.DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Query open positions.

    Example: `orders positions -a main --wait --json`
    """
    arguments = {"account": account, "pair": pair, "contract_id": contract_id}
    arguments["deadline"] = values.given_deadline(deadline)
    _send("orders.positions", arguments, SendOptions(command_id, wait, timeout, as_json, lane, dry_run))


def show(
    command_ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...",
            help="The commands' ids; - reads them from standard input.",
            autocompletion=completion.command_ids,
        ),
    ],
    wait: values.WaitOption = False,
    timeout: values.TimeoutOption = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Show how a command ended; the exit code is that of its outcome, or 6 when there is no report (yet).

    Of several commands each is shown, as JSON lines with --json, and the exit code is the worst: 5 unknown, then 1
    failed, 6 no report, 2, 3 rejected, 4 not_sent, 0. --timeout is for all of them together.

    A link of a Celery chain that was never sent is reported as such, with exit code 4.

    It reads the result backend and then the ledger, which also has commands being executed and those settled later.
    """
    from producers.cli.show import show as show_command

    raise show_command(command_ids, SendOptions(None, wait, timeout, as_json))
