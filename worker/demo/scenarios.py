"""The scenarios of the demo, each with the result that the contract demands, written by hand."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from producers.commands import Cancel, Close, Command, Positions, Submit, Withdraw
from worker.simulator.faults import Fault, Kind
from worker.simulator.records import Change, Order, Position
from worker.simulator.simulator import DEMO_EVERSTRIKE_KEY

ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"

ID_REUSED = "IdReused"
"""The exception for an id that belongs to another command; it is not an outcome of a report."""


def initial_holdings() -> Change:
    """What the scenarios need in addition to the demo account: 1 USD_BTC_PERP, 2 USD_ETH_PERP short, order-1, 10
    ETH. They leave USD_BTC_PERP open, which the example in README.md closes."""
    return Change(
        api_key=DEMO_EVERSTRIKE_KEY,
        positions=(
            Position(pair="USD_SOL_PERP", size=Decimal(30)),
            Position(pair="USD_LTC_PERP", size=Decimal(8)),
        ),
        # With the present time, because a record without a time proves nothing to a reconcile.
        orders=(Order(id="order-2", pair="USD_ETH_PERP", time=time.time_ns() // 1_000_000),),
    )


class SendMode(StrEnum):
    """How the command of a scenario is sent."""

    ONCE = "once"
    FIVE_TIMES = "five_times"
    """Five times at once, with one id."""
    REPEATED = "repeated"
    """With the id of an earlier scenario, unchanged; ends when the stored report has arrived."""
    ID_REUSED = "id_reused"
    """With the id of an earlier scenario, changed; ends when the sender has got an error and the worker has refused
    it."""


@dataclass(frozen=True, slots=True)
class RawMessage:
    """The arguments as sent by a client that does not use the project's package."""

    task: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Effect:
    """How the simulator shows a command: requests to ``path`` with at least these fields."""

    path: str
    fields: Mapping[str, str] = field(default_factory=dict)
    query: bool = False
    """A query changes nothing, so its responses are counted."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The result that the contract demands."""

    outcome: str
    reason: str
    attempts: int
    effects: int
    """How often the command is executed, or the query answered."""
    replayed: bool | None = False
    """None: either is right."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table."""

    command_id: str
    title: str
    done: str
    """What is done to the command, in words."""
    message: Command | RawMessage
    effect: Effect
    expected: Expected
    faults: tuple[Fault, ...] = ()
    mode: SendMode = SendMode.ONCE


def _close_effect(pair: str, **fields: str) -> Effect:
    return Effect("/auth/close", {"pair": pair, **fields})


def _submit(qty: str) -> Submit:
    return Submit(account="futures", pair="PF_XBTUSD", side="buy", qty=Decimal(qty), price=Decimal(30_000))


def _submit_effect(qty: str) -> Effect:
    return Effect("/derivatives/api/v3/sendorder", {"symbol": "PF_XBTUSD", "side": "buy", "size": qty})


def _withdraw_effect(qty: str) -> Effect:
    return Effect("/auth/withdraw", {"asset": "ETH", "qty": qty, "address": ADDRESS})


def _withdraw(qty: str, deadline: int | None = None) -> Withdraw:
    return Withdraw(account="main", asset="ETH", qty=Decimal(qty), address=ADDRESS, deadline=deadline)


