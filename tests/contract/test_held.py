"""Held commands at a real server: which are published again, and what comes of keys that somebody has spoilt."""

import pytest
import redis

from tests.model.conformance import HOLD, claim, report
from worker.execution.held_commands import AGAIN_MS, UNREADABLE_MS, HeldCommandPublisher
from worker.ledger.base import Begun, LedgerUnavailable
from worker.ledger.held_queue import LOCK_KEY, HeldQueue
from worker.ledger.holds import Held, HoldOver
from worker.ledger.keys import HELD_KEY
from worker.ledger.redis import RedisLedger


class Published:
    """A broker that takes messages, and on whose behalf a test may refuse one."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.ids: list[str] = []
        self.errors: dict[str, Exception] = {}

    def __call__(self, command_id: str, message: str) -> None:
        if command_id in self.errors:
            raise self.errors[command_id]
        assert message == HOLD.message
        self.ids.append(command_id)

    def publish_due(self) -> list[str]:
        """The ids of what a worker publishes now, for which no other worker has looked just before."""
        self.client.delete(LOCK_KEY)
        before = len(self.ids)
        HeldCommandPublisher(HeldQueue(self.client), self, 1.0).publish_due()
        return self.ids[before:]

    def due_in(self, command_id: str) -> int:
        """Milliseconds, by the server's clock."""
        return int(self.client.zscore(HELD_KEY, command_id) or 0) - HeldQueue(self.client).now_ms()


@pytest.fixture
def ledger(client: redis.Redis) -> RedisLedger:
    return RedisLedger(client, disk_ms=0)


@pytest.fixture
def published(client: redis.Redis, ledger: RedisLedger) -> Published:
    """Four commands are held, and two persons have decided about three of them."""
    for command_id in ("a", "b", "c", "d"):
        assert isinstance(ledger.begin(claim(command_id, hold=HOLD), 1), Held)
    for command_id in ("a", "b", "c"):
        assert ledger.decide(command_id, "f" * 64, who="anna", kid="1", event="approved", signed="word")
    return Published(client)


def test_what_is_decided_is_published_and_again_if_nothing_comes_of_it(published: Published) -> None:
    assert (published.publish_due(), published.publish_due()) == (["a", "b", "c"], [])
    assert 0 < published.due_in("a") <= AGAIN_MS
    published.client.zadd(HELD_KEY, {"a": 1})
    assert published.publish_due() == ["a"]


def test_one_worker_publishes_at_a_time(published: Published) -> None:
    published.client.set(LOCK_KEY, "1")
    assert HeldCommandPublisher(HeldQueue(published.client), published, 1.0).publish_due() == 0


def test_what_is_not_held_any_more_leaves_the_queue(published: Published, ledger: RedisLedger) -> None:
    """A worker takes it out itself; this is for what somebody has put there."""
    ledger.begin(claim("begun"), 1)
    published.client.zadd(HELD_KEY, {"begun": 1, "nobody": 1})
    assert published.publish_due() == ["a", "b", "c"]
    assert published.client.zrange(HELD_KEY, 0, -1) == ["a", "b", "c", "d"]


def test_a_message_that_cannot_be_published_stops_no_other(published: Published) -> None:
    published.errors["b"] = ValueError("it is no command")
    published.client.set("orders:command:x", "no record")
    published.client.zadd(HELD_KEY, {"x": 1})
    assert published.publish_due() == ["a", "c"]
    assert AGAIN_MS < published.due_in("b") <= UNREADABLE_MS


def test_a_broker_that_is_away_is_tried_again_at_once(published: Published) -> None:
    published.errors["b"] = OSError("away")
    with pytest.raises(OSError, match="away"):
        published.publish_due()
    published.errors.clear()
    assert sorted(published.publish_due()) == ["b", "c"]


def test_a_spoilt_queue_holds_nothing_and_stops_nothing_else(client: redis.Redis, ledger: RedisLedger) -> None:
    """Nobody would publish again what is held there, so it is refused. What is held already is still ended."""
    ledger.begin(claim("held", hold=HOLD), 1)
    client.delete(HELD_KEY)
    client.set(HELD_KEY, "x")
    assert ledger.begin(claim("new", hold=HOLD), 1) == HoldOver(0)
    assert ledger.read("new") is None
    assert isinstance(ledger.begin(claim("close", command="close"), 1), Begun)
    assert ledger.refuse(claim("held"), report("not_sent")) is None
    with pytest.raises(LedgerUnavailable):
        HeldQueue(client).due(1)


def test_so_many_are_held_and_no_more(client: redis.Redis, ledger: RedisLedger) -> None:
    ledger.begin(claim("held", hold=HOLD), 1)
    client.zadd(HELD_KEY, {str(number): 1 for number in range(999)})
    assert ledger.begin(claim("new", hold=HOLD), 1) == HoldOver(0)
    assert isinstance(ledger.begin(claim("held", hold=HOLD), 1), Held)


def test_the_message_is_kept_no_longer_than_it_is_held(client: redis.Redis, ledger: RedisLedger) -> None:
    for command_id in ("begun", "ended"):
        ledger.begin(claim(command_id, hold=HOLD), 1)
        assert client.hget(f"orders:command:{command_id}", "message") == HOLD.message
    ledger.begin(claim("begun"), 1)
    ledger.refuse(claim("ended"), report("not_sent"))
    assert client.hget("orders:command:begun", "message") is client.hget("orders:command:ended", "message") is None
