"""What a check of an exchange asks beyond its commands: its markets, and what is believed of it from which source.

A venue that is one of many exchanges behind one library implements it; `orders venue-check` and the doctor use it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, runtime_checkable

from worker.venues.accounts import Account
from worker.venues.http.base import Send


@dataclass(frozen=True, slots=True)
class MarketRules:
    """What the exchange publishes about the orders of one market."""

    price_step: Decimal
    """In the quote currency, as are all prices and values."""
    amount_step: Decimal
    """In the unit of ``qty``, as are all amounts: contracts where the market has contracts."""
    least_amount: Decimal
    least_value: Decimal = Decimal(0)
    """Of price times amount times contract size; 0 where none is published."""
    contract_size: Decimal = Decimal(1)
    """What one unit of an amount is worth: of the base currency, or of the quote currency where ``inverse``."""
    inverse: bool = False
    quote: str = ""

    def value(self, amount: Decimal, price: Decimal) -> Decimal:
        """What an order is worth."""
        return amount * self.contract_size * (1 if self.inverse else price)


@dataclass(frozen=True, slots=True)
class Trait:
    """One thing that is believed of an exchange."""

    key: str
    """What it is about: a command's name, ``look``, or another word."""
    words: str
    """What is believed, for people."""
    source: str = ""
    run: str = ""
    """Where and when it was seen at the exchange itself; empty while it has only been read."""
    is_refused: bool = False
    """Whether it is a command that the exchange does not take, with the reason as its words."""


@runtime_checkable
class Inspectable(Protocol):
    """A venue that can be asked about its markets and about what is believed of it."""

    library: str
    """The library that builds its requests, with its version, such as ``ccxt 4.5.90``."""
    test_url: str
    """The address of the exchange's test network; empty where it has none."""

    def beliefs(self) -> Sequence[Trait]:
        """What is believed of the exchange; nothing where nobody has read its documentation."""

    def load_markets(self, account: Account, send: Send) -> int:
        """Read the list of markets, and return how many there are.

        Raises:
            PlanFailed: it can't be read.
        """

    def example_pair(self, account: Account, send: Send) -> str:
        """A market that can be asked for in a check; empty if none is listed.

        Raises:
            PlanFailed: the markets can't be read.
        """

    def rules(self, pair: str, account: Account, send: Send) -> MarketRules:
        """The rules of one market.

        Raises:
            PlanRefused: there is no such market.
            PlanFailed: the markets can't be read.
        """

    def mark_price(self, pair: str, account: Account, send: Send) -> Decimal:
        """The market's mark price, or its last price where it has none; a read.

        Raises:
            PlanRefused: there is no such market.
            PlanFailed: it can't be read.
        """
