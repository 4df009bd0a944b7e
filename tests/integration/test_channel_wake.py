"""How a consumer learns that a message is there, and what becomes of one that is on its way when a connection goes.

The fallback look is an hour away in these tests: what does not come by the server's word does not come at all.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import redis
from kombu import Connection, Exchange, Queue
from redis._parsers import _HiredisParser, _RESP3Parser

from tests.integration.channel_rig import OURS, Broker, Proxy, consumer, drain, send, turn, until
from worker.broker import channel
from worker.broker import take as channel_take

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

NEVER = 3600
SHOUT = Exchange("shout", type="fanout")


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    with Proxy(broker.port) as running:
        yield running


def told_consumer(broker: Broker, port: int | None = None) -> AbstractContextManager[tuple[Any, list[Any]]]:
    """A consumer of `orders.close` that never looks unless it is told to."""
    url = f"redis://127.0.0.1:{port or broker.port}/0"
    return consumer(broker, "orders.close", url=url, polling_interval=NEVER, visibility_timeout=NEVER)


def take_and_hold(proxy: Proxy, broker: Broker, connection: Any) -> None:
    """Have the consumer wait for messages, and the server hand one out that the consumer has not got yet."""
    turn(connection)  # it has looked once, and watches
    proxy.hold()
    send(broker, "orders.close", 1)
    until(lambda: b"invalidate" in proxy.held, "the server's word")
    proxy.release()
    proxy.hold()
    until(lambda: turn(connection) or broker.db().hlen("unacked"), "the take")
    until(lambda: b"delivery_tag" in proxy.held, "the answer")


@pytest.mark.parametrize("parser", [_HiredisParser, _RESP3Parser])
def test_an_invalidation_that_comes_with_an_answer_is_heard(
    broker: Broker, proxy: Proxy, parser: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both arrive in one TCP segment: the parser holds both, and the socket signals nothing more."""

    class Parsed(redis.Connection):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **{**named, "parser_class": parser})

    found_late: list[int] = []
    monkeypatch.setattr(channel_take, "FALLBACK_TAKE_LISTENERS", [lambda: found_late.append(1)])
    monkeypatch.setattr(channel.Channel, "connection_class", Parsed)
    with told_consumer(broker, proxy.port) as (connection, messages):
        take_and_hold(proxy, broker, connection)
        send(broker, "orders.close", 2)
        until(lambda: b"invalidate" in proxy.held, "the server's word")
        proxy.release()
        drain(connection, messages, 2)
        assert type(connection.default_channel.client.connection._parser) is parser
        for message in messages:
            message.ack()
    assert [message.payload for message in messages] == [1, 2]
    assert found_late == []


# -- broadcasts --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def listener(connection: Any) -> Iterator[list[Any]]:
    """Consume broadcasts beside commands; yields the list of what was heard."""
    heard: list[Any] = []
    with connection.channel() as channel:
        queue = Queue("hears", exchange=SHOUT, channel=channel)
        with connection.Consumer([queue], channel=channel, callbacks=[lambda body, _: heard.append(body)]):
            yield heard


def shout(broker: Broker, body: str, **options: Any) -> None:
    with Connection(broker.url(0)) as sender:
        sender.Producer().publish(body, exchange=SHOUT, declare=[SHOUT], **options)


def test_a_take_outlives_the_connection_for_broadcasts(broker: Broker, proxy: Proxy) -> None:
    """`CLIENT KILL TYPE pubsub` while a message is on its way: it comes, and so does the next broadcast."""
    with told_consumer(broker, proxy.port) as (connection, messages), listener(connection) as heard:
        take_and_hold(proxy, broker, connection)
        broker.db().execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        turn(connection)
        proxy.release()
        drain(connection, messages, 1)
        until(lambda: shout(broker, "hello") or turn(connection) or heard, "a broadcast")
        messages[0].ack()
    assert not messages[0].headers.get("redelivered")


@pytest.mark.parametrize("body", [b"x", b"not json", b'{"properties": 5}', b"[" * 5000])
def test_no_broadcast_ends_a_consumer(broker: Broker, body: bytes) -> None:
    """After any broadcast, however malformed, the next command is delivered."""
    with told_consumer(broker) as (connection, messages), listener(connection):
        turn(connection)
        assert broker.db().publish("/0.shout", body) == 1
        turn(connection)
        send(broker, "orders.close", 1)
        drain(connection, messages, 1)
        messages[0].ack()


def test_a_broadcast_is_not_decompressed_and_a_long_one_not_read(broker: Broker) -> None:
    """A compressed kilobyte may expand to hundreds of megabytes."""
    with told_consumer(broker) as (connection, _), listener(connection) as heard:
        turn(connection)
        shout(broker, "a" * 1000, compression="bzip2")
        shout(broker, "a" * 65_536)
        shout(broker, "b")
        until(lambda: turn(connection) or heard, "the other one")
    assert heard == ["b"]


# -- takes whose answer is lost ----------------------------------------------------------------------------------------


def turn_for_ever(connection: Any) -> None:
    while True:
        turn(connection)


def test_a_message_whose_answer_was_lost_comes_again_at_once(broker: Broker, proxy: Proxy) -> None:
    """The connection goes while the answer is on its way: whoever connects next puts the message back."""
    with told_consumer(broker, proxy.port) as (connection, _):
        take_and_hold(proxy, broker, connection)
        proxy.cut()
        with pytest.raises(connection.connection_errors):
            turn_for_ever(connection)
        connection.collect()
    assert broker.db().hlen("unacked") == 1
    with told_consumer(broker, proxy.port) as (connection, messages):
        drain(connection, messages, 1)
        assert messages[0].headers["redelivered"]
        messages[0].ack()
    assert not broker.db().exists("unacked", "unacked_index", "orders.close")


def test_a_take_that_a_slow_server_carries_out_later_is_found(broker: Broker) -> None:
    """Each sweep looks for the lost take, and touches no other consumer's entries."""
    entry = '[{"properties": {"delivery_info": {}}, "headers": {}}, "", "orders.close"]'
    db = broker.db()
    with Connection(broker.url(0), transport=OURS, transport_options={"visibility_timeout": NEVER}) as connection:
        channel = connection.default_channel
        channel._in_poll, channel._taken_at = object(), 1764118813.1234567
        channel.forget_take()
        channel.qos.restore_visible()
        db.hset("unacked", mapping={"mine": entry, "other": entry})
        db.zadd("unacked_index", {"mine": 1764118813.1234567, "other": 1764118813.1234569})
        channel.qos.settle_pending()
        assert (db.hkeys("unacked"), db.llen("orders.close")) == (["other"], 1)