SUCCESSFUL = (
    Scenario(
        "positions",
        "positions of main",
        "",
        Positions(account="main"),
        Effect("/active_positions", query=True),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
    Scenario(
        "positions-bitz",
        "positions of archive (Bit-Z)",
        "",
        Positions(account="archive", contract_id=101),
        Effect("/Contract/getContractActivePositions", query=True),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
    Scenario(
        "cancel",
        "cancel order-1",
        "",
        Cancel(account="main", order_id="order-1"),
        Effect("/auth/cancel", {"id": "order-1"}),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
    Scenario(
        "close-all",
        "close all LTC",
        "",
        Close(account="main", pair="USD_LTC_PERP"),
        _close_effect("USD_LTC_PERP"),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
    Scenario(
        "close-some",
        "close 0.5 ETH",
        "",
        Close(account="main", pair="USD_ETH_PERP", qty=Decimal("0.5")),
        _close_effect("USD_ETH_PERP", qty="0.5"),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
    Scenario(
        "withdraw",
        "withdraw 0.25 ETH",
        "",
        _withdraw("0.25"),
        _withdraw_effect("0.25"),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
    Scenario(
        "submit",
        "buy 0.01 BTC at Kraken",
        "",
        _submit("0.01"),
        _submit_effect("0.01"),
        Expected("accepted", "ok", attempts=1, effects=1),
    ),
)

FAULTY = (
    Scenario(
        "storm",
        "close all SOL",
        "503 three times, then fine",
        Close(account="main", pair="USD_SOL_PERP"),
        _close_effect("USD_SOL_PERP"),
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
    Scenario(
        "too-much",
        "close 50 ETH",
        'too much: 503 "Invalid request"',
        Close(account="main", pair="USD_ETH_PERP", qty=Decimal(50)),
        _close_effect("USD_ETH_PERP", qty="50"),
        Expected("rejected", "refused", attempts=1, effects=0),
    ),
    Scenario(
        "bad-input",
        "close -1 ETH",
        "from a client that checks nothing",
        RawMessage("orders.close", {"account": "main", "pair": "USD_ETH_PERP", "qty": -1}),
        _close_effect("USD_ETH_PERP", qty="-1"),
        Expected("not_sent", "invalid", attempts=0, effects=0),
    ),
    Scenario(
        "too-late",
        "withdraw 1 ETH",
        "its deadline has passed",
        _withdraw("1", deadline=1_000_000_000_000),  # in 2001
        _withdraw_effect("1"),
        Expected("not_sent", "expired", attempts=0, effects=0),
    ),
    Scenario(
        "lost-reply",
        "withdraw 0.5 ETH",
        "executed, but its reply is lost",
        _withdraw("0.5"),
        _withdraw_effect("0.5"),
        Expected("unknown", "lost_reply", attempts=1, effects=1),
        faults=(Fault(kind=Kind.CUT_AFTER, path="withdraw", where={"qty": "0.5"}),),
    ),
    Scenario(
        "lost-submit",
        "buy 0.02 BTC at Kraken",
        "executed, its reply is lost, found",
        _submit("0.02"),
        _submit_effect("0.02"),
        Expected("accepted", "ok", attempts=1, effects=1),
        faults=(Fault(kind=Kind.CUT_AFTER, path="submit", where={"size": "0.02"}),),
    ),
    Scenario(
        "lost-cancel",
        "cancel order-2",
        'reply lost, then "not found"',
        Cancel(account="main", order_id="order-2"),
        Effect("/auth/cancel", {"id": "order-2"}),
        Expected("unknown", "refused_after_lost", attempts=2, effects=1),
        faults=(Fault(kind=Kind.CUT_AFTER, path="cancel", where={"id": "order-2"}),),
    ),
)

DUPLICATES = (
    Scenario(
        "five-at-once",
        "withdraw 0.125 ETH",
        "five times at once, one id",
        _withdraw("0.125"),
        _withdraw_effect("0.125"),
        # The report of the execution, or its replay for one of the other four messages: whichever was stored first.
        Expected("accepted", "ok", attempts=1, effects=1, replayed=None),
        mode=SendMode.FIVE_TIMES,
    ),
    Scenario(
        "lost-reply",
        "withdraw 0.5 ETH",
        "the lost one again, same id",
        _withdraw("0.5"),
        _withdraw_effect("0.5"),
        Expected("unknown", "lost_reply", attempts=1, effects=1, replayed=True),
        mode=SendMode.REPEATED,
    ),
    Scenario(
        "withdraw",
        "withdraw 9 ETH",
        "under the id of the 0.25 ETH",
        _withdraw("9"),
        _withdraw_effect("9"),
        Expected(ID_REUSED, "", attempts=0, effects=0),
        mode=SendMode.ID_REUSED,
    ),
)

SCENARIOS = (*SUCCESSFUL, *FAULTY, *DUPLICATES)
