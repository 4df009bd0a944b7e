"""Takes that hand out several messages: each is treated as if it were the only one.

The fallback look is an hour away in these tests: what nobody wakes a worker for does not come at all.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.channel_rig import Broker, Proxy, consumer, drain, turn, until
from tests.integration.test_channel_gate import PRIORITY, message
from tests.integration.test_channel_groups import (
    ACCOUNTS,
    CANCEL,
    CLOSE,
    NEVER,
    drain_acking,
    fair,
    flood,
    nothing_taken,  # noqa: F401 - a fixture
    of,
    settled,
    tags,
)
from worker.broker.bulkhead import ALL, full
from worker.broker.take import TakingChannel

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

SLOTS = 16
SUBMIT = "orders.submit"


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages each take has handed out."""
    counts: list[int] = []
    process = TakingChannel._take_reply

    def count(channel: Any, *arguments: Any) -> list[list[Any]]:
        taken = process(channel, *arguments)
        counts.append(len(taken))
        return taken

    monkeypatch.setattr(TakingChannel, "_take_reply", count)
    return counts


def roomy(broker: Broker, slots: int = SLOTS, **options: Any) -> AbstractContextManager[tuple[Any, list[Any]]]:
    """A consumer without bulkheads."""
    return fair(broker, slots, **{"accounts": {}, **options})


def lane(tag: str, name: str) -> str:
    """A close of one account that asks for a lane."""
    body = "W1tdLHsiYWNjb3VudCI6ImEifSx7fV0="
    return message(tag, CLOSE, body=body, headers={"task": CLOSE, "id": tag, "orders_lane": name})


def test_a_take_fills_a_quarter_of_the_places_at_most(broker: Broker, takes: list[int]) -> None:
    """In the order of the queues, of their priorities and of arrival; another worker may take the rest of a burst."""
    db = broker.db()
    flood(broker, "a", 3)
    db.lpush(f"{CLOSE}{PRIORITY}9", of("a", "low"))
    db.lpush(CANCEL, of("a", "c0", CANCEL), of("a", "c1", CANCEL))
    with roomy(broker) as (connection, messages):
        drain(connection, messages, 6)
        assert (takes, tags(messages)) == ([4, 2], ["c0", "c1", "a0", "a1", "a2", "low"])
        flood(broker, "b", 20)
        drain(connection, messages, SLOTS)
        assert takes[2:] == [4, 4, 2]
        turn(connection)
        assert len(messages) == broker.db().hlen("unacked") == SLOTS
        for one in messages[:3]:
            one.ack()
        drain(connection, messages, SLOTS + 3)
        assert takes[5:] == [3]


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_few_places_are_filled_too(broker: Broker, slots: int) -> None:
    flood(broker, "a", 7)
    with roomy(broker, slots) as (connection, messages):
        drain_acking(connection, messages, 7)
    assert tags(messages) == [f"a{number}" for number in range(7)]


def test_all_come_back_in_their_order_when_the_channel_closes(broker: Broker) -> None:
    """While they are on their way: the answer is waited for."""
    flood(broker, "a", 5)
    with roomy(broker) as (connection, messages):
        connection.transport.cycle.on_poll_start()
        assert connection.default_channel._in_poll
    assert not messages
    assert not broker.db().exists("unacked", "unacked_index")
    with roomy(broker) as (connection, messages):
        drain_acking(connection, messages, 5)
    assert tags(messages) == [f"a{number}" for number in range(5)]


