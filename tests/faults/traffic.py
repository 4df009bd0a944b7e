"""What is sent: commands of all kinds, each known again at its venue, by a client that knows Celery and no more."""

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from celery import Celery

from tests.support.checker.commands import EXCHANGE_KEYS, KEYS, KRAKEN, VENUES, Sent
from worker.simulator.control import SimulatorControl
from worker.simulator.derivatives import DerivativeOrder, NetPosition
from worker.simulator.records import Change, Order, Position

PAIR = "USD_BTC_PERP"
"""Where positions are closed in part: each close by a quantity of its own."""
WEIGHTS = {"withdraw": 30, "close_part": 15, "close_limit": 5, "close_whole": 15, "cancel": 15, "positions": 20}
EXCHANGE_WEIGHTS = {"x_submit": 20, "x_limit": 5, "x_part": 20, "x_whole": 10, "x_cancel": 10}
"""Of commands at exchanges with client order ids."""
MARKETS = {
    venue: ("PF_XBTUSD", "PF_ETHUSD") if venue == KRAKEN else ("BTC-USDT-SWAP", "ETH-USDT-SWAP")
    for venue in {VENUES[alias] for alias in EXCHANGE_KEYS}
}
"""Of an exchange: where positions are closed in part; where orders at market open one, and closes end all of it."""
DEADLINES = 0.05
"""Share of commands that carry one."""


TASKS = {"x_submit": "submit", "x_limit": "submit", "x_part": "close", "x_whole": "close", "x_cancel": "cancel"}


class Mix:
    """Commands in a mix, the same for the same seed; no two of them alike at the venue."""

    def __init__(
        self,
        seed: int,
        weights: Mapping[str, int] = WEIGHTS,
        *,
        deadlines: float = DEADLINES,
        accounts: Sequence[str] = (*KEYS,),
    ) -> None:
        """Mixes with different seeds below a million share nothing either."""
        self._random = random.Random(seed)
        self._weights = weights
        self._deadlines = deadlines
        self.accounts = accounts
        self._made = seed * 1_000_000

    def take(self, count: int) -> list[Sent]:
        """The next so many."""
        return [self._one() for _ in range(count)]

    def _one(self) -> Sent:
        kind = self._random.choices([*self._weights], [*self._weights.values()])[0]
        self._made += 1
        kwargs = self._arguments(kind, self._made)
        accounts = (*EXCHANGE_KEYS,) if kind.startswith("x_") else self.accounts
        account = accounts[self._made % len(accounts)]
        kwargs = {"account": account.upper() if kind == "close_limit" else account, **kwargs}
        if self._random.random() < self._deadlines:
            kwargs["deadline"] = int(time.time() * 1000) + self._random.randrange(1000, 20_000)
        if kind.startswith("x_"):
            kwargs |= self._at_exchange(kind, VENUES[account], self._made)
        task = f"orders.{TASKS.get(kind, kind.partition('_')[0])}"
        return Sent(str(UUID(int=self._random.getrandbits(128), version=4)), task, kwargs)

    def _arguments(self, kind: str, number: int) -> dict[str, Any]:
        own_quantity = f"0.{number:012d}"
        match kind:
            case "withdraw":
                address = f"0x{self._random.getrandbits(64):016x}-{number}"
                return {"asset": "ETH", "qty": own_quantity, "address": address}
            case "close_part":
                return {"pair": PAIR, "qty": own_quantity}
            case "close_limit":
                return {"pair": PAIR, "qty": own_quantity, "price": 101.5}
            case "close_whole":
                return {"pair": f"P_{number}"}
            case "cancel":
                return {"order_id": f"order-{number}"}
            case "x_submit" | "x_limit" | "x_part" | "x_whole" | "x_cancel":
                return {}
        return {"pair": PAIR} if self._random.random() < 0.5 else {"account": "bz", "contract_id": 101}

    def _at_exchange(self, kind: str, venue: str, number: int) -> dict[str, Any]:
        """A client order id tells these commands apart: their amounts need not."""
        part, whole = MARKETS[venue]
        quantity = str(Decimal(number % 1000 + 1) / 100)
        match kind:
            case "x_submit":
                return {"pair": whole, "side": "buy", "qty": quantity}
            case "x_limit":
                return {"pair": part, "side": "buy", "qty": quantity, "price": "30000", "post_only": True}
            case "x_part":
                return {"pair": part, "qty": quantity, "recv_window": 2000}
            case "x_whole":
                return {"pair": whole}
        return {"order_id": str(10**18 + number), "pair": part}


def stage(venue: SimulatorControl, commands: Iterable[Sent]) -> None:
    """Give the venue what these commands need: a position for each whole close, an order for each cancel, funds."""
    commands = [*commands]
    for account in {each.account for each in commands} & EXCHANGE_KEYS.keys():
        stage_exchange(venue, account, commands)
    for account, key in KEYS.items():
        wanted = [each for each in commands if each.account == account]
        pairs = [each.kwargs["pair"] for each in wanted if each.kind == "close" and "qty" not in each.kwargs]
        orders = [each.kwargs["order_id"] for each in wanted if each.kind == "cancel"]
        positions = [
            Position(pair=PAIR, size=Decimal(10**9)),
            *(Position(pair=pair, size=Decimal(1)) for pair in pairs),
        ]
        venue.change(
            Change(
                api_key=key,
                positions=tuple(positions),
                orders=tuple(Order(id=order, pair=PAIR, time=int(time.time() * 1000)) for order in orders),
                balances={"ETH": Decimal(10**9)},
            )
        )


def stage_exchange(venue: SimulatorControl, account: str, commands: Iterable[Sent]) -> None:
    """Give an account at an exchange a position to be closed in part, and an order for each cancel."""
    part, _ = MARKETS[VENUES[account]]
    ids = [each.kwargs["order_id"] for each in commands if each.account == account and each.kind == "cancel"]
    venue.change(
        Change(
            venue="krakenfutures" if VENUES[account] == KRAKEN else "okx",
            api_key=EXCHANGE_KEYS[account],
            net_positions=(NetPosition(symbol=part, size=Decimal(10**6)),),
            derivative_orders=tuple(
                DerivativeOrder(id=each, symbol=part, side="buy", size=Decimal(1), price=Decimal(30000)) for each in ids
            ),
        )
    )


class Sender:
    """A plain Celery client: it knows names, queues and JSON. What it is not sure to have sent it sends again."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("elsewhere", broker=broker_url, set_as_current=False)
        self._app.conf.task_ignore_result = True
        self._app.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 5}

    def send(self, command: Sent, copies: int = 1) -> None:
        """Send it so many times, each until that is certain."""
        for _ in range(copies):
            while not self._try(command):
                time.sleep(0.05)

    def _try(self, command: Sent) -> bool:
        try:
            self._app.send_task(
                command.task,
                kwargs=dict(command.kwargs),
                task_id=command.command_id,
                queue=command.task,
                headers={"enqueued_at": int(time.time() * 1000)},
                retry=False,
            )
        except Exception:  # noqa: BLE001 - refused, cut off, no server: the publication may have happened, or not
            return False
        return True
