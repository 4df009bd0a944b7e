"""Messages that wait by account: a flood of one delays no other, and an account that has its share waits at the server.

The fallback look is an hour away in these tests: what nobody wakes a worker for does not come at all.
"""

from __future__ import annotations

import contextlib
import gc
import json
import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.channel_rig import Broker, consumer, drain, turn, until
from tests.integration.test_channel_gate import PRIORITY, message
from worker.broker import acks
from worker.broker.bulkhead import full

if TYPE_CHECKING:
    from collections.abc import Iterator

CANCEL, CLOSE, NEVER = "orders.cancel", "orders.close", 3600
ACCOUNTS = {"a": ("one", None), "b": ("two", None)}


@pytest.fixture(autouse=True)
def nothing_taken() -> None:
    """A process counts what it has until it is garbage; here another test may have left that."""
    acks.TAKEN.clear()
    acks.TIMED_BLOCKS.clear()


def of(account: str, tag: str, queue: str = CLOSE) -> str:
    body = b64encode(json.dumps([[], {"account": account}, {}]).encode()).decode()
    return message(tag, queue, body=body)


def flood(broker: Broker, account: str, count: int, queue: str = CLOSE) -> None:
    broker.db().lpush(queue, *(of(account, f"{account}{number}", queue) for number in range(count)))


@contextlib.contextmanager
def fair(broker: Broker, slots: int = 0, **options: Any) -> Iterator[tuple[Any, list[Any]]]:
    """A consumer with so many places, 0 for any number, that takes only when it is woken."""
    given = {"polling_interval": NEVER, "visibility_timeout": NEVER, "accounts": ACCOUNTS, **options}
    with consumer(broker, CANCEL, CLOSE, **{"gated_queues": (CANCEL, CLOSE), **given}) as (connection, messages):
        connection.transport.polling_interval = None  # kombu would sleep so long after a turn without a message
        connection.default_channel.qos.prefetch_count = slots
        yield connection, messages


def tags(messages: list[Any]) -> list[str]:
    return [one.delivery_tag for one in messages]


def settled(broker: Broker) -> bool:
    return not [key for key in broker.db().scan_iter() if not key.startswith("_kombu")]


def drain_acking(connection: Any, messages: list[Any], count: int) -> None:
    """Take messages until there are `count`, and acknowledge each. (`drain` sleeps between its turns.)"""
    done, idle = len(messages), 0
    while done < count:
        assert idle < 200, f"{done} of {count} messages"
        turn(connection)
        idle = idle + 1 if len(messages) == done else 0
        for one in messages[done:]:
            one.ack()
        done = len(messages)


# -- turns -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [0, 16])
def test_a_flood_delays_another_account_by_a_few_takes(broker: Broker, slots: int) -> None:
    """3,000 lie in front, of one account and of made-up ones; 200 are sorted in a take."""
    flood(broker, "a", 1500)
    broker.db().lpush(CLOSE, *(of(f"made-up-{number}", f"x{number}") for number in range(1500)))
    flood(broker, "b", 3)
    with fair(broker, slots) as (connection, messages):
        drain_acking(connection, messages, 30)
    places = [place for place, tag in enumerate(tags(messages)) if tag.startswith("b")]
    assert places[0] <= 3003 / 200 + 3
    assert places[2] <= places[0] + 6


@pytest.mark.parametrize("slots", [0, 16])
def test_the_order_of_arrival_is_kept_within_a_group(broker: Broker, slots: int) -> None:
    """And every message comes once."""
    flood(broker, "a", 120)
    broker.db().lpush(CLOSE, *(of(f"made-up-{number}", f"x{number}") for number in range(120)))
    flood(broker, "b", 10)
    with fair(broker, slots) as (connection, messages):
        drain_acking(connection, messages, 250)
    for first, count in (("a", 120), ("b", 10), ("x", 120)):
        assert [tag for tag in tags(messages) if tag.startswith(first)] == [f"{first}{n}" for n in range(count)]
    assert settled(broker)


@pytest.mark.parametrize("slots", [0, 16])
def test_a_short_queue_is_served_in_the_order_of_arrival(broker: Broker, slots: int) -> None:
    """Nothing waits apart."""
    broker.db().lpush(CLOSE, *(of(account, f"{account}{number}") for number in range(10) for account in "ab"))
    with fair(broker, slots) as (connection, messages):
        drain(connection, messages, 1)
        assert not broker.db().exists(f"{CLOSE}.waiting")
        messages[0].ack()
        drain_acking(connection, messages, 20)
    assert tags(messages) == [f"{account}{number}" for number in range(10) for account in "ab"]