def proxied(proxy: Proxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0"


def lose_an_answer(broker: Broker, proxy: Proxy, connection: Any) -> None:
    """Cut the connection of an idle consumer when the server has handed out four messages."""
    proxy.hold()
    broker.db().lpush(CLOSE, *(of("a", f"a{number}") for number in range(4)))
    until(lambda: b"invalidate" in proxy.held, "the server's word")
    proxy.release()
    proxy.hold()
    until(lambda: turn(connection) or b"delivery_tag" in proxy.held, "the answer")
    proxy.cut()
    while True:
        turn(connection)


def test_all_come_again_once_when_their_answer_is_lost(broker: Broker) -> None:
    """By the next connection, and none of those that were taken by another take."""
    with Proxy(broker.port) as proxy, roomy(broker, url=(url := proxied(proxy))) as (connection, messages):
        flood(broker, "b", 1)
        drain(connection, messages, 1)
        turn(connection)
        with pytest.raises(connection.connection_errors):
            lose_an_answer(broker, proxy, connection)
        connection.collect()  # what Celery does with a lost connection
        with roomy(broker, url=url) as (second, again):
            drain(second, again, 4)
            assert sorted(tags(again)) == ["a0", "a1", "a2", "a3"]
            turn(second)
            assert len(again) == 4
            for one in (*messages, *again):
                one.ack()
    assert settled(broker)


def test_what_one_delivery_raises_keeps_none_of_the_others(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    flood(broker, "a", 4)
    with roomy(broker) as (connection, messages):
        channel = connection.default_channel
        deliver = channel._deliver_taken

        def fail(index: int, raw: bytes, tag: bytes, *rest: bytes) -> None:
            if tag in (b"a1", b"a2"):
                raise RuntimeError(tag)
            deliver(index, raw, tag, *rest)

        monkeypatch.setattr(channel, "_deliver_taken", fail)
        with pytest.raises(RuntimeError, match="a1"):
            drain(connection, messages, 4)
        assert tags(messages) == ["a0", "a3"]


def test_dead_letters_among_others(broker: Broker, takes: list[int]) -> None:
    """Each goes to the dead letters, and the others are delivered."""
    broker.db().lpush(CLOSE, of("a", "a0"), "junk", message("x", "orders.cancel"), of("a", "a1"))
    with roomy(broker) as (connection, messages):
        drain(connection, messages, 2)
        assert (takes, tags(messages)) == ([4], ["a0", "a1"])
    assert broker.db().llen(f"{CLOSE}.dead") == 2


def test_a_spoilt_key_costs_its_own_queue_alone(broker: Broker, takes: list[int]) -> None:
    """A take goes on behind it."""
    broker.db().set(CANCEL, "in the way")
    broker.db().set(f"{CLOSE}.dead", "in the way")
    broker.db().lpush(CLOSE, of("a", "a0"), of("a", "a1"), "junk", of("a", "a2"))
    with roomy(broker) as (connection, messages):
        drain(connection, messages, 2)
        assert (takes, tags(messages)) == ([2], ["a0", "a1"])
        assert broker.db().llen(CLOSE) == 2


def test_a_lane_lets_one_of_a_take_in(broker: Broker, takes: list[int]) -> None:
    """The others of it wait, and those of other lanes and of none pass."""
    broker.db().lpush(
        CLOSE, lane("x0", "x"), lane("x1", "x"), of("a", "a0"), lane("y0", "y"), lane("x2", "x"), of("a", "a1")
    )
    with roomy(broker) as (connection, messages):
        drain(connection, messages, 4)
        assert takes == [4]
        assert tags(messages) == ["lane:a/x x0", "a0", "lane:a/y y0", "a1"]
        assert broker.db().llen(f"{CLOSE}.lane:a/x") == 2
        for count, tag in ((0, "x1"), (4, "x2")):
            messages[count].ack()
            drain(connection, messages, len(messages) + 1)
            assert tags(messages)[-1] == f"lane:a/x {tag}"
        for one in (*messages[1:4], messages[5]):
            one.ack()
    assert settled(broker)


def test_of_other_services_queue_one_command_comes_at_a_time(broker: Broker, takes: list[int]) -> None:
    """A take searches it once; their messages stay."""
    foreign = message("foreign", "celery", headers={"task": "theirs", "id": "1"})
    commands = (message(f"t{number}", CLOSE) for number in range(3))
    broker.db().lpush("celery", *commands, foreign)
    options = {"gated_queues": ("celery",), "polling_interval": NEVER}
    with consumer(broker, "celery", **options) as (connection, messages):
        connection.transport.polling_interval = None
        connection.default_channel.qos.prefetch_count = SLOTS
        drain(connection, messages, 3)
        turn(connection)
        turn(connection)
    assert takes == [1, 1, 1, 0]


def test_due_messages_come_in_one_take(broker: Broker, takes: list[int]) -> None:
    flood(broker, "b", 4)
    with roomy(broker) as (connection, messages):
        drain(connection, messages, 4)
        for one in messages:
            one.channel.qos.park(one.delivery_tag, one.raw_bytes, wait_ms=300, waits_for="retry")
        drain(connection, messages, 8)
        assert sum(1 for count in takes if count) <= 3
        assert sorted(tags(messages)[4:]) == ["b0", "b1", "b2", "b3"]


# -- shares ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_no_share_is_exceeded_whatever_is_taken_together(broker: Broker, seed: int) -> None:
    """Each message could have been taken on its own, after those before it; and what may be taken is."""
    chance = random.Random(seed)
    accounts = {**ACCOUNTS, "c": ("two", 0.2), "d": ("three", 0.01)}
    queues = (CANCEL, CLOSE, SUBMIT, "other")
    db, sent = broker.db(), 0
    with consumer(broker, *queues, accounts=accounts, gated_queues=queues[:3], polling_interval=NEVER) as taking:
        connection, messages = taking
        connection.transport.polling_interval = None
        qos = connection.default_channel.qos
        qos.prefetch_count = SLOTS
        held: list[Any] = []
        checked = 0
        for _ in range(40):
            for _ in range(chance.randrange(8)):
                queue, account = (
                    chance.choices(queues, [1, 3, 6, 1])[0],
                    chance.choice(["a", "a", "b", "c", "d", "made-up"]),
                )
                db.lpush(queue, of(account, f"m{sent}", queue))
                sent += 1
            for _ in range(4):
                turn(connection)
                for one in messages[checked:]:
                    before = [(each.source_queue, each.group) for each in held]
                    shut = full(qos.bulkhead.room(queues, SLOTS, before, 0.0))
                    assert not shut & {(one.source_queue, one.group), (one.source_queue, ALL)}, (seed, before)
                    held.append(one)
                checked = len(messages)
            chance.shuffle(held)
            for one in held[: chance.randrange(len(held) + 1)]:
                one.ack()
                held.remove(one)
        while checked < sent:
            for one in held:
                one.ack()
            held.clear()
            drain(connection, messages, checked + 1)
            held += messages[checked:]
            checked = len(messages)
        for one in held:
            one.ack()
    assert Counter(tags(messages)) == Counter(f"m{number}" for number in range(sent))
    assert settled(broker)


def test_an_accounts_last_places_are_given_away_once(broker: Broker, takes: list[int]) -> None:
    """Seven of sixteen for closes: two are free, and many wait; the other account's are taken in the same take."""
    flood(broker, "a", 40)
    with fair(broker, slots=SLOTS) as (connection, messages):
        drain(connection, messages, 7)
        turn(connection)
        takes.clear()
        messages[0].ack()
        messages[1].ack()
        flood(broker, "b", 1)
        drain(connection, messages, 10)
        turn(connection)
        turn(connection)
        assert sorted(tags(messages)[7:]) == ["a7", "a8", "b0"]
        assert max(takes) >= 2
