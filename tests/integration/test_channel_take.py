"""The atomic take, inside this process: what it records, what it waits on, and what it does when it is refused."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import kombu.message
import pytest
import redis
from kombu import Connection
from kombu.transport import redis as stock

from producers.redis import round_trip
from tests.integration.channel_rig import OURS, STOCK, Broker, consumer, drain, send, turn, until
from tests.support.node import ROOT
from worker.broker import take as channel_take
from worker.broker.channel import Channel
from worker.broker.transport import check_kombu


def test_records_what_stock_kombu_records(broker: Broker) -> None:
    """The unacked entry of one message is the same, whichever transport took it, but for where it is put back: ours
    goes by the queue, stock kombu by the exchange that the sender wrote into it."""
    raw = json.dumps(
        {
            "body": "e30=",
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"float": 1.0, "big": 12345678901234567890, "empty": [], "none": None, "text": 'ü"\\/\u2028'},
            "properties": {
                "delivery_tag": "tag-1",
                "body_encoding": "base64",
                "delivery_info": {"exchange": 'e"x/ü', "routing_key": "orders.close"},
            },
        }
    )
    entries = []
    for transport in (OURS, STOCK):
        broker.flush()
        broker.db().lpush("orders.close", raw)
        with consumer(broker, "orders.close", transport=transport) as (connection, messages):
            drain(connection, messages, 1)
            (entry,) = broker.db().hvals("unacked")
            assert broker.db().zrange("unacked_index", 0, -1) == ["tag-1"]
            entries.append(json.loads(entry))
            messages[0].ack()
            assert not broker.db().exists("unacked", "unacked_index")
    assert repr(entries[0][0]) == repr(entries[1][0])
    assert [entry[1:] for entry in entries] == [["", "orders.close"], ['e"x/ü', "orders.close"]]


def test_what_is_taken_is_on_record_before_anyone_sees_it(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of delivery the message is in `unacked` already."""
    seen = []
    deliver = Channel._deliver_taken

    def look(channel: Any, index: int, raw: bytes, tag: bytes) -> None:
        seen.append(broker.db().hkeys("unacked") == [tag.decode()])
        deliver(channel, index, raw, tag)

    monkeypatch.setattr(Channel, "_deliver_taken", look)
    send(broker, "orders.close", 1)
    with consumer(broker, "orders.close") as (connection, messages):
        drain(connection, messages, 1)
        messages[0].ack()
    assert seen == [True]


def test_a_message_is_what_stock_kombu_makes_of_it(broker: Broker) -> None:
    """Ours goes past kombu's layers."""
    send(broker, "orders.close", {"a": ["ü", 1]}, headers={"id": "1"}, expiration=60)
    (raw,) = broker.db().lrange("orders.close", 0, -1)
    names = (*kombu.message.Message.__slots__, "_raw", "errors", "payload")
    seen = []
    for transport in (OURS, STOCK):
        broker.flush()
        broker.db().lpush("orders.close", raw)
        with consumer(broker, "orders.close", transport=transport) as (connection, messages):
            drain(connection, messages, 1)
            assert messages[0].channel is connection.default_channel
            seen.append({name: getattr(messages[0], name) for name in names if name not in ("channel", "__dict__")})
            messages[0].ack()
    assert seen[0] == seen[1]


def test_what_comes_after_its_queue_was_left_goes_back(broker: Broker) -> None:
    """A take was under way. The message keeps no place, and is the next to be taken, by whoever consumes."""
    send(broker, "orders.close", 1)
    send(broker, "orders.close", 2)
    with consumer(broker, "orders.close", "orders.cancel") as (connection, messages):
        channel = connection.default_channel
        channel.basic_qos(0, 2, False)
        until(lambda: connection.transport.cycle.on_poll_start() or broker.db().exists("unacked"), "a take")
        channel.basic_cancel(next(tag for tag, queue in channel._tag_to_queue.items() if queue == "orders.close"))
        until(lambda: turn(connection) or not broker.db().exists("unacked"), "its end")
        assert (messages, broker.db().llen("orders.close")) == ([], 2)
        assert channel.qos.can_consume_max_estimate() == 2
    with consumer(broker, "orders.close") as (connection, messages):
        drain(connection, messages, 2)
        assert [message.payload for message in messages] == [1, 2]


