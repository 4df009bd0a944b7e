"""Output of `orders venue-check`: steps as they end, and what a maintainer needs to mark a trait as run."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from producers.cli.tables import console, folded
from producers.printable import printable
from worker.operations.venue_check.order_steps import OrderCheck
from worker.operations.venue_check.recording import Exchange
from worker.operations.venue_check.session import VenueCheck
from worker.operations.venue_check.steps import Step
from worker.venues.inspection import Trait

_MARKS = {True: ("ok", "green"), False: ("NOT", "bold red"), None: ("-", "yellow")}
_INDENT, _NAME_WIDTH = 5, 38


def print_head(check: VenueCheck) -> None:
    """Print what is checked."""
    network = "test network" if check.on_test_network else "the account's own address"
    account = check.account
    console().print(
        Text(f"{account.alias}: {account.venue} at {account.base_url} ({network}), by {check.library}", "bold")
    )


def print_step(step: Step) -> None:
    """Print a step with what was sent and answered."""
    out, (mark, style) = console(), _MARKS[step.good]
    head = Text.assemble((f"{mark:<{_INDENT}}", style), f"{step.name:<{_NAME_WIDTH}}")
    out.print(folded(head, Text(printable(step.words)), _INDENT + _NAME_WIDTH + 1, out.width))
    for exchange in step.exchanges:
        for line in _exchange_lines(exchange):
            out.print(folded(Text(" " * _INDENT), Text(printable(line), "dim"), _INDENT + 2, out.width))


def _exchange_lines(exchange: Exchange) -> Sequence[str]:
    status = "no response" if exchange.status is None else str(exchange.status)
    return (
        f"{exchange.method} {exchange.address} with {', '.join(exchange.fields) or 'no field'}",
        f"{status} after {exchange.milliseconds} ms: {exchange.answer}",
    )


def print_summary(check: VenueCheck) -> None:
    """Print which traits were shown, and which were not."""
    out, shown = console(), check.shown()
    out.print()
    out.print(f"Shown on {_today()} at {check.account.host} with {check.library}: {', '.join(shown) or 'nothing'}")
    for trait in _not_shown(check):
        out.print(folded(Text("Not shown: "), Text(printable(f"{trait.key}: {trait.words}")), 11, out.width))
    if not check.good:
        out.print(Text("Something is not as the traits say: see the steps marked NOT.", "bold red"))


def _not_shown(check: VenueCheck) -> list[Trait]:
    known = {*check.shown(), *(trait.key for trait in check.beliefs() if trait.run or trait.is_refused)}
    return [trait for trait in check.beliefs() if trait.key not in known]


def document(check: VenueCheck) -> dict[str, Any]:
    """The check as one JSON document."""
    return {
        "account": check.account.alias,
        "venue": check.account.venue,
        "address": check.account.base_url,
        "test_network": check.on_test_network,
        "library": check.library,
        "day": _today(),
        "good": check.good,
        "steps": [asdict(step) for step in check.steps],
        "shown": check.shown(),
        "not_shown": [asdict(trait) for trait in _not_shown(check)],
    }


def what_stands(steps: OrderCheck, pair: str) -> str:
    """What is known of the order, for a person."""
    known = (("client order id", steps.handle), ("order id", steps.reference))
    ids = ", ".join(f"{name} {value}" for name, value in known if value)
    return (
        f"the order of {pair}: {steps.standing.value} ({ids})"
        if ids
        else f"the order of {pair}: {steps.standing.value}"
    )


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")
