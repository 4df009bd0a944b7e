"""The records of a venue in one shape, with the fields by which a reconcile recognises a command.

Times are UNIX ms on the venue's clock, and amounts are decimals. ``raw`` is the record as the venue sent it, for the
report. A ``key`` identifies a record within its list.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which the record of a command can have been created."""

    start: int
    end: int
    suspect_until: int
    """Until when something like it is still suspicious, though later than the command can have arrived."""


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order. A field is None if the venue does not state it."""

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
        """The id. Of several reads of the same record, the last one counts."""
        return self.id


@dataclass(frozen=True, slots=True)
class VenueTrigger:
    """A stop. A field is None, and ``trigger_event`` is empty, if the venue does not state it."""

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
        """The id. Of several reads of the same record, the last one counts."""
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
        """The id; without one, the order and the time."""
        return self.id or (self.order_id, self.time)


@dataclass(frozen=True, slots=True)
class VenueWithdrawal:
    """A withdrawal."""

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
        """The id."""
        return self.id


@dataclass(frozen=True, slots=True)
class VenueSnapshot:
    """Everything that was read at a venue for one command, and what could not be read."""

    orders: tuple[VenueOrder, ...] = ()
    triggers: tuple[VenueTrigger, ...] = ()
    fills: tuple[VenueFill, ...] = ()
    withdrawals: tuple[VenueWithdrawal, ...] = ()
    position: tuple[Decimal, str] | None = None
    """The size, which is never negative, and the venue's word for the direction (BUY is long)."""
    problems: tuple[str, ...] = ()
    """A sentence for each list that could not be read completely."""
