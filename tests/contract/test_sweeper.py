"""The sweep for lost messages, on a real server."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from producers.intents import INTENTS_KEY, MESSAGES_KEY, Intent, write_intents
from producers.report import Outcome, Reason, Report
from tests.servers import Server
from tests.twins import START_MS, TurnedClock
from worker.execution.lost_commands import BATCH, DEAD_KEY, LOCK_KEY, LostCommandPublisher
from worker.ledger.base import Begun, Busy, Claim, Ended, Progress
from worker.ledger.connection import connect
from worker.ledger.redis import RedisLedger

INTENT = Intent("1", "orders.close", {"account": "main", "pair": "P"}, START_MS)


class Bench:
    """A sweeper over a queue that tests describe."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.clock = TurnedClock()
        self.oldest: int | None = None
        self.published: list[Intent] = []
        self.sweeper = LostCommandPublisher(
            ledger=client,
            clock=self.clock,
            oldest_queued=lambda _: self.oldest,
            publish=self.published.append,
            patience_seconds=30,
        )

    def sweep(self) -> int:
        """Sweep, with the lock of the last sweep gone."""
        self.client.delete(LOCK_KEY)
        return self.sweeper.publish_lost()


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


CLAIM = Claim("1", "f" * 64, "close", "main", repeatable=True, token="a", lease_ms=1000)
REPORT = Report(
    command_id="1", command="close", outcome=Outcome.ACCEPTED, reason=Reason.OK, message="m", fingerprint="f" * 64
)


def test_what_has_begun_is_not_until_it_is_long_overdue(bench: Bench) -> None:
    """Its worker may have died, and the broker have lost its message too: then nothing else would end it."""
    bench.clock.ms = time.time_ns() // 1_000_000  # the server's
    ledger = RedisLedger(bench.client)
    assert isinstance(ledger.begin(CLAIM, 1), Begun)
    bench.clock.turn(31)
    assert bench.sweep() == 0
    bench.clock.turn(150)
    assert bench.sweep() == 1
    assert isinstance(ledger.begin(replace(CLAIM, token="b"), 1), Begun | Busy)
    assert bench.published == [INTENT]


@pytest.mark.parametrize("paused", [False, True])
def test_what_has_ended_is_not(bench: Bench, paused: bool) -> None:
    """The end takes the intent away, and so does whoever finds the end when the id is sent again."""
    ledger = RedisLedger(bench.client)
    assert isinstance(ledger.begin(CLAIM, 1), Begun)
    if paused:
        assert ledger.pause(CLAIM, Progress(tries=1, sent=1), 1000)
    assert bench.client.exists(INTENTS_KEY, MESSAGES_KEY) == 2
    assert ledger.settle(CLAIM, REPORT) == REPORT
    assert bench.client.exists(INTENTS_KEY, MESSAGES_KEY) == 0
    write_intents(bench.client, [INTENT])
    assert isinstance(ledger.begin(replace(CLAIM, token="b"), 1), Ended)
    assert bench.client.exists(INTENTS_KEY, MESSAGES_KEY) == 0


def test_what_is_refused_or_abandoned_is_not(bench: Bench) -> None:
    """Any other end too."""
    ledger = RedisLedger(bench.client)
    refused = REPORT.model_copy(update={"outcome": Outcome.NOT_SENT})
    assert ledger.refuse(CLAIM, refused) is None
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
    assert bench.sweeper.publish_lost() == 0


def test_the_first_intent_of_an_id_stands(bench: Bench) -> None:
    """A second command under the same id is a reused id; the first one must not disappear for it."""
    write_intents(bench.client, [Intent("1", "orders.withdraw", {}, START_MS + 5)])
    bench.clock.turn(31)
    bench.sweep()
    assert bench.published == [INTENT]


BAD_INTENTS: dict[str, bytes | None] = {
    "no JSON": b"what?",
    "no text": b"\xff\xfe",
    "no message": None,
    "a task that is a list": b'{"task": ["x"], "kwargs": {}, "enqueued_at": 1}',
    "a task that is no command": b'{"task": "celery.accumulate", "kwargs": {}, "enqueued_at": 1}',
    "arguments that are none": b'{"task": "orders.close", "kwargs": [], "enqueued_at": 1}',
    "a time without end": b'{"task": "orders.close", "kwargs": {}, "enqueued_at": 1e999}',
    "nested too deeply": b"[" * 20_000,
    "longer than a message": b'{"task": "orders.close", "kwargs": {"pair": "%s"}, "enqueued_at": 1}' % (b"x" * 60_000),
}


@pytest.mark.parametrize("case", BAD_INTENTS)
def test_a_bad_intent_costs_itself(bench: Bench, caplog: pytest.LogCaptureFixture, case: str) -> None:
    """It is kept with the dead and told of once; every other is published."""
    bad, name = BAD_INTENTS[case], "0"
    if bad is not None:
        bench.client.hset(MESSAGES_KEY, name, bad)
    bench.client.zadd(INTENTS_KEY, {name: START_MS - 1})
    bench.clock.turn(31)
    assert bench.sweep() == 1
    assert bench.published == [INTENT]
    bench.clock.turn(31)
    bench.sweep()
    assert caplog.text.count("went to orders:intents.dead") == 1
    (kept, *more) = bench.client.lrange(DEAD_KEY, 0, -1) or ["{}"]
    assert not more
    assert json.loads(kept).get("intent") == (bad and bad.decode("utf-8", "backslashreplace"))
    assert bench.client.zrange(INTENTS_KEY, 0, -1) == ["1"]


@pytest.mark.parametrize("name", [b"\xff", b"a\nb", b""])
def test_an_intent_of_an_id_that_is_no_word_costs_itself(bench: Bench, name: bytes) -> None:
    """No message of it would be executed, and nobody else's waits for it."""
    bench.client.hset(MESSAGES_KEY, name, INTENT.to_json())
    bench.client.zadd(INTENTS_KEY, {name: START_MS - 1})
    bench.clock.turn(31)
    assert bench.sweep() == 1
    assert bench.client.zrange(INTENTS_KEY, 0, -1) == ["1"]


def test_thousands_of_bad_intents_are_a_few_lines(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """And they stand before the good one for some sweeps only."""
    bench.client.zadd(INTENTS_KEY, {f"bad-{number}": START_MS - 1 for number in range(2 * BATCH)})
    bench.clock.turn(31)
    assert [bench.sweep() for _ in range(3)] == [0, 0, 1]
    assert len(caplog.records) == 3


def test_nobody_postpones_an_intent_for_ever(bench: Bench) -> None:
    """A time to come that no command needs counts from now."""
    bench.client.zadd(INTENTS_KEY, {"1": 9e15})
    assert bench.sweep() == 0
    bench.clock.turn(31)
    assert bench.sweep() == 1


def test_an_intent_that_can_not_be_published_costs_itself(bench: Bench) -> None:
    """Whatever it is that goes wrong with it; a broker that is away is another matter."""
    bench.sweeper._publish = lambda _: int("no number")
    bench.clock.turn(31)
    assert bench.sweep() == 0
    assert bench.client.exists(INTENTS_KEY, MESSAGES_KEY) == 0
    assert bench.client.llen(DEAD_KEY) == 1
