"""The worker's loop is woken when something can be taken: by a thread that frees a place, and at the time that
something is due. The loop of these tests has no timer of its own, and sleeps for an hour unless it is woken."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Consumer, Exchange, Queue
from kombu.asynchronous import Hub, get_event_loop, set_event_loop
from kombu.asynchronous.timer import Timer

from tests.integration.channel_rig import until
from tests.integration.test_channel_gate import message
from tests.integration.test_channel_groups import CANCEL, CLOSE, fair, flood, nothing_taken, of, tags  # noqa: F401 - a fixture
from worker.broker.scripts import ACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.channel_rig import Broker

HOUR = 3600


@contextlib.contextmanager
def looping(broker: Broker, slots: int) -> Iterator[tuple[Hub, list[Any]]]:
    """A consumer in a loop as Celery runs it, without its timers."""
    before = get_event_loop()
    hub = Hub(Timer(max_interval=HOUR))
    set_event_loop(hub)
    hub.fire_timers = functools.partial(hub.fire_timers, max_delay=HOUR)
    try:
        with fair(broker, slots) as (connection, messages):
            connection.register_with_event_loop(hub)
            hub.timer.clear()
            hub.call_later(HOUR, lambda: None)
            yield hub, messages
    finally:
        set_event_loop(before)
        hub.close()


def run(hub: Hub, messages: list[Any], count: int, *acts: Callable[[], Any]) -> None:
    """Turn the loop until there are so many messages, while a thread does something once the loop sleeps."""
    sleeps = threading.Event()

    def act() -> None:
        sleeps.wait()
        for each in acts:
            each()

    thread = threading.Thread(target=act)
    thread.start()
    poll = hub.poller.poll

    def sleep(timeout: float) -> Any:
        if timeout > 1 and messages and not messages[-1].channel._in_poll:
            sleeps.set()
        return poll(timeout)

    hub.poller.poll = sleep
    hub._loop = None
    while len(messages) < count:
        hub.run_once()
    hub.poller.poll = poll
    sleeps.set()
    thread.join()


def test_a_thread_that_frees_the_last_place_has_the_next_message_taken(broker: Broker) -> None:
    """All places are taken, and the loop sleeps: each ack brings the next message."""
    flood(broker, "b", 6)
    with looping(broker, slots=1) as (hub, messages):
        run(hub, messages, 1)
        for count in range(2, 7):
            run(hub, messages, count, messages[-1].ack)
    assert tags(messages) == [f"b{number}" for number in range(6)]


def test_a_thread_that_frees_a_place_of_an_account_has_its_next_message_taken(broker: Broker) -> None:
    """Other places are free; only those of this account are not."""
    flood(broker, "a", 12)
    with looping(broker, slots=16) as (hub, messages):
        run(hub, messages, 7)
        for count in range(8, 12):
            run(hub, messages, count, messages[count - 8].ack)
    assert len(messages) == 11


def test_another_accounts_message_is_taken_at_once_while_one_is_held_back(broker: Broker) -> None:
    """What arrives is told of, and not put off as what other workers take is."""
    flood(broker, "a", 12)
    with looping(broker, slots=16) as (hub, messages):
        run(hub, messages, 7)
        run(hub, messages, 8, lambda: broker.db().lpush(CLOSE, of("b", "b0")))
        run(hub, messages, 9, lambda: broker.db().lpush(CANCEL, of("a", "cancel", CANCEL)))
    assert tags(messages)[7:] == ["b0", "cancel"]


@pytest.mark.parametrize("whole_account", [False, True])
def test_what_is_parked_from_a_thread_is_taken_when_it_is_due(broker: Broker, whole_account: bool) -> None:
    """Nothing else happens meanwhile."""
    broker.db().lpush(CLOSE, message("one"))
    with looping(broker, slots=2) as (hub, messages):
        run(hub, messages, 1)
        park = functools.partial(messages[0].channel.qos.park, "one", messages[0].raw_bytes)
        run(hub, messages, 2, lambda: park(wait_ms=400, waits_for="retry", whole_account=whole_account))
        messages[1].ack()
    assert tags(messages) == ["one", "one"]


def test_a_worker_that_learns_of_it_by_a_take_wakes_for_what_is_due(broker: Broker) -> None:
    """Another worker, which is gone, has parked it."""
    broker.db().lpush(CLOSE, message("one"))
    with looping(broker, slots=2) as (hub, messages):
        run(hub, messages, 1)
        messages[0].channel.qos.park("one", messages[0].raw_bytes, wait_ms=500, waits_for="retry")
    with looping(broker, slots=2) as (hub, messages):
        run(hub, messages, 1)
        messages[0].ack()
    assert tags(messages) == ["one"]


def test_a_place_that_is_freed_while_the_loop_fills_the_last_one_is_used(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that frees it began while another place was free."""
    flood(broker, "b", 1)
    with looping(broker, slots=2) as (hub, messages):
        run(hub, messages, 1)
        qos, full = messages[0].channel.qos, threading.Event()
        free = qos._quick_ack
        monkeypatch.setattr(qos, "_quick_ack", lambda tag: full.wait() and free(tag))
        monkeypatch.setattr(hub, "run_once", lambda turn=hub.run_once: (len(messages) > 1 and full.set()) or turn())
        run(hub, messages, 3, lambda: broker.db().lpush(CLOSE, of("a", "a0"), of("c", "c0")), messages[0].ack)
    assert len(messages) == 3