def test_a_group_that_is_never_empty_and_one_that_often_is_take_turns(broker: Broker) -> None:
    """A group that comes again goes behind those that wait, whatever its name."""
    flood(broker, "b", 50)
    with fair(broker) as (connection, messages):
        for number in range(10):
            broker.db().lpush(CLOSE, of("a", f"a{number}"))
            drain_acking(connection, messages, len(messages) + 2)
    assert [tag[0] for tag in tags(messages)].count("b") >= 9


def test_queues_are_served_in_their_order_also_by_group(broker: Broker) -> None:
    """A cancel comes before all closes, and each priority of a queue is sorted."""
    db = broker.db()
    flood(broker, "a", 100)
    db.lpush(f"{CLOSE}{PRIORITY}9", of("b", "low"))
    with fair(broker) as (connection, messages):
        drain(connection, messages, 1)
        db.lpush(CANCEL, of("a", "cancel", CANCEL))
        drain(connection, messages, 4)
        assert "cancel" in tags(messages)[1:3]
        assert "low" in tags(messages)[1:4]
        for one in messages:
            one.ack()


# -- shares ------------------------------------------------------------------------------------------------------------


def test_an_account_that_has_its_share_waits_and_the_next_comes_when_one_ends(broker: Broker) -> None:
    """The other account's command, and a cancel of the same account, are taken meanwhile."""
    flood(broker, "a", 40)
    with fair(broker, slots=16) as (connection, messages):
        drain(connection, messages, 7)
        for _ in range(3):
            turn(connection)
        assert len(messages) == 7
        broker.db().lpush(CLOSE, of("b", "b0"))
        drain(connection, messages, 8)
        broker.db().lpush(CANCEL, of("a", "cancel", CANCEL))
        drain(connection, messages, 9)
        assert tags(messages)[7:] == ["b0", "cancel"]
        turn(connection)
        assert len(messages) == 9
        messages[8].ack()
        messages[0].ack()
        drain(connection, messages, 10)
        assert tags(messages)[-1] == "a7"
        messages[1].channel.qos.park(messages[1].delivery_tag, messages[1].raw_bytes, wait_ms=NEVER, waits_for="retry")
        drain(connection, messages, 11)
        messages[2].reject(requeue=False)
        drain(connection, messages, 12)
        assert tags(messages)[-1] == "a9"


def test_a_place_that_becomes_free_while_a_take_is_on_its_way_is_used(broker: Broker) -> None:
    """The take asked for no message of that account."""
    flood(broker, "a", 40)
    with fair(broker, slots=16) as (connection, messages):
        drain(connection, messages, 7)
        turn(connection)
        next_take = connection.default_channel.next_take
        next_take.stir()
        next_take.held_back = False
        connection.transport.cycle.on_poll_start()
        assert connection.default_channel._in_poll
        messages[0].ack()
        drain(connection, messages, 8)


def test_a_place_that_a_lost_connection_leaves_is_counted_until_its_command_ends(broker: Broker) -> None:
    """The command runs on; when nobody has its message any more, it counts no more."""
    flood(broker, "a", 40)
    with fair(broker, slots=16) as (connection, messages):
        drain(connection, messages, 7)
        connection.collect()  # what Celery does with a lost connection
        with fair(broker, slots=16) as (second, more):
            turn(second)
            turn(second)
            assert not more
            messages[0].ack()
            drain(second, more, 1)
            messages.clear()
            gc.collect()
            broker.db().lpush(CLOSE, of("a", "next"))
            drain(second, more, 2)


def test_a_group_that_is_blocked_for_a_time_is_taken_after_it(broker: Broker) -> None:
    """Nobody says that the time is over; another account, and another queue, are not blocked."""
    db = broker.db()
    db.lpush(CLOSE, of("a", "a0"), of("a", "a1"), of("b", "b0"))
    with fair(broker) as (connection, messages):
        drain(connection, messages, 1)
        messages[0].channel.qos.park("a0", messages[0].raw_bytes, wait_ms=500, waits_for="x", whole_account=True)
        drain(connection, messages, 2)
        db.lpush(CANCEL, of("a", "cancel", CANCEL))
        drain(connection, messages, 3)
        assert tags(messages)[1:] == ["b0", "cancel"]
        drain(connection, messages, 5)
        assert tags(messages)[3:] == ["a0", "a1"]
        for one in messages[1:]:
            one.ack()
    assert settled(broker)


