"""`orders venue-check`, found through the entry points ``orders.commands``. What it needs is imported when it runs."""

from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.exit_codes import ExitCode
from producers.cli.options import confirm
from producers.cli.output import emit, failure, note
from producers.cli.plugins import JsonOption, command_app
from worker.cli.options import YesOption, operator_command

if TYPE_CHECKING:
    from worker.operations.venue_check.session import VenueCheck
    from worker.settings import WorkerSettings

venue_check = command_app()
WHERE = "orders venue-check"


@venue_check.command()
def _venue_check(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Alias of the account, as for the workers.")],
    testnet: Annotated[bool, typer.Option("--testnet", help="At the exchange's test network.")] = False,
    order: Annotated[
        list[str] | None,
        typer.Option("--order", metavar="PAIR", help="Also submit, find and cancel an order; may be repeated."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="With --order and without --testnet: the order is a real one.")
    ] = False,
    away: Annotated[
        int, typer.Option("--away", metavar="PERCENT", min=5, max=95, help="How far below the price it is.")
    ] = 50,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Try what is believed of an account's exchange at the exchange itself, and print what its traits need.

    First reads only: markets, positions, clock, and a look for an order that was never sent. With --order then the
    smallest order of the pair, to buy far below its price and post-only: it is shown and confirmed, submitted, found by
    its client order id, cancelled and found again. Ctrl-C cancels it too. Keys, signatures and amounts of the account
    are not shown, so the output can be passed on. No queue, no worker and no ledger takes part.

    Example: `orders venue-check main --testnet --order BTC/USDT:USDT`
    """
    pairs = order or []
    if live and testnet:
        raise failure("--live and --testnet exclude each other", "Usage", where=WHERE, as_json=as_json)
    if pairs and not (testnet or live):
        message = "--order needs --testnet, or --live to submit a real order"
        raise failure(message, "Usage", where=WHERE, as_json=as_json)
    with operator_command(WHERE, as_json=as_json) as settings:
        raise _run(settings, account, pairs, away, testnet=testnet, yes=yes, as_json=as_json)


def _run(
    settings: "WorkerSettings", alias: str, pairs: list[str], away: int, *, testnet: bool, yes: bool, as_json: bool
) -> typer.Exit:
    from worker.cli.venue_check_output import document, print_head, print_step, print_summary
    from worker.operations.venue_check.session import NoSuchAccount, NoTestNetwork, open_check

    try:
        with open_check(
            settings, alias, test_network=testnet, tell=(lambda _: None) if as_json else print_step
        ) as check:
            if not as_json:
                print_head(check)
            check.harmless(pairs[0] if pairs else "")
            if check.unreachable:
                message = f"{check.account.host} can't be reached: {check.unreachable}"
                return failure(message, "Unreachable", where=WHERE, as_json=as_json, **document(check))
            for pair in pairs:
                _order(check, pair, away, yes=yes, as_json=as_json)
            if as_json:
                emit(document(check))
            else:
                print_summary(check)
            return typer.Exit(ExitCode.ACCEPTED if check.good else ExitCode.FAILED)
    except (NoSuchAccount, NoTestNetwork) as error:
        return failure(str(error), type(error).__name__, where=WHERE, as_json=as_json)


def _order(check: "VenueCheck", pair: str, away: int, *, yes: bool, as_json: bool) -> None:
    """Submit and take back one order; exit with a message if it may stand."""
    from worker.cli.venue_check_output import document, what_stands
    from worker.venues.base import PlanFailed, PlanRefused

    try:
        order = check.order(pair, away)
        steps = check.order_check(order)
        plan = steps.plan()
    except (PlanRefused, PlanFailed) as refusal:
        check.checked.tell(f"order of {pair}", False, f"nothing was sent: {refusal}")
        return
    network = "on its test network" if check.on_test_network else "FOR REAL"
    question = f"Submit at {check.account.host} {network}: {order.in_words()}?"
    confirm(question, "no order was submitted", where=WHERE, yes=yes, as_json=as_json)
    interrupted = False
    try:
        steps.run(plan)
    except KeyboardInterrupt:
        interrupted = True
    except Exception:
        note(f"{WHERE}: {what_stands(steps, pair)}")
        raise
    if not steps.cleared:
        message = f"{what_stands(steps, pair)}. Cancel it at the venue"
        raise failure(message, "OrderStands", where=WHERE, as_json=as_json, **document(check))
    if interrupted:
        message = f"interrupted; {what_stands(steps, pair)}"
        raise failure(message, "Interrupted", where=WHERE, as_json=as_json, **document(check))
