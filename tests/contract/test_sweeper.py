"""The sweep for lost messages, on a real server."""

import json
import time

import pytest
import redis

from producers.intents import EARLIER_OUTBOX_KEY, OUTBOX_KEYS, Intent, write_intents
from tests.model.conformance import claim, report
from tests.support.fakes import START_MS, TurnedClock
from worker.execution.lost_commands import BATCH, LOCK_KEYS, LostCommandPublisher
from worker.ledger.base import Begun, Busy, Ended, Progress
from worker.ledger.keys import DUE_KEYS
from worker.ledger.outbox import DEAD_KEY, PAGE
from worker.ledger.redis import RedisLedger

OUTBOX = OUTBOX_KEYS["orders.close"]
DUE = DUE_KEYS[OUTBOX]
INTENT = Intent("1", "orders.close", {"account": "main", "pair": "P"}, START_MS)
CLAIM = claim("1", command="close", repeatable=True, lease_ms=1000)


class SweeperFixture:
    """A sweeper over a queue that tests describe."""

    def __init__(self, client: redis.Redis) -> None:
        self.client, self.ledger = client, RedisLedger(client)
        self.clock = TurnedClock()
        self.oldest: int | None = None
        """When the oldest message of the queue was enqueued, UNIX ms: None for an empty queue, 0 where nobody knows."""
        self.published: list[Intent] = []
        self.served = {"orders.close", "orders.cancel"}
        self.sweeper = LostCommandPublisher(
            ledger=client,
            clock=self.clock,
            serves=lambda task: task in self.served,
            oldest_queued=lambda _: self.oldest,
            publish=self.published.append,
            patience_seconds=30,
        )

    def sweep(self, after_seconds: float = 0) -> int:
        """Sweep, with the lock of the last sweep gone."""
        self.clock.turn(after_seconds)
        self.client.delete(*LOCK_KEYS.values())
        return self.sweeper.publish_lost()

    def intended(self) -> bool:
        """Whether there is an intent; without one nothing is due either."""
        is_there = bool(self.client.exists(OUTBOX))
        assert is_there or not self.client.exists(DUE)
        return is_there


@pytest.fixture
def sweeping(client: redis.Redis) -> SweeperFixture:
    """A sweeper, and one intent that it has seen."""
    write_intents(client, [INTENT])
    sweeping = SweeperFixture(client)
    assert sweeping.sweep() == 0
    return sweeping


EMPTY = None
SWEEPS: dict[str, list[tuple[float, int | None, int]]] = {
    "what is lost, and again when that is lost too": [(0, EMPTY, 0), (31, EMPTY, 1), (0, EMPTY, 0), (31, EMPTY, 1)],
    "what is behind the messages of its time, as long as there are any": [
        (100, START_MS - 5_000, 0),
        (31, START_MS + 5_000, 0),
        (31, START_MS + 50_000, 1),
    ],
    "nothing of a broker that can't be asked, for it is no Redis": [(1_000, 0, 0)],
}


@pytest.mark.parametrize("published", SWEEPS)
def test_only_what_is_lost_is_published_again(sweeping: SweeperFixture, published: str) -> None:
    """It is published with its own id and arguments. A step has the seconds that pass, the oldest message of the queue,
    and how many are published then."""
    for seconds, sweeping.oldest, expected in SWEEPS[published]:
        assert sweeping.sweep(seconds) == expected
    assert sweeping.published == [INTENT] * sum(expected for _, _, expected in SWEEPS[published])


def test_what_has_begun_is_published_when_it_is_long_overdue(sweeping: SweeperFixture) -> None:
    """Its worker may have died and the broker may have lost its message: nothing else would end it then."""
    sweeping.clock.ms = time.time_ns() // 1_000_000  # the server's
    assert isinstance(sweeping.ledger.begin(CLAIM, 1), Begun)
    assert sweeping.sweep(31) == 0
    assert sweeping.sweep(150) == 1
    assert isinstance(sweeping.ledger.begin(claim("1", "2", command="close", repeatable=True), 1), Begun | Busy)
    assert sweeping.published == [INTENT]


