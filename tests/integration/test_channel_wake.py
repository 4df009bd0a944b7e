"""How a consumer learns that a message is there, and what becomes of one that is on its way when a connection goes.

The fallback look is an hour away in these tests: what does not come by the server's word does not come at all.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest
import redis
from kombu import Connection, Exchange, Queue
from redis._parsers import _HiredisParser, _RESP3Parser

from tests.integration.channel_proxy import Proxy
from tests.integration.channel_rig import Broker, until
from tests.integration.test_channel_take import OURS, drain, send
from worker.broker import take as channel_take
from worker.broker.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Iterator

NEVER = 3600


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    """A door to it."""
    with Proxy(broker.port) as door:
        yield door


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each message that only the fallback found."""
    found: list[int] = []
    monkeypatch.setattr(channel_take, "FALLBACK_TAKE_LISTENERS", [lambda: found.append(1)])
    return found


@contextlib.contextmanager
def consumer(port: int, messages: list[Any]) -> Iterator[Any]:
    """A connection that consumes from ``orders.close``, and never looks unless it is told to."""
    options = {"polling_interval": NEVER, "visibility_timeout": NEVER}
    with Connection(f"redis://127.0.0.1:{port}/0", transport=OURS, transport_options=options) as connection:
        wanted = [Queue("orders.close")]
        with connection.Consumer(wanted, callbacks=[lambda _, message: messages.append(message)]):
            yield connection


pytestmark = pytest.mark.timeout(100)


def turn(connection: Any) -> None:
    """One turn of the poller."""
    with contextlib.suppress(socket.timeout):
        connection.drain_events(timeout=0.1)


def take_and_hold(proxy: Proxy, broker: Broker, connection: Any) -> None:
    """Have the consumer wait for messages, and the server hand one out that the consumer has not got yet."""
    turn(connection)  # it has looked once, and watches
    proxy.hold()
    send(broker, "orders.close", 1)
    until(lambda: b"invalidate" in proxy.held, "the server's word")
    proxy.release()
    proxy.hold()

    def taken() -> bool:
        turn(connection)
        return bool(broker.db(0).hlen("unacked"))

    until(taken, "the take")
    until(lambda: b"delivery_tag" in proxy.held, "the answer")


