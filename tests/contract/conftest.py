"""What contract tests share: a server, and an operator and a reconciler beside a venue that shows what a test says."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
import redis

from producers.commands import Close, Command, parse_command
from producers.report import Outcome, Report
from tests.model.conformance import InMemory, OnServer, UnderTest, report
from tests.support.fakes import TurnedClock
from tests.support.servers import Server, server
from worker.execution.intake import stored_arguments
from worker.ledger.base import Begun, Claim, Ledger
from worker.ledger.connection import connect
from worker.ledger.journal import Journal
from worker.ledger.redis import RedisLedger
from worker.operations.operator import OperatorService
from worker.reconciliation.reconciler import Reconciler
from worker.reconciliation.store import ReconcileStore
from worker.reconciliation.window import ReconcileLimits
from worker.venues.accounts import Account, Credentials
from worker.venues.records import VenueOrder, VenueSnapshot, Window

__all__ = ["server"]
ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials("key-of-main", "secret-of-main"))
CLOSE = {"account": "main", "pair": "P", "qty": "0.5"}
WITHDRAW = {"account": "main", "asset": "ETH", "qty": "1", "address": "0xabc"}


@contextmanager
def configured(client: redis.Redis, **settings: str) -> Iterator[None]:
    """Change settings of the server for a while."""
    names = {name.replace("_", "-"): value for name, value in settings.items()}
    before = client.config_get(*names)
    client.config_set(*(each for pair in names.items() for each in pair))
    try:
        yield
    finally:
        client.config_set(*(each for pair in before.items() for each in pair))


@pytest.fixture(params=["memory", "redis"])
def under_test(request: pytest.FixtureRequest) -> Iterator[UnderTest]:
    """Each of the two ledgers, empty."""
    if request.param == "memory":
        yield InMemory()
        return
    client = request.getfixturevalue("client")
    with configured(client, appendfsync="no"):
        yield OnServer(client, disk_ms=0)


@pytest.fixture
def ledger(under_test: UnderTest) -> Ledger:
    return under_test.ledger


@dataclass
class ScriptedReads:
    """A venue that shows what the test puts there."""

    clock: TurnedClock
    shown: VenueSnapshot = field(default_factory=VenueSnapshot)
    offset: int | None = 0  # how far its clock is ahead of ours, ms; None when it does not tell its time
    windows: list[Window] = field(default_factory=list)

    def visit(self, account: Account) -> Self:
        return self

    def read(self, wanted: Any) -> None:
        """Nothing is read before it is looked for."""

    def time(self) -> int | None:
        return None if self.offset is None else self.clock.now_ms() + self.offset

    def snapshot(self, command: Command, window: Window) -> VenueSnapshot:
        self.windows.append(window)
        return self.shown


class OperatorFixture:
    """An operator and a reconciler over one empty server."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.clock = TurnedClock(ms=time.time_ns() // 1_000_000)
        self.ledger = RedisLedger(self.client)
        self.desk = OperatorService(self.client, self.ledger, self.clock)
        self.reads = ScriptedReads(self.clock)
        self.published: list[Report] = []

    def reconcile(self, command_id: str = "x", **changes: Any) -> str:
        """What a fresh reconciler, as another process would have, says of a command: finding, outcome and words."""
        found = self.reconciler(**changes).one(command_id)
        return f"{found.finding}, {found.outcome}: {found.words}"

    def reconciler(self, **changes: Any) -> Reconciler:
        parts: dict[str, Any] = {
            "ledger": self.ledger,
            "store": ReconcileStore(self.client),
            "journal": Journal(self.client),
            "accounts": {"main": ACCOUNT},
            "reads": {"everstrike": self.reads},
            "clock": self.clock,
            "limits": ReconcileLimits(settle_seconds=60, apart_seconds=30, arrival_seconds=15),
            "publish": self.published.append,
        }
        return Reconciler(**{**parts, **changes})

    def begin(self, command_id: str, **arguments: Any) -> Claim:
        """A send that has begun: of a close, unless the arguments are a withdrawal's."""
        command = parse_command("orders.withdraw" if "address" in arguments else "orders.close", arguments or CLOSE)
        stored = stored_arguments(command)
        claim = Claim(command_id, command.fingerprint, command.name, "main", False, "token", 5_000, stored)
        assert isinstance(self.ledger.begin(claim, 1), Begun)
        return claim

    def end(self, claim: Claim, outcome: Outcome = Outcome.UNKNOWN, **changes: Any) -> Report:
        """A send that has ended, unknown unless said otherwise."""
        times = dict.fromkeys(("first_sent_at", "last_signed_at", "finished_at"), self.clock.now_ms())
        of = {"command_id": claim.command_id, "command": claim.command, "fingerprint": claim.fingerprint}
        venue = {"account": "main", "venue": "everstrike", "http_status": 502, "attempts": 1}
        ended = report(outcome.value, **{**times, **of, **venue, **changes})
        assert self.ledger.settle(claim, ended) == ended
        return ended

    def unknown(self, command_id: str, **arguments: Any) -> Report:
        """An open unknown."""
        return self.end(self.begin(command_id, **arguments))

    def show(self, *order_ids: str) -> None:
        """The venue shows orders such as the close makes, now."""
        qty, now = Close.model_validate(CLOSE).qty, self.clock.now_ms()
        assert qty is not None
        like = ("P", "SELL", "MARKET", None, qty, "COMPLETED", now, True)
        self.reads.shown = VenueSnapshot(orders=tuple(VenueOrder(each, *like, {"id": each}) for each in order_ids))

    def journal(self, command_id: str | None = None) -> list[dict[str, str]]:
        return [entry.fields for entry in self.desk.journal(command_id)]

    def events(self, command_id: str | None = None) -> list[str]:
        """What the journal says happened."""
        return [fields["event"] for fields in self.journal(command_id)]


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    """A client of an empty ledger."""
    server.flush()
    with connect(server.url(2)) as made:
        yield made


@pytest.fixture
def broker(server: Server) -> Iterator[redis.Redis]:
    """A client of an empty broker."""
    server.flush()
    with redis.Redis(port=server.port) as made:
        yield made


@pytest.fixture
def operator(client: redis.Redis) -> OperatorFixture:
    return OperatorFixture(client)
