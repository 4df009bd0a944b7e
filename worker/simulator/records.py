"""The records that the simulator keeps: the venues' own objects, and the requests that arrived and were executed.

Quantities and prices are `Decimal`; times are UNIX milliseconds of the simulator's clock. The Everstrike field names
are those of the venue's reply examples and of its own client (`everstrikeio/market_maker`, `js/Everstrike.js`).
Models are frozen, so that a shallow copy of the holdings is a snapshot.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from worker.simulator.derivatives import DerivativeOrder, NetPosition

VenueName = Literal["everstrike", "bitz", "krakenfutures", "okx"]
Side = Literal["BUY", "SELL"]
Amount = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[Decimal, Field(allow_inf_nan=False)]


class Record(BaseModel):
    """An immutable value that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Position(Record):
    """An Everstrike position: `direction` BUY is long, SELL is short; `size` is never negative."""

    pair: str
    size: Amount
    direction: Side = "BUY"
    entry_price: Amount = Decimal("3.4")
    mark_price: Amount = Decimal("2.1")
    leverage: Amount = Decimal("2.82")
    liquidation_price: Amount = Decimal("3.7")
    margin: Amount = Decimal(1)
    realized: Number = Decimal(0)
    unrealized: Number = Decimal(0)

    @property
    def closing_side(self) -> Side:
        """The side of an order that closes this position."""
        return "SELL" if self.direction == "BUY" else "BUY"


class Order(Record):
    """An Everstrike order; `status` is one of the venue's five words."""

    id: str
    pair: str
    side: Side = "SELL"
    type: Literal["LIMIT", "MARKET"] = "LIMIT"
    price: Amount = Decimal(100)
    qty_orig: Amount = Decimal("0.002")
    qty_remaining: Amount = Decimal("0.002")
    status: Literal["ACTIVE", "COMPLETED", "CANCELLED", "REJECTED", "PENDING"] = "ACTIVE"
    time: int = 0
    reduce_only: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it can still be filled or cancelled."""
        return self.status in {"ACTIVE", "PENDING"}


class Trigger(Record):
    """A stop: accepted with 200, it may fail later with `status` CANCELLED and a `msg`."""

    id: str
    pair: str
    side: Side = "SELL"
    qty: Amount | None = None
    price: Amount | None = None
    trigger_price: Amount
    trigger_event: Literal["MARK_PRICE", "INDEX_PRICE", "LAST_PRICE"] = "MARK_PRICE"
    close_on_trigger: bool = False
    status: Literal["UNTRIGGERED", "ACTIVE", "CANCELLED", "COMPLETED"] = "UNTRIGGERED"
    msg: str | None = None
    time: int = 0


class Fill(Record):
    """One execution of an order."""

    id: str
    order_id: str
    pair: str
    side: Side
    price: Amount
    qty: Amount
    time: int = 0


class Withdrawal(Record):
    """A withdrawal. Accepted through the API it waits for the owner's e-mail confirmation, so it starts as pending."""

    id: str
    asset: str
    address: str
    qty: Amount
    net: Amount
    status: str = "pending confirmation"
    hash: str | None = None
    time: int = 0


class ContractPosition(Record):
    """A Bit-Z position; the venue quotes every number. `direction` is "1" for long, "-1" for short."""

    position_id: str = "9"
    contract_id: str = "101"
    price: str = "7980.74"
    direction: str = "1"
    amount: str = "1500"
    liquidation_price: str = "7287.98"
    realized: str = "0.00010170"
    unrealized: str = "0.00044862"
    margin: str = "0.01930883"
    leverage: str = "10.00000000"
    is_cross: str = "-1"
    pair: str = "BTC_USD"


class Change(Record):
    """What the control API puts into one account's holdings. A position of size 0 and a record's same id replace."""

    venue: VenueName = "everstrike"
    api_key: str
    positions: tuple[Position, ...] = ()
    orders: tuple[Order, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    fills: tuple[Fill, ...] = ()
    withdrawals: tuple[Withdrawal, ...] = ()
    balances: dict[str, Amount] = Field(default_factory=dict)
    contracts: tuple[ContractPosition, ...] | None = None
    net_positions: tuple[NetPosition, ...] = ()
    derivative_orders: tuple[DerivativeOrder, ...] = ()


class Settings(Record):
    """Settings of the whole simulator.

    `latency_ms` delays every response of a venue, after execution. `clock_offset_ms` is added to the real time.
    `keep_alive_seconds` is how long an idle connection is kept. `nested_orders` answers a close with
    `result.order`, which the venue's own client expects of an order reply, instead of a flat `result`.
    """

    latency_ms: int = Field(default=0, ge=0)
    clock_offset_ms: int = 0
    keep_alive_seconds: int = Field(default=75, ge=0)
    nested_orders: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """A mutating request that took effect: `seq` grows by one with each, `fields` are the form fields as received."""

    seq: int
    time_ms: int
    path: str
    api_key: str
    fields: dict[str, str]


@dataclass(slots=True)
class Arrival:
    """A completely received request. Not frozen, because `status` and `executed` are set when it is answered.

    `timestamp_ms` and `age_ms` (arrival minus timestamp) are null where the request carries no usable timestamp;
    `signature_ok` is null where the venue asks for none; `fault` is the kind of the fault applied, or how a rate limit
    refused it (`limited`: it exceeded the limit; `banned`: it came during a ban); `status` stays
    null when no status line was sent, or the bytes of a `raw` fault; `executed` is true once a mutating request changed
    the accounts. `monotonic` is the second of its arrival on the monotonic clock, which all processes of a machine
    share; `target` is what a request is about: an order, by its id or by the client's own, else a pair, an asset or a
    contract.
    """

    seq: int
    time_ms: int
    method: str
    path: str
    api_key: str | None
    timestamp_ms: int | None
    age_ms: int | None
    signature_ok: bool | None
    peer_port: int
    fault: str | None = None
    status: int | None = None
    executed: bool = False
    monotonic: float = 0.0
    target: str | None = None
