"""What can't be repeated begins only when replicas know of it, where that is asked for; everything else never waits."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
import redis

from producers.commands import Cancel, Close, Command, Positions, Submit, Withdraw
from tests.model.conformance import claim
from tests.support.servers import Server
from tests.support.waiting import until
from worker.execution.policy.ledger_server import ServerPolicy
from worker.ledger.base import Begun, LedgerUnavailable, Progress
from worker.ledger.connection import connect
from worker.ledger.keys import RECORD_KEY
from worker.ledger.redis import RedisLedger
from worker.operations.doctor.findings import Level
from worker.operations.doctor.ledger import check_replicas
from worker.operations.doctor.servers import Server as LedgerServer
from worker.settings import LedgerSettings


@dataclass
class Pair:
    """A server and its one replica."""

    primary: Server
    replica: Server

    def client(self) -> redis.Redis:
        """The primary's ledger."""
        return connect(self.primary.url(2))

    def until_followed(self, count: int) -> None:
        """Wait until so many replicas follow."""
        with self.client() as client:
            until(lambda: str(client.info("replication")).count("'state': 'online'") == count, "the replica")


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    """A server and its replica, both running."""
    with Server("--repl-diskless-sync-delay", "0") as primary:
        replica = Server("--replicaof", "127.0.0.1", str(primary.port))
        try:
            yield Pair(primary, replica.start())
        finally:
            replica.remove()


@pytest.fixture
def alone(servers: Pair) -> Pair:
    """An empty server whose replica was killed."""
    servers.primary.flush()
    if servers.replica.process is None:
        servers.replica.start()
    servers.until_followed(1)
    servers.replica.kill()
    servers.until_followed(0)
    return servers


def ledger(pair: Pair, within_ms: int = 100, **replicas: int) -> RedisLedger:
    """A ledger that waits for so many replicas, by command."""
    return RedisLedger(pair.client(), disk_ms=0, replicas=replicas, replicas_ms=within_ms)


@pytest.mark.parametrize("command", ["withdraw", "close", "submit"])
def test_a_command_that_needs_a_replica_does_not_begin_without_it(alone: Pair, command: str) -> None:
    """A failover would forget a send. Asked again when the replica is back, the begin is the same attempt."""
    waiting, patient = ledger(alone, **{command: 1}), ledger(alone, 4000, **{command: 1})
    with pytest.raises(LedgerUnavailable, match=f"0 of 1 replicas of the ledger confirmed a {command} within 100 ms"):
        waiting.begin(claim("1", command=command), 1)
    alone.replica.start()
    alone.until_followed(1)
    begun = patient.begin(claim("1", command=command), 1)
    assert isinstance(begun, Begun)
    assert (begun.fence, begun.progress) == (1, Progress(tries=1))
    with connect(alone.replica.url(2)) as there:
        assert there.exists(RECORD_KEY.format("1"))


@pytest.mark.parametrize(
    ("command", "repeatable"), [("close", True), ("cancel", True), ("close", False), ("withdraw", False)]
)
def test_other_commands_do_not_wait_for_replicas(alone: Pair, command: str, repeatable: bool) -> None:
    """Repeatable commands never wait for replicas, and others only where it is configured for them."""
    other = {"close": "withdraw", "withdraw": "close"}.get(command, "close")
    waiting = ledger(alone, **({"close": 1, "withdraw": 1} if repeatable else {other: 1}))
    assert isinstance(waiting.begin(claim("1", command=command, repeatable=repeatable), 1), Begun)


WHOLE, PART = Close(account="a", pair="P"), Close(account="a", pair="P", qty=Decimal(1))
PRICED = Close(account="a", pair="P", price=Decimal(1))
ORDER = Submit(account="a", pair="P", side="buy", qty=Decimal(1))
MONEY = Withdraw(account="a", asset="ETH", qty=Decimal(1), address="x")
OTHERS: list[Command] = [WHOLE, Cancel(account="a", order_id="1"), Positions(account="a")]


def test_commands_that_need_replicas_are_refused_while_replicas_are_away(
    alone: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """Each would hold a slot, and what reduces risk would wait behind it. The log tells it once for each kind."""
    policy = ServerPolicy(alone.client(), replicas=LedgerSettings(close_replicas=1).replicas)
    for _ in range(2):
        assert "0 of the 1 replicas" in (policy.refusal(PART) or "")
        assert "ORDERS_LEDGER__CLOSE_REPLICAS" in (policy.refusal(PRICED) or "")
        assert (policy.refusal(ORDER) or "").startswith("new orders are refused")
        assert [policy.refusal(each) for each in (MONEY, *OTHERS)] == [None] * 4
        policy.refresh()
    assert caplog.text.count("the ledger has 0 of 1 replicas: partial and priced closes are refused") == 1
    alone.replica.start()
    alone.until_followed(1)
    with caplog.at_level(logging.INFO, "orders.policy"):
        policy.refresh()
    assert [policy.refusal(each) for each in (PART, ORDER)] == [None, None]
    assert caplog.text.count("partial and priced closes are sent again") == 1
    assert "withdrawals" not in caplog.text


def test_the_doctor_tells_that_replicas_are_missing(alone: Pair) -> None:
    """The doctor reports a fault while commands are refused, and nothing where no replica is wanted."""
    server = LedgerServer("ledger", alone.primary.url(2))
    assert check_replicas(server, LedgerSettings()) == []
    found = check_replicas(server, LedgerSettings(close_replicas=1))
    assert [(each.level, each.message) for each in found] == [
        (Level.FAULT, f"0 of 1: {what} are refused") for what in ("partial and priced closes", "new orders")
    ]
    assert all("ORDERS_LEDGER__CLOSE_REPLICAS" in each.advice for each in found)
    alone.replica.start()
    alone.until_followed(1)
    found = check_replicas(server, LedgerSettings(withdraw_replicas=1, close_replicas=2))
    assert [each.level for each in found] == [Level.OK, Level.FAULT, Level.FAULT]
