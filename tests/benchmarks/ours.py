"""Enqueues with this project's own client, for :mod:`tests.benchmarks.sender`."""

from collections.abc import Sequence
from decimal import Decimal

from producers.client import OrderClient
from producers.commands import Cancel, Close, Command, Positions, Withdraw

client = OrderClient()


def command(number: int, kind: str) -> Command:
    """The command of this number; the venue reads the number from the request."""
    if kind == "positions":
        return Positions(account="main")
    if kind == "cancel":
        return Cancel(account="main", order_id=str(number))
    if kind == "withdraw":
        return Withdraw(account="main", asset="ETH", qty=Decimal(number), address=f"0x{number:040x}")
    return Close(account="main", pair="USD_BTC_PERP", qty=Decimal(number))


def enqueue(number: int, kind: str = "close") -> None:
    """Enqueue one command."""
    client.enqueue(command(number, kind))


def enqueue_many(numbers: Sequence[int], kind: str = "close") -> None:
    """Enqueue commands, a thousand in a call."""
    for start in range(0, len(numbers), 1000):
        client.enqueue_many([command(number, kind) for number in numbers[start : start + 1000]])