@pytest.mark.parametrize("parser", [_HiredisParser, _RESP3Parser])
def test_a_word_that_comes_with_an_answer_is_heard(
    broker: Broker, proxy: Proxy, late: list[int], parser: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answer and invalidation in one segment: the parser holds both, and the socket tells of nothing more."""

    class Parsed(redis.Connection):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **{**named, "parser_class": parser})

    monkeypatch.setattr(Channel, "connection_class", Parsed)
    messages: list[Any] = []
    with consumer(proxy.port, messages) as connection:
        take_and_hold(proxy, broker, connection)
        send(broker, "orders.close", 2)
        until(lambda: b"invalidate" in proxy.held, "the server's word")
        proxy.release()
        drain(connection, messages, 2)
        assert type(connection.default_channel.client.connection._parser) is parser
        for message in messages:
            message.ack()
    assert [message.payload for message in messages] == [1, 2]
    assert late == []


def test_what_only_the_fallback_finds_is_counted(broker: Broker, late: list[int]) -> None:
    """A server that does not say that something was written."""
    broker.db(0).execute_command("ACL", "SETUSER", "deaf", "reset", "on", ">x", "~*", "&*", "+@all", "-client|tracking")
    messages: list[Any] = []
    with Connection(f"redis://deaf:x@127.0.0.1:{broker.port}/0", transport=OURS) as connection:
        wanted = [Queue("orders.close")]
        with connection.Consumer(wanted, callbacks=[lambda _, message: messages.append(message)]):
            turn(connection)
            send(broker, "orders.close", 1)
            drain(connection, messages, 1)
            messages[0].ack()
    assert late == [1]


def test_a_take_outlives_the_connection_for_broadcasts(broker: Broker, proxy: Proxy) -> None:
    """`CLIENT KILL TYPE pubsub` while a message is on its way: it comes, and so does the next broadcast."""
    messages: list[Any] = []
    told: list[Any] = []
    shout = Exchange("shout", type="fanout")
    with consumer(proxy.port, messages) as connection, connection.channel() as other:
        hears = Queue("hears", exchange=shout, channel=other)
        with connection.Consumer([hears], channel=other, callbacks=[lambda _, message: told.append(message)]):
            take_and_hold(proxy, broker, connection)
            broker.db(0).execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            turn(connection)
            proxy.release()
            drain(connection, messages, 1)
            until(lambda: _heard(broker, connection, told, shout), "a broadcast")
            messages[0].ack()
    assert not messages[0].headers.get("redelivered")


def _heard(broker: Broker, connection: Any, told: list[Any], shout: Exchange) -> bool:
    with Connection(broker.url(0)) as sender:
        sender.Producer().publish("hello", exchange=shout, declare=[shout])
    turn(connection)
    return bool(told)


@pytest.mark.parametrize("body", [b"x", b"not json", b'{"properties": 5}', b"[" * 5000])
def test_no_broadcast_ends_a_consumer(broker: Broker, body: bytes) -> None:
    """Whatever is published where workers listen: the next command comes."""
    messages: list[Any] = []
    with consumer(broker.port, messages) as connection, connection.channel() as other:
        hears = Queue("hears", exchange=Exchange("shout", type="fanout"), channel=other)
        with connection.Consumer([hears], channel=other, callbacks=[lambda *_: None]):
            turn(connection)
            assert broker.db(0).publish("/0.shout", body) == 1
            turn(connection)
            send(broker, "orders.close", 1)
            drain(connection, messages, 1)
            messages[0].ack()


def test_a_broadcast_is_not_decompressed(broker: Broker) -> None:
    """A kilobyte may hold hundreds of megabytes."""
    heard: list[Any] = []
    messages: list[Any] = []
    shout = Exchange("shout", type="fanout")
    with consumer(broker.port, messages) as connection, connection.channel() as other:
        hears = Queue("hears", exchange=shout, channel=other)
        with connection.Consumer([hears], channel=other, callbacks=[lambda body, _: heard.append(body)]):
            turn(connection)
            with Connection(broker.url(0)) as sender:
                sender.Producer().publish("a" * 1000, exchange=shout, declare=[shout], compression="bzip2")
                sender.Producer().publish("b", exchange=shout, declare=[shout])
            until(lambda: turn(connection) or heard, "the other one")
    assert heard == ["b"]


def _turn_for_long(connection: Any) -> None:
    for _ in range(100):
        turn(connection)


def test_a_message_whose_answer_was_lost_comes_again_at_once(broker: Broker, proxy: Proxy) -> None:
    """The connection goes while the answer is on its way: whoever connects next puts the message back."""
    messages: list[Any] = []
    with consumer(proxy.port, messages) as connection:
        take_and_hold(proxy, broker, connection)
        proxy.cut()
        with pytest.raises(connection.connection_errors):
            _turn_for_long(connection)
        connection.collect()
    assert broker.db(0).hlen("unacked") == 1
    with consumer(proxy.port, messages) as connection:
        drain(connection, messages, 1)
        assert messages[0].headers["redelivered"]
        messages[0].ack()
    assert not broker.db(0).exists("unacked", "unacked_index", "orders.close")


def test_a_take_that_a_slow_server_carries_out_later_is_found(broker: Broker) -> None:
    """The sweep looks for it again and again, and touches nobody else's."""
    entry = '[{"properties": {"delivery_info": {}}, "headers": {}}, "", "orders.close"]'
    db = broker.db(0)
    with Connection(broker.url(0), transport=OURS, transport_options={"visibility_timeout": NEVER}) as connection:
        channel = connection.default_channel
        channel._in_poll, channel._taken_at = object(), 1764118813.1234567
        channel.forget_take()
        channel.qos.restore_visible()
        db.hset("unacked", mapping={"mine": entry, "other": entry})
        db.zadd("unacked_index", {"mine": 1764118813.1234567, "other": 1764118813.1234569})
        channel.qos.settle_pending()
        assert (db.hkeys("unacked"), db.llen("orders.close")) == (["other"], 1)
