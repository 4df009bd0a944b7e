"""Parked messages: they stand at the server, keep no place in a worker, and come again when they are due.

The fallback look is an hour away in these tests: what does not come by its due time does not come at all.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection

from tests.integration.channel_rig import OURS, Broker, consumer, drain, turn, until
from tests.integration.test_channel_gate import PRIORITY, message

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

QUEUE, NEVER, HOUR_MS = "orders.close", 3600, 3_600_000


def patient(broker: Broker, *queues: str, **options: Any) -> AbstractContextManager[tuple[Any, list[Any]]]:
    """A consumer that takes only when it is told that something is there, or knows that something is due."""
    given = {"polling_interval": NEVER, "visibility_timeout": NEVER, "gated_queues": (QUEUE, "celery"), **options}
    return consumer(broker, *(queues or (QUEUE,)), **given)


def park(one: Any, wait_ms: int, **changes: Any) -> bool:
    """Park a delivered message as it came."""
    given = {"wait_ms": wait_ms, "waits_for": "retry", **changes}
    return bool(one.channel.qos.park(one.delivery_tag, one.raw_bytes, **given))


def server_ms(broker: Broker) -> int:
    seconds, micros = broker.db().time()
    return int(seconds * 1000 + micros // 1000)


def test_a_parked_message_keeps_no_place_and_comes_when_it_is_due(broker: Broker) -> None:
    """The one that is due first comes first, as it was given; none comes early, and what is not due stays."""
    db = broker.db()
    db.lpush(QUEUE, *(message(tag) for tag in ("first", "second", "late")))
    with patient(broker) as (connection, messages):
        qos = connection.default_channel.qos
        qos.prefetch_count = 3
        drain(connection, messages, 3)
        began = server_ms(broker)
        assert [park(one, wait) for one, wait in zip(messages, (300, 310, HOUR_MS), strict=True)] == [True] * 3
        assert qos.can_consume_max_estimate() == 3
        assert not db.exists("unacked", "unacked_index", QUEUE)
        assert db.hget(f"{QUEUE}.parked.messages", "late").split()[0] == "retry"
        drain(connection, messages, 5)
        assert server_ms(broker) >= began + 310
        assert [one.delivery_tag for one in messages[3:]] == ["first", "second"]
        assert [one.raw_bytes.decode() for one in messages[3:]] == [message("first"), message("second")]
        for one in messages[3:]:
            one.ack()
    assert db.zrange(f"{QUEUE}.parked", 0, -1) == ["late"]
    assert int(db.get(f"{QUEUE}.parked.next")) == int(db.zscore(f"{QUEUE}.parked", "late"))
    assert not db.exists("unacked", f"{QUEUE}.waiting")


def test_another_worker_learns_from_its_take_what_is_due(broker: Broker) -> None:
    """The worker that parked it is gone; the next one takes it at its time."""
    broker.db().lpush(QUEUE, message("one"))
    with patient(broker) as (connection, messages):
        drain(connection, messages, 1)
        park(messages[0], 400)
    with patient(broker) as (connection, messages):
        drain(connection, messages, 1)
        messages[0].ack()


def test_parking_wakes_no_idle_worker(broker: Broker) -> None:
    """Also one that has put due messages back itself: the server tells only of what can be taken."""
    db = broker.db()
    with patient(broker) as (connection, messages), patient(broker) as (idle, others):
        db.lpush(QUEUE, message("one"))
        drain(connection, messages, 1)
        park(messages[0], 1)
        drain(connection, messages, 2)
        turn(idle)
        turn(idle)
        for _ in range(3):
            park(messages[-1], HOUR_MS)
            db.lpush("orders.cancel", message("next"))
            db.lpush(QUEUE, message("next"))
            drain(connection, messages, len(messages) + 1)
        for each in (connection, idle):
            turn(each)
        calls = db.info("commandstats")["cmdstat_evalsha"]["calls"]
        park(messages[-1], HOUR_MS)
        for each in (idle, connection):
            turn(each)
        assert db.info("commandstats")["cmdstat_evalsha"]["calls"] == calls + 1
        assert not others


def test_two_parked_messages_with_one_tag_are_both_kept(broker: Broker) -> None:
    """The sender chooses a message's tag."""
    db = broker.db()
    with patient(broker) as (connection, messages):
        for number in range(3):
            db.lpush(QUEUE, message("same", x=number))
            drain(connection, messages, number + 1)
            assert park(messages[-1], 200)
        drain(connection, messages, 6)
        assert sorted(json.loads(one.raw_bytes)["x"] for one in messages[3:]) == [0, 1, 2]
        for one in messages[3:]:
            one.ack()
    assert not db.exists("unacked", f"{QUEUE}.parked", f"{QUEUE}.parked.messages", f"{QUEUE}.parked.next")


def test_messages_whose_times_are_gone_come_at_once(broker: Broker) -> None:
    """Should anybody have deleted that key; what has its time keeps it."""
    db = broker.db()
    db.lpush(QUEUE, *(message(f"one-{number}") for number in range(120)), message("late"))
    with patient(broker) as (connection, messages):
        drain(connection, messages, 121)
        assert all(park(one, HOUR_MS) for one in messages[:120])
        db.delete(f"{QUEUE}.parked")
        assert park(messages[120], HOUR_MS)
    with patient(broker, polling_interval=0.05) as (connection, messages):
        drain(connection, messages, 120)
        for one in messages:
            one.ack()
    assert {one.delivery_tag for one in messages} == {f"one-{number}" for number in range(120)}
    assert db.zrange(f"{QUEUE}.parked", 0, -1) == db.hkeys(f"{QUEUE}.parked.messages") == ["late"]


