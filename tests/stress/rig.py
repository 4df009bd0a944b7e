"""The rig: a server, two venues of their own, workers, and a sender that notes when it enqueued what."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import psutil

from producers.client import OrderClient
from producers.commands import Cancel, Close, Command
from producers.settings import QueueSettings
from tests.benchmarks.figures import spread
from tests.support.node import ROOT, running
from tests.support.servers import Server
from tests.support.stack import QUEUES, Ended, accounts, ended_from
from tests.support.waiting import until
from tests.support.workers import WorkerNode
from worker.simulator.control import SimulatorControl
from worker.simulator.records import Change, Order, Position
from worker.simulator.server import SimulatorServer

ALIASES = ("a", "b")
"""The accounts, each at a venue of its own."""
SECRET = "stress-secret-0123456789"
TURN = 500
"""Commands of one call of the client, and records of one of the simulator's."""


def key(alias: str) -> str:
    """The API key of an account."""
    return f"stress-key-{alias}-0123456789"


def now_ms() -> float:
    """Milliseconds on the monotonic clock, which all processes of the machine share."""
    return time.monotonic_ns() / 1e6


class Rig:
    """A context manager; its workers are those of the checkout ``worker_from``, started when it is entered."""

    def __init__(self, *, workers: int = 1, threads: int = 16, worker_from: Path = ROOT, **environment: str) -> None:
        self._workers, self._threads, self.worker_from = workers, threads, worker_from
        self._environment = environment
        self.server = Server()
        self.simulators = {alias: SimulatorServer() for alias in ALIASES}
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(TemporaryDirectory(prefix="orders-stress-")))
            stack.enter_context(self.server)
            for alias, simulator in self.simulators.items():
                stack.enter_context(simulator)
                simulator.control.account("everstrike", key(alias), SECRET)
            self.workers = [self._worker() for _ in range(self._workers)]
            stack.enter_context(running(*self.workers))
            self.broker, self.results, self.ledger = (
                stack.enter_context(self.server.client(database)) for database in range(3)
            )
            self.client = stack.enter_context(OrderClient(QueueSettings(redis_url=self.server.url())))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _worker(self) -> WorkerNode:
        rows = {a: ("everstrike", key(a), SECRET, simulator.url) for a, simulator in self.simulators.items()}
        settings = {"ORDERS_REDIS_URL": self.server.url(), **accounts(rows)}
        node = WorkerNode(self.folder, settings | self._environment, ("-P", "threads", "-c", str(self._threads)))
        node.cwd = self.worker_from
        return node

    def venue(self, alias: str) -> SimulatorControl:
        """The remote control of an account's venue."""
        return self.simulators[alias].control

    # -- sending ------------------------------------------------------------------------------------------------------

    def names(self, count: int) -> list[str]:
        """Names that nothing else has: of orders, pairs, addresses."""
        return [f"n-{next(self._numbers)}" for _ in range(count)]

    def closes(self, alias: str, count: int) -> list[Command]:
        """Closes of so many positions, each whole, which its venue has."""
        pairs = self.names(count)
        for page in batched(pairs):
            rows = tuple(Position(pair=pair, size=Decimal(1)) for pair in page)
            self.venue(alias).change(Change(api_key=key(alias), positions=rows))
        return [Close(account=alias, pair=pair) for pair in pairs]

    def cancels(self, alias: str, count: int, *, known: bool = True) -> list[Command]:
        """Cancels of so many orders; of none that its venue knows, unless ``known``."""
        orders = self.names(count)
        for page in batched(orders) if known else ():
            rows = tuple(Order(id=each, pair="USD_BTC_PERP", time=int(time.time() * 1000)) for each in page)
            self.venue(alias).change(Change(api_key=key(alias), orders=rows))
        return [Cancel(account=alias, order_id=each) for each in orders]

    def send(self, commands: Iterable[Command]) -> list[str]:
        """Enqueue them; their ids."""
        return [sent.command_id for page in batched(commands) for sent in self.client.enqueue_many(page)]

    def warm_up(self, count: int = 32) -> None:
        """Let every worker work for each account: modules are loaded, connections open, scripts known."""
        commands = [each for alias in ALIASES for each in self.cancels(alias, count * self._workers)]
        self.ends(self.send(commands))

    # -- what became of it --------------------------------------------------------------------------------------------

    def ends(self, command_ids: Sequence[str], seconds: float = 60.0) -> list[Ended]:
        """The commands' ends in their order, waited for."""
        found: dict[str, Ended] = {}

        def all_there() -> bool:
            missing = [each for each in command_ids if each not in found]
            for page in batched(missing):
                stored = self.results.mget([f"celery-task-meta-{each}" for each in page])
                ends = (ended_from(each, raw) for each, raw in zip(page, stored, strict=True))
                found.update((end.command_id, end) for end in ends if end is not None)
            return len(found) == len(command_ids)

        def lost() -> str:
            missing = [each for each in command_ids if each not in found]
            tails = "\n".join(worker.tail() for worker in self.workers)
            return f"the reports of {len(missing)} of {len(command_ids)} commands, {missing[:3]}\n{tails}"

        until(all_there, lost, seconds, every=0.1)
        return [found[each] for each in command_ids]

    def drained(self, seconds: float = 60.0) -> None:
        """Wait until nothing is queued, parked or unacknowledged."""

        def left() -> list[str]:
            names = [name for queue in QUEUES for name in (queue, f"{queue}.waiting", f"{queue}.parked")]
            return [name for name in (*names, "unacked") if self.broker.exists(name)]

        until(lambda: not left(), lambda: f"nothing left at the broker, and there is {left()}", seconds)

    def first_arrivals(self, alias: str) -> dict[str, float]:
        """When the first request about each order, pair or asset reached its venue, ms on the monotonic clock."""
        found: dict[str, float] = {}
        for each in self.venue(alias).arrivals():
            if each.target is not None:
                found.setdefault(each.target, each.monotonic * 1000)
        return found

    def memory_mb(self) -> float:
        """PSS of all workers together."""
        return sum(psutil.Process(worker.pid).memory_full_info().pss for worker in self.workers) / 1e6


