"""What is sent: the four commands, each recognisable at the venue, by a client that knows Celery and the contract."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from celery import Celery

from tests.support.checker.processes import KEYS, Sent
from worker.simulator.records import Change, Order, Position

PAIR = "USD_BTC_PERP"
"""Where positions are closed in part: each close by a quantity of its own."""
WEIGHTS = {"withdraw": 30, "close_part": 15, "close_limit": 5, "close_whole": 15, "cancel": 15, "positions": 20}
DEADLINES = 0.05
"""Share of commands that carry one."""


class Mix:
    """Commands in a mix, the same for the same seed; no two of them alike at the venue."""

    def __init__(
        self,
        seed: int,
        weights: Mapping[str, int] | None = None,
        *,
        deadlines: float = DEADLINES,
        accounts: Sequence[str] = (*KEYS,),
    ) -> None:
        """Mixes with different seeds below a million share nothing either."""
        self._random = random.Random(seed)
        self._weights = dict(WEIGHTS if weights is None else weights)
        self._deadlines = deadlines
        self._accounts = accounts
        self._made = seed * 1_000_000

    def take(self, count: int) -> list[Sent]:
        """The next so many."""
        return [self._one() for _ in range(count)]

    def _one(self) -> Sent:
        kind = self._random.choices([*self._weights], [*self._weights.values()])[0]
        self._made += 1
        task, kwargs = getattr(self, f"_{kind}")(self._made)
        account = self._accounts[self._made % len(self._accounts)]
        kwargs = {"account": account.upper() if kind == "close_limit" else account, **kwargs}
        if self._random.random() < self._deadlines:
            kwargs["deadline"] = int(time.time() * 1000) + self._random.randrange(1000, 20_000)
        return Sent(str(UUID(int=self._random.getrandbits(128), version=4)), task, kwargs)

    def _withdraw(self, number: int) -> tuple[str, dict[str, Any]]:
        marker = f"0x{self._random.getrandbits(64):016x}"
        qty = own_quantity(number)
        return "orders.withdraw", {"asset": "ETH", "qty": qty, "address": f"{marker}-{number}"}

    def _close_part(self, number: int) -> tuple[str, dict[str, Any]]:
        return "orders.close", {"pair": PAIR, "qty": own_quantity(number)}

    def _close_limit(self, number: int) -> tuple[str, dict[str, Any]]:
        return "orders.close", {"pair": PAIR, "qty": own_quantity(number), "price": 101.5}

    def _close_whole(self, number: int) -> tuple[str, dict[str, Any]]:
        return "orders.close", {"pair": f"P_{number}"}

    def _cancel(self, number: int) -> tuple[str, dict[str, Any]]:
        return "orders.cancel", {"order_id": f"order-{number}"}

    def _positions(self, number: int) -> tuple[str, dict[str, Any]]:
        if self._random.random() < 0.5:
            return "orders.positions", {"pair": PAIR}
        return "orders.positions", {"account": "bz", "contract_id": 101}


def own_quantity(number: int) -> str:
    """A quantity that no other command has."""
    return f"0.{number:012d}"


def stage(venue: Any, commands: Iterable[Sent]) -> None:
    """Give the venue what these commands need: a position for each whole close, an order for each cancel, funds."""
    by_account: dict[str, list[Sent]] = {account: [] for account in KEYS}
    for command in commands:
        by_account.setdefault(str(command.kwargs["account"]).lower(), []).append(command)
    now = int(time.time() * 1000)
    for account, key in KEYS.items():
        wanted = by_account[account]
        pairs = [each.kwargs["pair"] for each in wanted if each.kind == "close" and "qty" not in each.kwargs]
        orders = [each.kwargs["order_id"] for each in wanted if each.kind == "cancel"]
        venue.change(
            Change(
                api_key=key,
                positions=tuple(
                    Position(pair=pair, size=Decimal(10**9 if pair == PAIR else 1)) for pair in (PAIR, *pairs)
                ),
                orders=tuple(Order(id=order, pair=PAIR, time=now) for order in orders),
                balances={"ETH": Decimal(10**9)},
            )
        )


@dataclass
class Sender:
    """A plain Celery client: it knows names, queues and JSON. What it is not sure to have sent it sends again."""

    broker_url: str
    sent: dict[str, Sent] = field(default_factory=dict)
    first_at: dict[str, float] = field(default_factory=dict)
    """When each was enqueued, UNIX seconds: from then on it must not be lost."""
    repeated: int = 0
    """How often a publication failed, or may have, and was made again."""
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._app = Celery("elsewhere", broker=self.broker_url, set_as_current=False)
        self._app.conf.task_ignore_result = True
        self._app.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 5}

    def send(self, command: Sent, copies: int = 1) -> None:
        """Send it, until that is certain."""
        self.sent[command.command_id] = command
        for _ in range(copies):
            while not self._try(command):
                self.repeated += 1
                if self.stopping.wait(0.05):
                    return
        self.first_at.setdefault(command.command_id, time.time())

    def send_all(self, commands: Iterable[Sent]) -> list[str]:
        """Send many; their ids."""
        ids = []
        for command in commands:
            self.send(command)
            ids.append(command.command_id)
        return ids

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

    def at_rate(self, commands: Iterator[Sent], rate: float, seconds: float, copies: Callable[[], int]) -> None:
        """Send so many a second for so long, catching up after an outage."""
        started = time.monotonic()
        for number, command in enumerate(commands):
            wait = started + number / rate - time.monotonic()
            if wait > 0:
                self.stopping.wait(wait)
            if self.stopping.is_set() or time.monotonic() - started >= seconds:
                return
            self.send(command, copies())

    def close(self) -> None:
        """Close its connections."""
        self._app.close()


def raw_copies(broker: Any, queue: str, count: int = 2) -> int:
    """Put the newest message of a queue onto it so many times more, byte for byte; how many there are now."""
    raw = broker.lindex(queue, 0)
    assert raw is not None, "the queue is empty"
    json.loads(raw)
    return int(broker.lpush(queue, *[raw] * (count - 1)))