@pytest.mark.parametrize("queue", ["orders.cancel", "orders.close"])
@pytest.mark.parametrize("priority", [0, 9])
def test_a_message_wakes_the_consumer(broker: Broker, queue: str, priority: int) -> None:
    """The server's word suffices: with the fallback an hour away, messages of every queue and priority come."""
    with consumer(broker, "orders.cancel", "orders.close", polling_interval=3600) as (connection, messages):
        connection.transport.polling_interval = None
        for count in range(1, 4):
            turn(connection)
            send(broker, queue, count, priority=priority)
            drain(connection, messages, count)
        for message in messages:
            message.ack()
    assert [message.payload for message in messages] == [1, 2, 3]


def test_takes_and_answers_go_past_redis_py(broker: Broker) -> None:
    """This fails when redis-py's parts are no longer where they are looked for."""
    bodies = ["short", "long" * 9000, "short again"]

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("this is not to be called")

    with consumer(broker, "orders.close", polling_interval=3600) as (connection, messages):
        turn(connection)
        taking = connection.default_channel.client.connection
        taking.send_packed_command = taking._parser.read_from_socket = refuse
        for count, body in enumerate(bodies, 1):
            send(broker, "orders.close", body)
            drain(connection, messages, count)
            messages[-1].ack()
        del taking.send_packed_command, taking._parser.read_from_socket
    assert [message.payload for message in messages] == bodies


