"""What a reconcile sees at a venue: its records in one shape, as far as they tell a command by.

Times are UNIX ms on the venue's clock, amounts decimals; ``raw`` is the record as the venue tells it, for the report.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Window:
    """When a command's record can have been made."""

    start: int
    end: int
    suspect_until: int
    """Until when something like it is still suspicious, though later than the command can have arrived."""


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order as the venue shows it; None where it does not say."""

    id: str
    pair: str
    side: str
    type: str
    price: Decimal | None
    qty: Decimal
    status: str
    time: int
    reduce_only: bool | None
    raw: Any = None

    @property
    def key(self) -> Hashable:
        """Its id: a later read of it shows how it stands."""
        return self.id


@dataclass(frozen=True, slots=True)
class VenueTrigger:
    """A stop as the venue shows it; None, or an empty ``trigger_event``, where it does not say."""

    id: str
    pair: str
    qty: Decimal | None
    price: Decimal | None
    trigger_price: Decimal
    trigger_event: str
    status: str
    message: str
    time: int
    raw: Any = None

    @property
    def key(self) -> Hashable:
        """Its id: a later read of it shows how it stands."""
        return self.id


@dataclass(frozen=True, slots=True)
class VenueFill:
    """One execution of an order."""

    order_id: str
    pair: str
    time: int
    id: str = ""

    @property
    def key(self) -> Hashable:
        """Without an id, what else tells it from others."""
        return self.id or (self.order_id, self.time)


@dataclass(frozen=True, slots=True)
class VenueWithdrawal:
    """A withdrawal as the venue shows it."""

    id: str
    asset: str
    address: str
    qty: Decimal
    net: Decimal | None
    status: str
    time: int
    raw: Any = None

    @property
    def key(self) -> Hashable:
        """Its id."""
        return self.id


@dataclass(frozen=True, slots=True)
class VenueSnapshot:
    """Everything that was read for one command, and what could not be."""

    orders: tuple[VenueOrder, ...] = ()
    triggers: tuple[VenueTrigger, ...] = ()
    fills: tuple[VenueFill, ...] = ()
    withdrawals: tuple[VenueWithdrawal, ...] = ()
    position: tuple[Decimal, str] | None = None
    """Size, never negative, and the venue's word for the direction (BUY is long)."""
    problems: tuple[str, ...] = ()
    """Each place that could not be read whole, and why."""