def test_what_another_worker_has_by_now_is_not_parked(broker: Broker) -> None:
    """Nothing is written; the place is free."""
    db = broker.db()
    db.lpush(QUEUE, message("one"))
    with patient(broker) as (connection, messages):
        drain(connection, messages, 1)
        db.delete("unacked", "unacked_index")
        assert park(messages[0], HOUR_MS) is False
        assert not db.exists(f"{QUEUE}.parked", f"{QUEUE}.parked.messages", f"{QUEUE}.waiting")
        assert not connection.default_channel.qos._delivered.keys() - connection.default_channel.qos._dirty


def test_a_message_that_the_taker_sent_for_its_account_is_next_again(broker: Broker) -> None:
    """It is put in front of its group, so that the order of arrival is kept."""
    db = broker.db()
    db.lpush(QUEUE, message("first"), message("second"))
    with patient(broker) as (connection, messages):
        drain(connection, messages, 1)
        assert park(messages[0], 1, whole_account=True)
        drain(connection, messages, 3)
        assert sorted(one.delivery_tag for one in messages) == ["first", "first", "second"]
        for one in messages[1:]:
            one.ack()
    assert not db.exists("unacked", QUEUE, f"{QUEUE}.waiting", f"{QUEUE}.waiting:?")


def test_a_message_of_a_priority_is_parked_at_its_queue(broker: Broker) -> None:
    """And comes again from there."""
    db = broker.db()
    db.lpush(f"{QUEUE}{PRIORITY}9", message("low"))
    with patient(broker) as (connection, messages):
        drain(connection, messages, 1)
        assert park(messages[0], 50)
        assert db.zcard(f"{QUEUE}.parked") == 1
        drain(connection, messages, 2)
        messages[1].ack()


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoilt", ["parked", "parked.messages", "parked.next", "waiting", "waiting:?"])
def test_a_key_of_another_type_loses_nothing_and_stops_nobody(broker: Broker, spoilt: str) -> None:
    """What can't be parked stays unacknowledged; what can't be put in its group goes in front of its queue."""
    db = broker.db()
    db.lpush(QUEUE, message("one"))
    options = {"polling_interval": 0.05, "visibility_timeout": NEVER}
    with patient(broker, **options) as (connection, messages):
        drain(connection, messages, 1)
        (db.lpush if spoilt == "parked.next" else db.set)(f"{QUEUE}.{spoilt}", "in the way")
        if spoilt in ("parked", "parked.messages"):
            assert park(messages[0], 10) is False
            assert db.hkeys("unacked") == ["one"]
            assert db.type(f"{QUEUE}.parked") == ("string" if spoilt == "parked" else "none")
        else:
            assert park(messages[0], 10) is True
            drain(connection, messages, 2)
            messages[1].ack()
        db.lpush(QUEUE, message("next"))
        drain(connection, messages, len(messages) + 1)
        assert messages[-1].delivery_tag == "next"


def test_a_full_server_parks_and_gives_back(broker: Broker) -> None:
    """A message that is parked takes the room that it had; nothing is refused, and nothing is lost."""
    db = broker.db()
    db.lpush(QUEUE, message("one"))
    try:
        with patient(broker) as (connection, messages):
            drain(connection, messages, 1)
            db.config_set("maxmemory", "1")
            assert park(messages[0], 20)
            drain(connection, messages, 2)
            assert db.hkeys("unacked") == ["one"]
            messages[1].ack()
    finally:
        db.config_set("maxmemory", "0")
    assert not db.exists("unacked", f"{QUEUE}.parked")


def test_a_message_is_parked_also_when_its_connection_is_lost() -> None:
    """By another connection; without a server it stays unacknowledged, and is delivered again."""
    with Broker() as broker:
        broker.db().lpush(QUEUE, message("one"), message("two"))
        with patient(broker) as (connection, messages):
            drain(connection, messages, 2)
            connection.collect()  # what Celery does with a lost connection
            assert park(messages[0], HOUR_MS)
            broker.kill()
            assert park(messages[1], HOUR_MS) is False
            broker.start()
        assert broker.db().zrange(f"{QUEUE}.parked", 0, -1) == ["one"]
        assert broker.db().hkeys("unacked") == ["two"]


def test_deleted_bookkeeping_is_made_again(broker: Broker) -> None:
    """The look that comes every second trusts no key but those that hold messages."""
    db = broker.db()
    db.lpush(f"{QUEUE}.waiting:?", message("waits"))
    db.hset(f"{QUEUE}.parked.messages", "tag", f"retry 1 ?\n{message('was parked')}")
    db.zadd(f"{QUEUE}.parked", {"tag": server_ms(broker) - 5000, "without a message": 5})
    with patient(broker) as (connection, messages):
        drain(connection, messages, 2)
        assert sorted(one.delivery_tag for one in messages) == ["waits", "was parked"]
        for one in messages:
            one.ack()
    assert not db.exists("unacked", f"{QUEUE}.parked", f"{QUEUE}.parked.messages", f"{QUEUE}.waiting")


def test_what_an_older_version_left_for_its_time_comes_back(broker: Broker) -> None:
    """It kept messages with an `eta` among the unacknowledged ones, under a time to come."""
    db = broker.db()
    db.hset("unacked", "postponed:1", f'[{message("old")}, "", "{QUEUE}"]')
    db.zadd("unacked_index", {"postponed:1": time.time() + 80_000})
    with Connection(broker.url(0), transport=OURS, transport_options={"visibility_timeout": -1}) as connection:
        connection.default_channel.qos.restore_visible(interval=1)
    until(lambda: db.llen(QUEUE) == 1, "it is back")