def test_a_connection_of_another_make_is_read_by_redis_py(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with TLS, whose socket keeps what it has decrypted: it is read until nothing more comes."""
    monkeypatch.setattr(round_trip, "_PLAIN", None)
    with consumer(broker, "orders.close", polling_interval=3600) as (connection, messages):
        for number in range(1, 5):
            send(broker, "orders.close", number)
            drain(connection, messages, number)
            messages[-1].ack()
    assert [message.payload for message in messages] == [1, 2, 3, 4]


def test_a_message_that_the_server_does_not_tell_of_is_found_and_counted(
    broker: Broker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an ACL forbids CLIENT TRACKING, the fallback take finds every message, and the log says what to allow."""
    late: list[int] = []
    monkeypatch.setattr(channel_take, "FALLBACK_TAKE_LISTENERS", [lambda: late.append(1)])
    rules = ("reset", "on", ">secret", "~*", "&*", "+@all", "-client|tracking")
    broker.db().execute_command("ACL", "SETUSER", "narrow", *rules)
    with consumer(broker, "orders.close", url=f"redis://narrow:secret@127.0.0.1:{broker.port}/0") as taking:
        turn(taking[0])
        send(broker, "orders.close", 1)
        drain(*taking, 1)
        taking[1][0].ack()
    assert "+client|tracking" in caplog.text
    assert late == [1]


def test_prefetch_limit(broker: Broker) -> None:
    """Never more is taken than may be; an ack makes room for the next."""
    for number in range(5):
        send(broker, "orders.close", number)
    with consumer(broker, "orders.close") as (connection, messages):
        connection.default_channel.basic_qos(0, 2, False)
        drain(connection, messages, 2)
        for _ in range(3):
            turn(connection)
        assert broker.db().hlen("unacked") == len(messages) == 2
        for count in range(3, 6):
            messages[count - 3].ack()
            drain(connection, messages, count)
        assert [message.payload for message in messages] == [0, 1, 2, 3, 4]


def test_close_puts_everything_back_in_order(broker: Broker) -> None:
    """What was delivered and not acked, and what a take under way brings, is on the queue again."""
    for number in range(4):
        send(broker, "orders.close", number)
    with consumer(broker, "orders.close") as (connection, messages):
        drain(connection, messages, 2)
        connection.transport.cycle.on_poll_start()  # a third is on its way
        assert connection.default_channel._in_poll
    assert not broker.db().exists("unacked", "unacked_index")
    with consumer(broker, "orders.close") as (connection, messages):
        drain(connection, messages, 4)
        assert sorted(message.payload for message in messages) == [0, 1, 2, 3]


def test_script_cache_emptied(broker: Broker) -> None:
    """`SCRIPT FLUSH` costs a moment and no message."""
    with consumer(broker, "orders.close") as (connection, messages):
        for count in range(1, 4):
            send(broker, "orders.close", count)
            drain(connection, messages, count)
            messages[-1].ack()
            broker.db().script_flush()
    assert [message.payload for message in messages] == [1, 2, 3]


@pytest.mark.parametrize("spoilt", ["unacked", "unacked_index"])
def test_refused_record_leaves_the_message_on_its_queue(
    broker: Broker, spoilt: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A message that can't be recorded isn't taken: it stays, the log says why, and it comes in the end."""
    send(broker, "orders.close", 1)
    broker.db().set(spoilt, "in the way")
    with consumer(broker, "orders.close") as (connection, messages):
        until(lambda: turn(connection) or "no message can be taken" in caplog.text, "the complaint")
        assert not messages
        assert broker.db().llen("orders.close") == 1
        broker.db().delete(spoilt)
        drain(connection, messages, 1)
        messages[0].ack()
    assert not broker.db().exists("unacked", "unacked_index", "orders.close")


def _bare(**changes: Any) -> str:
    properties = {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "orders.close"}}
    return json.dumps({"body": "1", "content-type": "application/json", "properties": properties, **changes})


@pytest.mark.parametrize(
    ("raw", "comes_to"),
    [
        (_bare(headers=None), "orders.close"),
        (_bare(properties={"delivery_tag": "t", "delivery_info": {}}), "orders.close"),
        (
            _bare(properties={"delivery_tag": "t", "delivery_info": {"exchange": "e", "routing_key": "x"}}),
            "orders.close",
        ),
        (_bare()[:-1] + ', "x": 0x1F}', "unacked.dead"),
    ],
)
def test_a_dead_workers_message_is_never_dropped(broker: Broker, raw: str, comes_to: str) -> None:
    """The sweep brings back, or keeps for a person, even what kombu's own sweep would drop or die of."""
    broker.db().lpush("orders.close", raw)
    broker.db().sadd("_kombu.binding.e", "x\x06\x16\x06\x16elsewhere", "malformed")
    with consumer(broker, "orders.close", visibility_timeout=0) as (connection, messages):
        channel = connection.default_channel
        channel._deliver_taken = lambda *_: messages.append(_)  # the worker dies before it looks
        drain(connection, messages, 1)
        channel.qos.restore_visible(interval=1)
        assert broker.db().zcard("unacked_index") == broker.db().llen("orders.close.dead") == 0
        assert broker.db().llen(comes_to) == 1
        channel.next_take.wanted = False


def test_full_server_loses_nothing(broker: Broker) -> None:
    """A server out of memory that refuses writes still lets a message be taken, recorded and acked, or keeps it."""
    send(broker, "orders.close", 1)
    db = broker.db()
    try:
        with consumer(broker, "orders.close") as (connection, messages):
            db.config_set("maxmemory", "1")
            for _ in range(5):
                turn(connection)
            assert len(messages) + db.llen("orders.close") == 1
            db.config_set("maxmemory", "0")
            drain(connection, messages, 1)
            messages[0].ack()
    finally:
        db.config_set("maxmemory", "0")
    assert not db.exists("unacked", "orders.close")


def test_without_acks_nothing_is_recorded(broker: Broker) -> None:
    """A consumer that asked for no acks, such as one of replies, gets its messages once and leaves no trace."""
    with consumer(broker, "replies", no_ack=True) as (connection, messages):
        send(broker, "replies", 1)
        drain(connection, messages, 1)
        assert not broker.db().exists("unacked", "unacked_index", "replies")


def test_a_monitor_leaves_the_sweep_to_workers(broker: Broker) -> None:
    """If Flower swept, it would write to the queues, and need a login that may enqueue a withdrawal."""
    send(broker, "orders.close", 1)
    with consumer(broker, "orders.close") as (connection, messages):
        drain(connection, messages, 1)
        for queue, sweeps in (("replies", False), ("orders.cancel", True)):
            with consumer(broker, queue, no_ack=not sweeps, visibility_timeout=0) as (other, _):
                other.default_channel.connection.cycle.maybe_restore_messages()
            assert broker.db().llen("orders.close") == sweeps
            assert broker.db().zcard("unacked_index") == (not sweeps)


def test_a_message_fetched_by_hand_is_recorded(broker: Broker) -> None:
    """`basic_get` goes kombu's way, record included."""
    send(broker, "orders.close", 1)
    with Connection(broker.url(0), transport=OURS) as connection:
        message = connection.default_channel.basic_get("orders.close")
        assert broker.db().hlen("unacked") == 1
        message.ack()
    assert not broker.db().exists("unacked", "unacked_index")


def test_stock_and_ours_share_a_queue(broker: Broker) -> None:
    """What one transport took and never acked, the other restores and executes."""
    for taker, other in ((OURS, STOCK), (STOCK, OURS)):
        broker.flush()
        send(broker, "orders.close", 1)
        with consumer(broker, "orders.close", transport=taker) as (connection, messages):
            drain(connection, messages, 1)
            with consumer(broker, "orders.close", transport=other, visibility_timeout=0) as (second, again):
                second.default_channel.qos.restore_visible(interval=1)
                drain(second, again, 1)
                assert again[0].headers["redelivered"]
                again[0].ack()
            messages[0].ack()
        assert not broker.db().exists("unacked", "unacked_index", "orders.close")


def test_ack_outlives_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    """An ack on a lost connection still arrives; one without a server is owed and sent by the next sweep."""
    with Broker() as broker:
        for number in range(3):
            send(broker, "orders.close", number)
        with consumer(broker, "orders.close") as (connection, messages):
            drain(connection, messages, 3)
            connection.collect()  # what Celery does with a lost connection
            assert broker.db().hlen("unacked") == 3
            messages[0].ack()
            assert broker.db().hlen("unacked") == 2
            broker.kill()
            messages[1].headers["id"] = "command-1"
            messages[1].ack()
            messages[2].reject(requeue=True)
            assert caplog.text.count("it may be delivered again, which is harmless") == 1
            broker.start()
        with Connection(broker.url(0), transport=OURS) as connection:
            connection.default_channel.qos.restore_visible(interval=1)
            assert broker.db().hkeys("unacked") == [messages[2].delivery_tag]


def test_another_kombu_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """An untested version, or another shape of what is overridden, stops at the import and says what to do."""
    caplog.set_level(logging.INFO)
    check_kombu("5.7.3", stock)
    with pytest.raises(ImportError, match="ORDERS_STOCK_TRANSPORT=1"):
        check_kombu("5.8.0", stock)
    with pytest.raises(ImportError, match=r"with another QoS\.ack, Gone\.was"):
        check_kombu("5.7.0", stock, {"QoS": {"ack": "(self)"}, "Gone": {"was": "(self)"}})


def test_stock_transport_on_request() -> None:
    """`ORDERS_STOCK_TRANSPORT=1` gives kombu's own."""
    code = "from worker.broker.transport import Transport; print(Transport.__module__)"
    environment = {"ORDERS_STOCK_TRANSPORT": "1", "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "kombu.transport.redis"
    assert "a message can be lost" in told.stderr


def test_server_errors_are_redis_errors() -> None:
    """What the ack path catches covers what redis-py raises."""
    assert issubclass(redis.ReadOnlyError, redis.RedisError)
    assert issubclass(redis.BusyLoadingError, redis.RedisError)
    assert issubclass(redis.TimeoutError, redis.RedisError)
