"""Looking at what waits beside a queue's own list, on a real server."""

from typing import Any

import pytest
import redis
from celery import Celery

from tests.support.parked_messages import message, park
from tests.support.servers import Server
from worker.broker import parked, stats
from worker.broker.parked import ParkedGroup, ParkedMessage, WaitingGroup
from worker.broker.stats import BrokerProbe, oldest_queued

KEY = "p:orders.close"


@pytest.fixture
def filled(broker: redis.Redis) -> redis.Redis:
    park(broker, KEY, "a", "retry", "main", 1000, 5000)
    park(broker, KEY, "b", "retry", "main", 900, 7000)
    park(broker, KEY, "c", "eta", "?", 2000, 6000)
    for group, turn, count in (("main", 1, 3), ("bz", 2, 1)):
        broker.zadd(f"{KEY}.waiting", {group: turn})
        for number in range(count):
            broker.lpush(f"{KEY}.waiting:{group}", message(str(number), enqueued_at=1_700_000_000_000 + number))
    return broker


@pytest.mark.parametrize("page", [1000, 2, 1])
def test_everything_is_counted_and_the_first_are_listed(
    filled: redis.Redis, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """However many pages it takes."""
    monkeypatch.setattr(parked, "PAGE", page)
    found = parked.look(filled, KEY, most=10, lines=2)
    assert (found.parked, found.next_due) == (3, 5000)
    assert {*found.groups} == {ParkedGroup("retry", "main", 2, 900, 5000), ParkedGroup("eta", "?", 1, 2000, 6000)}
    assert found.messages == (
        ParkedMessage("a", "retry", "main", 1000, 5000),
        ParkedMessage("c", "eta", "?", 2000, 6000),
    )
    assert found.waiting == (WaitingGroup("main", 3, 1_700_000_000_000), WaitingGroup("bz", 1, 1_700_000_000_000))
    assert found.overdue_ms == found.now - 5000


def test_one_group_alone(filled: redis.Redis) -> None:
    found = parked.look(filled, KEY, lines=10, group="main")
    assert [each.group for each in found.groups] == ["main"]
    assert [each.command_id for each in found.messages] == ["a", "b"]


def test_no_more_is_read_than_was_asked_for(filled: redis.Redis) -> None:
    found = parked.look(filled, KEY, most=1, lines=5)
    assert (found.parked, sum(each.count for each in found.groups), len(found.messages)) == (3, 1, 1)


def test_nothing_waits(broker: redis.Redis) -> None:
    found = parked.look(broker, KEY, lines=5)
    assert (found.parked, found.next_due, found.overdue_ms, found.groups, found.waiting) == (0, None, 0, (), ())


def test_what_somebody_has_spoilt_is_shown_without_its_text(broker: redis.Redis) -> None:
    """A record without its form, a message that is none, a tag without a record, and a time that is none."""
    broker.zadd(f"{KEY}.parked", {"spoilt": 1000, "gone": 2000, "none": 3000})
    broker.hset(f"{KEY}.parked.messages", mapping={"spoilt": "secret", "none": "retry 5 main\nsecret"})
    broker.zadd(f"{KEY}.waiting", {"main": 1, "empty": 2})
    broker.lpush(f"{KEY}.waiting:main", message("x", enqueued_at="soon"))
    found = parked.look(broker, KEY, lines=5)
    assert found.messages == (
        ParkedMessage("", "?", "?", 1000, 1000),
        ParkedMessage("", "?", "?", 2000, 2000),
        ParkedMessage("", "retry", "main", 5, 3000),
    )
    assert found.waiting == (WaitingGroup("main", 1, None), WaitingGroup("empty", 0, None))


def test_the_probe_counts_what_is_parked_and_what_waits_by_account(filled: redis.Redis) -> None:
    filled.lpush(KEY, message("in the queue", enqueued_at=1_600_000_000_000))
    queue = BrokerProbe(filled, ["orders.close"], "p:")().queues["orders.close"]
    assert (queue.waiting, queue.oldest_enqueued_at_ms) == (5, 1_600_000_000_000)
    assert (dict(queue.parked), queue.overdue_ms > 1_600_000_000_000) == ({"retry": 2, "eta": 1}, True)
    filled.delete(KEY)
    filled.zadd("p:orders.lanes", {"main/x": 1})
    assert BrokerProbe(filled, ["orders.close"], "p:")().lanes == 1
    queue = BrokerProbe(filled, ["orders.close"], "p:")().queues["orders.close"]
    assert (queue.waiting, queue.oldest_enqueued_at_ms) == (4, 1_700_000_000_000)


def test_a_message_that_a_take_sorts_out_meanwhile_is_not_overlooked(
    server: Server, filled: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would count as lost, and its lane go on without it."""
    app = Celery(broker=server.url(0))
    app.conf.broker_transport_options = {"global_keyprefix": "p:"}
    filled.delete(f"{KEY}.waiting", f"{KEY}.waiting:main", f"{KEY}.waiting:bz")
    filled.lpush(KEY, message("one", enqueued_at=1_700_000_000_000))
    look = stats.state_of

    def sort_out(answer: list[Any]) -> Any:
        filled.zadd(f"{KEY}.waiting", {"main": 1})
        filled.lmove(KEY, f"{KEY}.waiting:main")
        return look(answer)

    monkeypatch.setattr(stats, "state_of", sort_out)
    assert oldest_queued(app)("orders.close") == 1_700_000_000_000


def test_behind_a_message_that_does_not_say_its_age_there_may_be_any(server: Server, filled: redis.Redis) -> None:
    """Nothing then counts as lost, whatever the other accounts' messages say; a group without messages says nothing."""
    app = Celery(broker=server.url(0))
    app.conf.broker_transport_options = {"global_keyprefix": "p:"}
    ask = oldest_queued(app)
    assert ask("orders.close") == 1_700_000_000_000
    filled.rpush(f"{KEY}.waiting:main", *(message("put back", enqueued_at=1_700_000_060_000) for _ in range(12)))
    filled.delete(f"{KEY}.waiting:bz")
    assert ask("orders.close") == 1_700_000_000_000
    filled.rpush(f"{KEY}.waiting:main", message("no Python's"))
    assert ask("orders.close") == 0
    filled.delete(f"{KEY}.waiting:main")
    assert ask("orders.close") is None
    filled.lpush(KEY, message("new", enqueued_at=1_800_000_000_000))
    assert ask("orders.close") == 1_800_000_000_000


def test_a_probe_reads_so_many_and_counts_the_rest(broker: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1002):
        park(broker, KEY, str(number), "retry", "main", 1000, 5000 + number)
    probe = BrokerProbe(broker, ["orders.close"], "p:")
    assert dict(probe().queues["orders.close"].parked) == {"retry": 1002}
    monkeypatch.setattr(stats, "MOST_PARKED", 1001)
    assert dict(probe().queues["orders.close"].parked) == {"retry": 1001, "other": 1}
