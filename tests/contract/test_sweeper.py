"""The sweep for lost messages, on a real server."""

from collections.abc import Iterator

import pytest
import redis

from producers.intents import INTENTS_KEY, MESSAGES_KEY, Intent, write_intents
from tests.servers import Server
from tests.twins import START_MS, TurnedClock
from worker.execution.ledger import Begun, Claim
from worker.execution.redis_ledger import RedisLedger, connect
from worker.execution.sweeper import LOCK_KEY, Sweeper

INTENT = Intent("1", "orders.close", {"account": "main", "pair": "P"}, START_MS)


class Bench:
    """A sweeper over a queue that tests describe."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.clock = TurnedClock()
        self.oldest: int | None = None
        self.published: list[Intent] = []
        self.sweeper = Sweeper(
            ledger=client,
            clock=self.clock,
            oldest_queued=lambda _: self.oldest,
            publish=self.published.append,
            patience_seconds=30,
        )

    def sweep(self) -> int:
        """Sweep, with the lock of the last sweep gone."""
        self.client.delete(LOCK_KEY)
        return self.sweeper.sweep()


@pytest.fixture
def bench(server: Server) -> Iterator[Bench]:
    """A sweeper, and one intent."""
    server.flush()
    client = connect(server.url(2))
    write_intents(client, [INTENT])
    yield Bench(client)
    client.close()


def test_what_is_lost_is_published_again(bench: Bench) -> None:
    """After its time, with its own id and arguments; and again when that is lost too."""
    assert bench.sweep() == 0
    bench.clock.turn(31)
    assert bench.sweep() == 1
    assert bench.sweep() == 0
    bench.clock.turn(31)
    assert bench.sweep() == 1
    assert bench.published == [INTENT, INTENT]


def test_what_has_begun_is_not(bench: Bench) -> None:
    """The first begin takes the intent away."""
    claim = Claim("1", "f" * 64, "close", "main", repeatable=True, token="a", lease_ms=1000)
    assert isinstance(RedisLedger(bench.client).begin(claim, 1), Begun)
    bench.clock.turn(31)
    assert bench.sweep() == 0
    assert bench.client.exists(INTENTS_KEY, MESSAGES_KEY) == 0


def test_a_backlog_is_no_loss(bench: Bench) -> None:
    """While its queue still holds messages of its time, a command waits its turn; behind them it is lost."""
    bench.clock.turn(100)
    bench.oldest = START_MS - 5000
    assert bench.sweep() == 0
    bench.clock.turn(31)
    bench.oldest = START_MS + 5000
    assert bench.sweep() == 0
    bench.clock.turn(31)
    bench.oldest = START_MS + 50_000
    assert bench.sweep() == 1


def test_a_queue_that_can_not_be_asked_loses_nothing(bench: Bench) -> None:
    """A broker that is no Redis: never taken for lost."""
    bench.clock.turn(1000)
    bench.oldest = 0
    assert bench.sweep() == 0


def test_one_worker_sweeps_at_a_time(bench: Bench) -> None:
    """Ten workers need not look at the same."""
    bench.clock.turn(31)
    bench.client.set(LOCK_KEY, "1")
    assert bench.sweeper.sweep() == 0


def test_the_first_intent_of_an_id_stands(bench: Bench) -> None:
    """A second command under the same id is a reused id; the first one must not disappear for it."""
    write_intents(bench.client, [Intent("1", "orders.withdraw", {}, START_MS + 5)])
    bench.clock.turn(31)
    bench.sweep()
    assert bench.published == [INTENT]


def test_an_intent_that_can_not_be_read_is_told_and_kept(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """And it keeps no other from being published."""
    bench.client.hset(MESSAGES_KEY, "0", "what?")
    bench.client.zadd(INTENTS_KEY, {"0": START_MS - 1})
    bench.clock.turn(31)
    assert bench.sweep() == 1
    assert "intent 0 can't be published again" in caplog.text
    assert bench.client.hget(MESSAGES_KEY, "0") == "what?"