def test_messages_that_are_put_back_are_next_in_their_group(broker: Broker) -> None:
    """A worker that closes gives its messages back; the others of the account wait behind them."""
    flood(broker, "a", 60)
    with fair(broker) as (connection, messages):
        drain(connection, messages, 1)
    with fair(broker) as (connection, messages):
        drain(connection, messages, 3)
    assert tags(messages)[0] == "a0"
    assert broker.db().lindex(f"{CLOSE}.waiting:a", -1) is not None
    with fair(broker) as (connection, messages):
        drain_acking(connection, messages, 60)
    assert sorted(tags(messages)[:3]) == ["a0", "a1", "a2"]
    assert settled(broker)


# -- waking ------------------------------------------------------------------------------------------------------------


def test_others_takes_wake_a_worker_that_waits_for_a_share_now_and_then(broker: Broker) -> None:
    """Each take of another worker changes what waits; a worker that may take none of it asks at most every 20 ms."""
    flood(broker, "a", 200)
    with fair(broker, slots=16) as (full, messages):
        drain(full, messages, 7)
        channel, next_take = full.default_channel, full.default_channel.next_take
        until(lambda: turn(full) or not (channel._in_poll or next_take.wanted), "the last take's answer")
        assert next_take.held_back
        next_take._not_before = float("inf")
        broker.db().zadd(f"{CLOSE}.waiting", {"a": 99})  # as a take does that leaves the turn to the next group
        until(lambda: turn(full) or next_take.wanted, "the server's word")
        assert not next_take.is_due()
        broker.db().lpush(CLOSE, of("b", "b"))
        drain(full, messages, 8)
        assert tags(messages)[-1] == "b"


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoilt", ["waiting", "waiting:a", "waiting:b", "waiting:?", "dead"])
def test_a_key_of_another_type_stops_nobody(broker: Broker, spoilt: str) -> None:
    """What can't be sorted is taken as it comes; what is behind the key waits until the key is gone."""
    db = broker.db()
    db.set(f"{CLOSE}.{spoilt}", "in the way")
    flood(broker, "a", 50)
    flood(broker, "b", 5)
    with fair(broker, polling_interval=0.05) as (connection, messages):
        drain_acking(connection, messages, 55)
    assert sorted(tags(messages)) == sorted([f"a{n}" for n in range(50)] + [f"b{n}" for n in range(5)])


@pytest.mark.parametrize("spoilt", ["unacked", "unacked_index"])
def test_what_can_not_be_recorded_stays_in_its_group(broker: Broker, spoilt: str) -> None:
    """In its place."""
    db = broker.db()
    flood(broker, "a", 40)
    db.set(spoilt, "in the way")
    with fair(broker, polling_interval=0.05) as (connection, messages):
        for _ in range(3):
            turn(connection)
        assert not messages
        assert db.llen(CLOSE) + db.llen(f"{CLOSE}.waiting:a") == 40
        db.delete(spoilt)
        drain_acking(connection, messages, 40)
    assert tags(messages) == [f"a{number}" for number in range(40)]


@pytest.mark.parametrize("slots", [0, 16])
def test_a_full_server_loses_nothing(broker: Broker, slots: int) -> None:
    """Sorting and taking go on; every message is there once."""
    db = broker.db()
    flood(broker, "a", 300)
    flood(broker, "b", 5)
    with fair(broker, slots) as (connection, messages):
        db.config_set("maxmemory", "1")
        try:
            drain_acking(connection, messages, 305)
        finally:
            db.config_set("maxmemory", "0")
    assert len(set(tags(messages))) == 305
    assert settled(broker)


def test_large_messages_and_junk_are_sorted_in_steps(broker: Broker) -> None:
    """256 KiB or two hundred messages a take; what is no command goes to the dead letters from its group."""
    db = broker.db()
    db.lpush(CLOSE, *(b"\xff" * 60_000 for _ in range(40)), of("b", "b0"), message("x", body='"' * 9000))
    with fair(broker) as (connection, messages):
        drain(connection, messages, 2)
        assert tags(messages)[0] == "b0"
        while db.llen(f"{CLOSE}.dead") < 40:
            turn(connection)
        for one in messages:
            one.ack()
    assert db.llen(f"{CLOSE}.dead") == 40


def test_places_are_freed_from_any_thread(broker: Broker) -> None:
    """Threads that end commands at the same time leave none counted."""
    flood(broker, "a", 60)
    with fair(broker, slots=16) as (connection, messages):
        taken = 0
        while taken < 60:
            drain(connection, messages, min(60, taken + 7))
            threads = [threading.Thread(target=one.ack) for one in messages[taken:]]
            taken = len(messages)
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not full(connection.default_channel.qos.room())
    assert settled(broker)
