"""What the demo does, and beside it what the contract says must come of it, written by hand."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from producers.commands import Cancel, Close, Command, Positions, Withdraw
from worker.simulator.faults import Fault, Kind
from worker.simulator.records import Change, Order, Position
from worker.simulator.simulator import DEMO_EVERSTRIKE_KEY

ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"

ID_REUSED = "IdReused"
"""What a sender is told, as an exception, about an id that belongs to another command; no outcome of a report."""


def properties() -> Change:
    """Beside what the simulator's demo account has anyway: 1 USD_BTC_PERP, 2 USD_ETH_PERP short, order-1, 10 ETH."""
    return Change(
        api_key=DEMO_EVERSTRIKE_KEY,
        positions=(Position(pair="USD_SOL_PERP", size=Decimal(30)),),
        # As of now: a record without a time proves nothing to a reconcile.
        orders=(Order(id="order-2", pair="USD_ETH_PERP", time=time.time_ns() // 1_000_000),),
    )


class Way(StrEnum):
    """How a scene's command is sent."""

    ONCE = "once"
    TOGETHER = "together"
    """Five times at once, under one id."""
    AGAIN = "again"
    """Under the id of an earlier scene, unchanged; done when the stored report came."""
    REUSED = "reused"
    """Under the id of an earlier scene, changed; done when the sender was told and the worker has refused it."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Arguments as a client sends them that knows nothing of our package."""

    task: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Effect:
    """How the simulator's book shows a command: requests at ``path`` with at least these fields."""

    path: str
    fields: Mapping[str, str] = field(default_factory=dict)
    query: bool = False
    """A query changes nothing: what is counted is how often it was answered."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the contract says."""

    outcome: str
    reason: str
    attempts: int
    effects: int
    """How often it is executed, or for a query answered."""
    replayed: bool | None = False
    """None: either is right."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One row of the table."""

    command_id: str
    title: str
    done: str
    """What is done to it, in words."""
    message: Command | Raw
    effect: Effect
    expected: Expected
    faults: tuple[Fault, ...] = ()
    way: Way = Way.ONCE


def _closed(pair: str, **fields: str) -> Effect:
    return Effect("/auth/close", {"pair": pair, **fields})


def _withdrawn(qty: str) -> Effect:
    return Effect("/auth/withdraw", {"asset": "ETH", "qty": qty, "address": ADDRESS})


def _withdraw(qty: str, deadline: int | None = None) -> Withdraw:
    return Withdraw(account="main", asset="ETH", qty=Decimal(qty), address=ADDRESS, deadline=deadline)


PLAIN = (
    Scene(
        "positions",
        "positions of main",
        "",
        Positions(account="main"),
        Effect("/active_positions", query=True),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
    Scene(
        "positions-bitz",
        "positions of archive (Bit-Z)",
        "",
        Positions(account="archive", contract_id=101),
        Effect("/Contract/getContractActivePositions", query=True),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
    Scene(
        "cancel",
        "cancel order-1",
        "",
        Cancel(account="main", order_id="order-1"),
        Effect("/auth/cancel", {"id": "order-1"}),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
    Scene(
        "close-all",
        "close all BTC",
        "",
        Close(account="main", pair="USD_BTC_PERP"),
        _closed("USD_BTC_PERP"),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
    Scene(
        "close-some",
        "close 0.5 ETH",
        "",
        Close(account="main", pair="USD_ETH_PERP", qty=Decimal("0.5")),
        _closed("USD_ETH_PERP", qty="0.5"),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
    Scene(
        "withdraw",
        "withdraw 0.25 ETH",
        "",
        _withdraw("0.25"),
        _withdrawn("0.25"),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
)

TROUBLED = (
    Scene(
        "storm",
        "close all SOL",
        "503 three times, then fine",
        Close(account="main", pair="USD_SOL_PERP"),
        _closed("USD_SOL_PERP"),
        Expected("accepted", "ok", attempts=4, effects=1),
        faults=(
            Fault(
                kind=Kind.ENVELOPE,
                path="close",
                where={"pair": "USD_SOL_PERP"},
                times=3,
                message="Service temporarily unavailable",
            ),
        ),
    ),
    Scene(
        "too-much",
        "close 50 ETH",
        'too much: 503 "Invalid request"',
        Close(account="main", pair="USD_ETH_PERP", qty=Decimal(50)),
        _closed("USD_ETH_PERP", qty="50"),
        Expected("rejected", "refused", attempts=1, effects=0),
    ),
    Scene(
        "bad-input",
        "close -1 ETH",
        "from a client that checks nothing",
        Raw("orders.close", {"account": "main", "pair": "USD_ETH_PERP", "qty": -1}),
        _closed("USD_ETH_PERP", qty="-1"),
        Expected("not_sent", "invalid", attempts=0, effects=0),
    ),
    Scene(
        "too-late",
        "withdraw 1 ETH",
        "its deadline has passed",
        _withdraw("1", deadline=1_000_000_000_000),  # in 2001
        _withdrawn("1"),
        Expected("not_sent", "expired", attempts=0, effects=0),
    ),
    Scene(
        "lost-reply",
        "withdraw 0.5 ETH",
        "executed, but its reply is lost",
        _withdraw("0.5"),
        _withdrawn("0.5"),
        Expected("unknown", "lost_reply", attempts=1, effects=1),
        faults=(Fault(kind=Kind.CUT_AFTER, path="withdraw", where={"qty": "0.5"}),),
    ),
    Scene(
        "lost-cancel",
        "cancel order-2",
        'reply lost, then told "not found"',
        Cancel(account="main", order_id="order-2"),
        Effect("/auth/cancel", {"id": "order-2"}),
        Expected("unknown", "refused_after_lost", attempts=2, effects=1),
        faults=(Fault(kind=Kind.CUT_AFTER, path="cancel", where={"id": "order-2"}),),
    ),
)

REPEATED = (
    Scene(
        "five-at-once",
        "withdraw 0.125 ETH",
        "five times at once, one id",
        _withdraw("0.125"),
        _withdrawn("0.125"),
        # The report of the one that was executed, or what one of the other four was told: whichever was stored first.
        Expected("accepted", "ok", attempts=1, effects=1, replayed=None),
        way=Way.TOGETHER,
    ),
    Scene(
        "lost-reply",
        "withdraw 0.5 ETH",
        "the lost one again, same id",
        _withdraw("0.5"),
        _withdrawn("0.5"),
        Expected("unknown", "lost_reply", attempts=1, effects=1, replayed=True),
        way=Way.AGAIN,
    ),
    Scene(
        "withdraw",
        "withdraw 9 ETH",
        "under the id of the 0.25 ETH",
        _withdraw("9"),
        _withdrawn("9"),
        Expected(ID_REUSED, "", attempts=0, effects=0),
        way=Way.REUSED,
    ),
)

SCENES = (*PLAIN, *TROUBLED, *REPEATED)