class Stream:
    """Cancels sent at a steady rate, each of an order of its own; a context manager that ends the sending."""

    def __init__(self, rig: Rig, alias: str, rate: float, most: int) -> None:
        self._rig, self.alias, self._rate = rig, alias, rate
        self._commands = rig.cancels(alias, most)
        self.sent: dict[str, tuple[str, float]] = {}
        """By command id: the order's id, and when it was enqueued, see `now_ms`."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        due = time.monotonic()
        for command in self._commands:
            if self._over.wait(max(0.0, due - time.monotonic())):
                return
            began = now_ms()
            sent = self._rig.client.enqueue(command)
            self.sent[sent.command_id] = (command.arguments()["order_id"], began)
            due += 1 / self._rate

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Send no more."""
        self._over.set()
        self._thread.join()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def waits(self, arrivals: Mapping[str, float], until_ms: float = float("inf")) -> list[float]:
        """Milliseconds from enqueueing to the wire, of those that were enqueued until then."""
        return [arrivals[name] - began for name, began in self.sent.values() if began <= until_ms]


def batched(items: Iterable[Any], size: int = TURN) -> Iterator[list[Any]]:
    """The items, so many at a time."""
    remaining = iter(items)
    while page := list(itertools.islice(remaining, size)):
        yield page


def endings(ends: Iterable[Ended]) -> dict[str, int]:
    """How many ended with this outcome, reason and number of attempts."""
    counted = Counter("{}/{} x{}".format(*each.outcome, each.report["attempts"]) for each in ends)
    return dict(sorted(counted.items()))


def waits_in(waits: Sequence[float], name: str) -> dict[str, float]:
    """Number, p50, p99 and largest of some waits."""
    return {f"{name}_count": len(waits), **spread(waits, name)}


@contextmanager
def timed(figures: dict[str, Any], name: str, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Note how many seconds the block takes."""
    began = clock()
    yield
    figures[name] = clock() - began