@pytest.mark.parametrize("paused", [False, True])
def test_an_end_takes_the_intent_away(sweeping: SweeperFixture, paused: bool) -> None:
    """So does a begin that finds the end when the id is sent again."""
    ledger = sweeping.ledger
    assert isinstance(ledger.begin(CLAIM, 1), Begun)
    if paused:
        assert ledger.pause(CLAIM, Progress(tries=1, sent=1), 1000)
    assert sweeping.intended()
    assert ledger.settle(CLAIM, report()) == report()
    assert not sweeping.intended()
    write_intents(sweeping.client, [INTENT])
    sweeping.sweep()
    assert isinstance(ledger.begin(CLAIM, 1), Ended)
    assert not sweeping.intended()


def test_a_refusal_takes_the_intent_away_too(sweeping: SweeperFixture) -> None:
    assert sweeping.ledger.refuse(CLAIM, report("not_sent")) is None
    assert not sweeping.intended()


def test_one_worker_sweeps_at_a_time(sweeping: SweeperFixture) -> None:
    """Ten workers need not search for the same."""
    sweeping.clock.turn(31)
    sweeping.client.set(LOCK_KEYS[OUTBOX], "1")
    assert sweeping.sweeper.publish_lost() == 0


def test_the_first_intent_of_an_id_stands(sweeping: SweeperFixture) -> None:
    """A second command with the same id must not make the first one disappear."""
    write_intents(sweeping.client, [Intent("1", "orders.withdraw", {}, START_MS + 5)])
    sweeping.sweep(31)
    assert sweeping.published == [INTENT]


BAD_INTENTS: dict[str, bytes] = {
    "no JSON": b"what?",
    "no text": b"\xff\xfe",
    "nothing": b"",
    "a task that is a list": b'{"task": ["x"], "kwargs": {}, "enqueued_at": 1}',
    "a task that is no command": b'{"task": "celery.accumulate", "kwargs": {}, "enqueued_at": 1}',
    "arguments that are none": b'{"task": "orders.close", "kwargs": [], "enqueued_at": 1}',
    "a time without end": b'{"task": "orders.close", "kwargs": {}, "enqueued_at": 1e999}',
    "nested too deeply": b"[" * 20_000,
    "longer than a message": b'{"task": "orders.close", "kwargs": {"pair": "%s"}, "enqueued_at": 1}' % (b"x" * 60_000),
}


@pytest.mark.parametrize("case", BAD_INTENTS)
def test_a_bad_intent_costs_itself(sweeping: SweeperFixture, caplog: pytest.LogCaptureFixture, case: str) -> None:
    """It is moved to the dead intents and logged once, and every other intent is published."""
    bad, client = BAD_INTENTS[case], sweeping.client
    client.hset(OUTBOX, "0", bad)
    sweeping.sweep()
    assert sweeping.sweep(31) == 1
    assert sweeping.published == [INTENT]
    sweeping.sweep(31)
    assert caplog.text.count("went to orders:intents.dead") == 1
    (kept,) = map(json.loads, client.lrange(DEAD_KEY, 0, -1))
    assert kept.pop("intent", None) == (None if len(bad) > 32_768 else bad.decode("utf-8", "backslashreplace"))
    assert kept == {"id": "0", "bytes": len(bad)}
    assert client.hkeys(OUTBOX) == client.zrange(DUE, 0, -1) == ["1"]


@pytest.mark.parametrize("name", [b"\xff", b"a\nb", b"", b"x" * 300, b"x" * 2_000_000])
def test_an_intent_of_an_id_that_is_no_word_costs_itself(sweeping: SweeperFixture, name: bytes) -> None:
    """Its message could not be executed, and no other intent waits for it."""
    sweeping.client.hset(OUTBOX, name, INTENT.to_json())
    sweeping.sweep()
    assert sweeping.sweep(31) == 1
    assert sweeping.client.hkeys(OUTBOX) == sweeping.client.zrange(DUE, 0, -1) == ["1"]


def test_an_intent_in_the_outbox_of_another_command_is_not_published(sweeping: SweeperFixture) -> None:
    """A login may add to the outboxes of the commands that it may send, and the sweeper publishes with its own."""
    sweeping.client.hset(OUTBOX_KEYS["orders.cancel"], "0", INTENT.to_json())
    sweeping.sweep()
    assert sweeping.sweep(31) == 1
    assert sweeping.published == [INTENT]
    assert [json.loads(each)["id"] for each in sweeping.client.lrange(DEAD_KEY, 0, -1)] == ["0"]