def test_a_message_that_another_script_acknowledges_frees_its_place(broker: Broker) -> None:
    """As the script does that settles a command."""
    flood(broker, "b", 2)
    with looping(broker, slots=1) as (hub, messages):
        run(hub, messages, 1)
        qos, tag = messages[0].channel.qos, messages[0].delivery_tag
        database, *arguments = qos.ack_arguments(tag)
        keys, rest = arguments[:2], arguments[2:]
        run(
            hub,
            messages,
            2,
            lambda: broker.db(database).eval(ACK.source, len(keys), *keys, *rest),
            lambda: qos.acked_at_server(tag),
        )
        assert broker.db().hkeys("unacked") == broker.db().zrange("unacked_index", 0, -1) == ["b1"]
        assert list(qos.taken) == ["b1"]
        messages[1].ack()


def test_what_is_watched_is_registered_once_for_each_connection(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And again when the connection is lost, and after a time in which its answer was not wanted."""
    registered: list[int] = []
    add = Hub.add_reader
    monkeypatch.setattr(Hub, "add_reader", lambda hub, fd, *rest: registered.append(fd) or add(hub, fd, *rest))
    with looping(broker, slots=2) as (hub, messages):
        flood(broker, "b", 1)
        run(hub, messages, 1)
        channel = messages[0].channel
        connection, (start_turn,) = channel.client.connection, hub.on_tick
        start_turn()
        assert registered == [connection._sock.fileno()]
        channel.next_take.stir()
        start_turn()
        assert channel._in_poll
        channel.qos.prefetch_count = 1
        start_turn()
        flood(broker, "a", 1)
        messages[0].ack()
        run(hub, messages, 2)
        assert registered == [connection._sock.fileno()] * 2
        connection.disconnect()
        flood(broker, "b", 1)
        channel.next_take.stir()
        messages[1].ack()
        run(hub, messages, 3)
        assert registered[2:] == [connection._sock.fileno()]


def test_a_channel_that_begins_to_consume_later_is_watched(broker: Broker) -> None:
    """Messages, and broadcasts."""
    flood(broker, "b", 1)
    with looping(broker, slots=2) as (hub, messages):
        run(hub, messages, 1)
        (start_turn,) = hub.on_tick
        channel = messages[0].channel.connection.client.channel()
        start_turn()
        shout = Exchange("shout", type="fanout", channel=channel)
        queues = [Queue("later", channel=channel), Queue("heard", shout, channel=channel)]
        consumer = Consumer(channel, queues, callbacks=[lambda _, message: messages.append(message)], no_ack=True)
        consumer.consume()
        run(hub, messages, 2, lambda: broker.db().lpush("later", message("later", "later")))
        publish = functools.partial(broker.db().publish, "/0.shout", message("heard", "heard"))
        run(hub, messages, 3, lambda: until(publish, "somebody to hear it"))
        messages[0].ack()
        consumer.cancel()
    assert tags(messages) == ["b0", "later", "heard"]
