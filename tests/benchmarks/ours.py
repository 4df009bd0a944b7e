"""How this project's own client enqueues, for :mod:`tests.benchmarks.sender`."""

from collections.abc import Sequence
from decimal import Decimal

from producers.client import OrderClient
from producers.commands import Cancel, Close, Command, Positions, Withdraw

PAIR = "USD_BTC_PERP"
client = OrderClient()


def command(number: int, kind: str) -> Command:
    """The command of this number; the venue reads the number from what is sent."""
    if kind == "positions":
        return Positions(account="main")
    if kind == "cancel":
        return Cancel(account="main", order_id=str(number))
    if kind == "withdraw":
        return Withdraw(account="main", asset="ETH", qty=Decimal(number), address=f"0x{number:040x}")
    return Close(account="main", pair=PAIR, qty=Decimal(number))


def enqueue(number: int, kind: str = "close") -> None:
    """Enqueue one."""
    client.enqueue(command(number, kind))


def enqueue_many(numbers: Sequence[int], kind: str = "close") -> None:
    """Enqueue them, a thousand at a time."""
    commands = [command(number, kind) for number in numbers]
    for start in range(0, len(commands), 1000):
        if hasattr(client, "enqueue_many"):
            client.enqueue_many(commands[start : start + 1000])
        else:
            for each in commands[start : start + 1000]:
                client.enqueue(each)