def test_a_worker_publishes_what_it_could_execute_alone(sweeping: SweeperFixture) -> None:
    """Others' intents stay as they are, so that a login for closes need not be able to publish withdrawals."""
    withdrawal = Intent("2", "orders.withdraw", {"account": "main"}, START_MS)
    write_intents(sweeping.client, [withdrawal])
    sweeping.client.hset(EARLIER_OUTBOX_KEY, "2", withdrawal.to_json())
    sweeping.sweep()
    assert sweeping.sweep(31) == 1
    sweeping.served = {"orders.withdraw"}
    sweeping.sweep()
    assert sweeping.sweep(31) == 2
    assert [each.task for each in sweeping.published] == ["orders.close", "orders.withdraw", "orders.withdraw"]


def test_one_id_in_two_outboxes_is_published_for_both(sweeping: SweeperFixture) -> None:
    """The ledger tells that one of them is another command; neither keeps the other from being found."""
    other = Intent("1", "orders.cancel", {"account": "main", "order_id": "1"}, START_MS)
    write_intents(sweeping.client, [other])
    sweeping.sweep()
    assert sweeping.sweep(31) == 2
    assert sorted(each.task for each in sweeping.published) == ["orders.cancel", "orders.close"]


@pytest.mark.parametrize("outbox", [OUTBOX_KEYS["orders.cancel"], EARLIER_OUTBOX_KEY])
def test_an_outbox_of_another_type_stops_no_other(sweeping: SweeperFixture, outbox: str) -> None:
    sweeping.client.set(outbox, "x")
    sweeping.sweep()
    assert sweeping.sweep(31) == 1


def test_what_a_producer_of_the_version_before_enqueued_is_found(sweeping: SweeperFixture) -> None:
    sweeping.client.hset(EARLIER_OUTBOX_KEY, "0", INTENT.to_json())
    sweeping.sweep()
    assert sweeping.sweep(31) == 2
    assert sweeping.client.hexists(EARLIER_OUTBOX_KEY, "0")


def test_thousands_of_bad_intents_are_a_few_lines(sweeping: SweeperFixture, caplog: pytest.LogCaptureFixture) -> None:
    """They delay the good one for a few sweeps only."""
    sweeping.client.hset(OUTBOX, mapping={f"bad-{number}": "x" for number in range(2 * BATCH)})
    sweeping.sweep()
    sweeping.clock.turn(31)
    assert sum(sweeping.sweep() for _ in range(3)) == 1
    assert len(caplog.records) <= 4


def test_an_end_that_the_sweeper_did_not_see_leaves_nothing_due(sweeping: SweeperFixture) -> None:
    """What was due and is no intent any more is dropped without a word."""
    sweeping.client.hdel(OUTBOX, "1")
    assert sweeping.sweep(31) == 0
    assert not sweeping.intended()
    assert not sweeping.client.exists(DEAD_KEY)


def test_no_producer_decides_when_its_intent_is_checked(sweeping: SweeperFixture) -> None:
    """An intent is due from when it is seen first, whatever time its producer writes and wherever."""
    write_intents(sweeping.client, [Intent("2", "orders.close", INTENT.kwargs, 10**15 - 1)])
    sweeping.client.zadd("orders:intents", {"1": 9e15, "2": 9e15})  # where the previous version kept the times
    assert [sweeping.sweep(), sweeping.sweep(31)] == [0, 2]


def test_one_search_checks_many_more_intents_than_it_publishes(sweeping: SweeperFixture) -> None:
    """A lost command is found behind a backlog of another queue that is longer than any page."""
    write = [Intent(f"w{n}", "orders.withdraw", {"account": "main"}, START_MS) for n in range(2 * PAGE + 7)]
    write_intents(sweeping.client, write)
    sweeping.sweeper._oldest_queued = {"orders.withdraw": START_MS, "orders.close": None}.get
    sweeping.sweep()
    write_intents(sweeping.client, [Intent("2", "orders.close", {}, START_MS)])
    assert [sweeping.sweep(1), sweeping.sweep(31)] == [0, 2]
    assert sorted(each.command_id for each in sweeping.published) == ["1", "2"]
    assert sweeping.client.zcount(DUE, "-inf", sweeping.clock.ms - 1) == 0


def test_an_intent_that_can_not_be_published_costs_itself(sweeping: SweeperFixture) -> None:
    """Any error but that of a broker that is away counts against the intent."""
    sweeping.sweeper._publish = lambda _: int("no number")
    assert sweeping.sweep(31) == 0
    assert not sweeping.intended()
    assert sweeping.client.llen(DEAD_KEY) == 1
