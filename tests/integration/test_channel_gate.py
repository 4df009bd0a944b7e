"""What the server hands out of a queue of commands, and what it puts back when a worker is gone."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import redis

from producers.redis.direct import DirectClient
from tests.integration.channel_rig import Broker, consumer, drain, turn, until
from worker.broker.acks import QoS

QUEUES = ("orders.close", "celery")
PRIORITY = "\x06\x16"


def message(tag: str = "tag", queue: str = "orders.close", **changes: Any) -> str:
    """A command's message as kombu writes it, with changes to its envelope."""
    properties = {
        "delivery_tag": tag,
        "body_encoding": "base64",
        "priority": 0,
        "delivery_info": {"exchange": "", "routing_key": queue},
    }
    envelope = {
        "body": "e30=",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": queue, "id": "1"},
        "properties": properties,
        **changes,
    }
    return json.dumps(envelope)


def headed(**headers: Any) -> str:
    """A command's message with changes to its headers."""
    return message(headers={"task": "orders.close", "id": "1", **headers})


def sized(size: int) -> str:
    return message(filler="")[:-2] + "x" * (size - len(message(filler=""))) + '"}'


def raw(broker: Broker, key: str) -> list[bytes]:
    with redis.Redis(port=broker.port) as client:
        return list(client.lrange(key, 0, -1))  # type: ignore[arg-type, union-attr, unused-ignore]


# -- what is handed out ------------------------------------------------------------------------------------------------

NESTED = json.loads("[" * 900 + "]" * 900)
BARRED = {
    "a built-in task of Celery's": headed(task="celery.accumulate"),
    "another command": headed(task="orders.withdraw"),
    "no task": message(headers={"id": "1"}),
    "null for a task": headed(task=None),
    "a task that is a list": headed(task=["orders.close"]),
    "another spelling": headed(task="Orders.Close"),
    "headers that are none": message(headers=[]),
    "compressed": headed(compression="application/x-bz2"),
    "compressed by a list": headed(compression=["application/x-bz2"]),
    "compressed by a codec of Python's": message(**{"content-encoding": "bz2"}),
    "an encoding that is a number": message(**{"content-encoding": 7}),
    "64 KiB and a byte": sized(65_537),
    "6 MB": sized(6_000_000),
    "half a character, and another command": headed(task="orders.withdraw", shadow="\ud800"),
    "half a character, and compressed": headed(compression="application/x-bz2", shadow="\ud800"),
    "nested too deeply for Lua": message(headers={"task": "orders.withdraw"}, x=NESTED),
    "no tag": message(tag=""),
    "no properties": message(properties=None),
}


@pytest.mark.parametrize("priority", ["", f"{PRIORITY}9"])
def test_what_is_no_command_of_its_queue_goes_to_the_dead_as_it_is(broker: Broker, priority: str) -> None:
    """No consumer gets it, it is not recorded as unacked, and the message behind it is delivered."""
    db = broker.db()
    db.lpush(f"orders.close{priority}", *BARRED.values(), message("good"))
    with consumer(broker, *QUEUES, gated_queues=QUEUES) as (connection, messages):
        drain(connection, messages, 1)
        assert [one.delivery_tag for one in messages] == ["good"]
        dead = db.lrange("orders.close.dead", 0, -1)
        assert [name for name, text in BARRED.items() if text not in dead] == []
        assert len(dead) == len(BARRED)
        assert db.hkeys("unacked") == ["good"]
        messages[0].ack()
    assert not db.exists("unacked", "unacked_index", "orders.close")


ADMITTED = [
    sized(65_536),
    message(**{"content-encoding": None}),
    message(**{"content-encoding": "UTF-8"}),
    headed(compression=None),
    headed(shadow="\ud800"),
]


def test_a_command_of_its_queue_is_handed_out(broker: Broker) -> None:
    """The gate bars nothing else."""
    broker.db().lpush("orders.close", *ADMITTED)
    with consumer(broker, *QUEUES, gated_queues=QUEUES) as (connection, messages):
        drain(connection, messages, len(ADMITTED))
        assert {each.source_queue for each in messages} == {"orders.close"}
        assert [each.raw_bytes.decode() for each in messages] == ADMITTED
        for each in messages:
            each.ack()


def test_of_celerys_default_queue_only_commands_are_taken(broker: Broker) -> None:
    """The list that a message lay on counts, not the queue that it names. The default queue may be another service's as
    well: its messages stay there, in their order and as they are."""
    db = broker.db()
    make = {"task": "reports.make", "id": "1"}
    theirs = [
        message("a", headers={"task": "celery.map", "id": "1"}),
        message("c", headers={**make, "shadow": '"task": "orders.close"'}),
        message("d", headers={**make, "inner": {"task": "orders.close"}}),
    ]
    db.lpush("celery", theirs[0], message("b", "orders.withdraw"), *theirs[1:])
    with consumer(broker, *QUEUES, gated_queues=QUEUES) as (connection, messages):
        drain(connection, messages, 1)
        assert (messages[0].headers["task"], messages[0].source_queue) == ("orders.withdraw", "celery")
        assert db.lrange("celery", 0, -1) == theirs[::-1]
        assert not db.exists("celery.dead")
        messages[0].ack()


def test_messages_of_other_services_keep_no_worker_busy(broker: Broker) -> None:
    """Nothing is asked until something arrives, which is then taken."""
    broker.db().lpush("celery", message("theirs", headers={"task": "reports.make", "id": "1"}))
    options = {"gated_queues": QUEUES, "polling_interval": 3600, "visibility_timeout": 3600}
    with consumer(broker, *QUEUES, **options) as (connection, messages):
        takes = []
        for _ in range(10):
            turn(connection)
            takes.append(broker.db().info("commandstats")["cmdstat_evalsha"]["calls"])
        assert takes[5] == takes[-1]
        broker.db().lpush("celery", message("ours"))
        drain(connection, messages, 1)
        assert [one.delivery_tag for one in messages] == ["ours"]


def test_two_messages_of_one_tag_are_two_messages(broker: Broker) -> None:
    """A sender chooses the tag: it must not write over the record of another message, nor acknowledge it."""
    db = broker.db()
    odd = message("other", properties={"delivery_tag": 1e300, "body_encoding": "base64"})
    db.lpush("orders.close", message("same"), message("same"), odd)
    with consumer(broker, *QUEUES, gated_queues=QUEUES) as (connection, messages):
        drain(connection, messages, 3)
        assert db.hlen("unacked") == 3
        for count in (2, 1, 0):
            messages[count].ack()
            assert db.hlen("unacked") == db.zcard("unacked_index") == count


@pytest.mark.parametrize("write", [("SET", "x"), ("SADD", "x"), ("HSET", "a", "b")], ids=lambda write: write[0])
@pytest.mark.parametrize("key", ["orders.cancel", f"orders.cancel{PRIORITY}9", "orders.cancel.dead"])
def test_a_key_of_another_type_costs_its_own_queue_alone(
    broker: Broker, caplog: pytest.LogCaptureFixture, key: str, write: tuple[str, ...]
) -> None:
    """Senders may write to queues: what one spoils keeps nobody from the others, and the log names it."""
    db = broker.db()
    db.execute_command(write[0], key, *write[1:])
    bad = headed(task="celery.map")
    if key.endswith(".dead"):
        db.lpush("orders.cancel", bad)
    queues = ("orders.cancel", *QUEUES)
    with consumer(broker, *queues, gated_queues=queues, priority_steps=[0, 9]) as (connection, messages):
        for count in (1, 2):
            db.lpush("orders.close", message("good"))
            drain(connection, messages, count)
        assert [each.source_queue for each in messages] == ["orders.close"] * 2
        until(lambda: turn(connection) or f"({key})" in caplog.text, "the key's name in the log")
        db.delete(key)
        db.lpush("orders.cancel", message("mended", "orders.cancel"))
        drain(connection, messages, 3)
        assert raw(broker, "orders.cancel.dead") == ([bad.encode()] if key.endswith(".dead") else [])
        for each in messages:
            each.ack()


# -- what is put back --------------------------------------------------------------------------------------------------

GOOD = json.dumps([json.loads(message("good")), "", "orders.close"])


def entry(**changes: Any) -> str:
    """A command as it stands among the unacked, with changes to its envelope."""
    return json.dumps([json.loads(message("bad", **changes)), "", "orders.close"])


def prioritised(value: str) -> str:
    """A command among the unacked with this JSON for a priority."""
    return entry().replace('"priority": 0', f'"priority": {value}')


BAD_ENTRIES: dict[str, str | bytes] = {
    "a priority that takes minutes to write out": prioritised("1e999999999"),
    "such a one in kombu's wrapping": prioritised('{"__type__": "decimal", "__value__": "1e999999999"}'),
    "a priority that is Infinity": prioritised("Infinity"),
    "no JSON": "what?",
    "no text": b"\xff\xfe",
    "no list": "{}",
    "a list of two": "[{}, 1]",
    "a list of four": "[{}, 1, 2, 3]",
    "a number": "7",
    "null": "null",
    "no message": '[7, "", "orders.close"]',
    "no properties": entry(properties=None),
    "properties that are a list": entry(properties=[]),
    "nested too deeply": "[" * 100_000,
    "an exchange that is a list": json.dumps([{"properties": {}}, ["x"], "orders.close"]),
    "an exchange that nobody declared": json.dumps([{"properties": {}}, "gone", "orders.close"]),
    "a routing key that is a number": json.dumps([{"properties": {}}, "", 5]),
    "a routing key that is a list": json.dumps([{"properties": {}}, "", ["orders.close"]]),
    "no routing key": json.dumps([{"properties": {}}, "", ""]),
    "a queue that is no list": json.dumps([{"properties": {}}, "", "unacked_index"]),
}


def test_an_entry_that_can_not_be_put_back_costs_itself(broker: Broker) -> None:
    """It is moved to the dead list byte for byte and the sweep goes on; the next sweep finds nothing to do."""
    db = broker.db()
    for number, (name, bad) in enumerate(BAD_ENTRIES.items()):
        db.hset("unacked", mapping={name: bad, f"good {name}": GOOD})
        db.zadd("unacked_index", {name: 2 * number + 1, f"good {name}": 2 * number + 2})
    with consumer(broker, "orders.cancel", visibility_timeout=10) as (connection, _):
        for _ in range(2):
            connection.default_channel.qos.restore_visible(num=100, interval=1)
        assert db.llen("orders.close") == len(BAD_ENTRIES)
        dead = raw(broker, "unacked.dead")
        bad_entries = {name: bad if isinstance(bad, bytes) else bad.encode() for name, bad in BAD_ENTRIES.items()}
        assert [name for name, bad in bad_entries.items() if bad not in dead] == []
        assert len(dead) == len(BAD_ENTRIES)
        assert not db.exists("unacked", "unacked_index")


def test_a_priority_of_any_kind_that_has_a_meaning_comes_back(broker: Broker) -> None:
    """The priority is read as kombu reads it: as the nearest of its steps, or as none."""
    values = ["null", '"high"', "[]", "-5", "3.7", "NaN", "1e300", "-1e999", "true"]
    broker.db().hset("unacked", mapping={value: prioritised(value) for value in values})
    broker.db().zadd("unacked_index", dict.fromkeys(values, 1))
    with consumer(broker, "orders.close", visibility_timeout=10) as (connection, messages):
        connection.default_channel.qos.restore_visible(interval=1)
        drain(connection, messages, len(values))
        assert all(each.headers["redelivered"] for each in messages)
        for each in messages:
            each.ack()


def test_an_entry_under_an_absurd_time_comes_back(broker: Broker) -> None:
    """It is put back at once, or gets the present time."""
    db = broker.db()
    scores = [float("-inf"), -1e300, -1, 0, 9e15, 1e300, float("inf")]
    db.hset("unacked", mapping={str(score): GOOD for score in scores})
    db.zadd("unacked_index", {str(score): score for score in scores})
    with consumer(broker, "orders.cancel", visibility_timeout=10) as (connection, _):
        connection.default_channel.qos.restore_visible(interval=1)
        left = db.zrange("unacked_index", 0, -1, withscores=True)
        assert db.llen("orders.close") + len(left) == len(scores)
        assert all(abs(score - time.time()) < 100 for _, score in left)


def test_an_entry_without_a_time_and_a_time_without_an_entry(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry gets a time, so that it is put back some day, unless its message is acknowledged while the sweep looks;
    the time without an entry is removed."""
    db, find = broker.db(), QoS._tags_without_time
    db.hset("unacked", mapping={"timeless": GOOD, "second": GOOD, "acknowledged": GOOD})
    monkeypatch.setattr(QoS, "_tags_without_time", lambda *of: [find(*of), db.hdel("unacked", "acknowledged")][0])
    db.zadd("unacked_index", {"empty": 1})
    with consumer(broker, "orders.cancel", visibility_timeout=10) as (connection, _):
        connection.default_channel.qos.restore_visible(interval=1)
        assert sorted(db.zrange("unacked_index", 0, -1)) == ["second", "timeless"]
    with consumer(broker, "orders.cancel", visibility_timeout=-1) as (connection, _):
        connection.default_channel.qos.restore_visible(interval=1)
    assert db.llen("orders.close") == 2


def test_a_message_that_is_taken_while_its_tag_is_looked_for_stays_on_record(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker had just put it back, and a third one takes it: were its record removed, nobody would deliver it
    again after that one's death."""
    db, call = broker.db(), DirectClient.call

    def call_late(client: DirectClient, *command: Any) -> Any:
        answer = call(client, *command)
        if command[0] == "HGET":
            db.hset("unacked", "tag", GOOD)
            db.zadd("unacked_index", {"tag": 2_000_000_000})
        return answer

    with consumer(broker, "orders.cancel") as (connection, _):
        monkeypatch.setattr(DirectClient, "call", call_late)
        connection.default_channel.qos.restore_by_tag("tag")
    assert (db.hget("unacked", "tag"), db.zscore("unacked_index", "tag")) == (GOOD, 2_000_000_000)


@pytest.mark.parametrize("spoilt", ["unacked", "unacked_index", "unacked.dead"])
def test_bookkeeping_keys_of_another_type_end_no_consumer(
    broker: Broker, spoilt: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A key of another type is logged and loses nothing; sweeping goes on once it is removed."""
    db = broker.db()
    db.hset("unacked", mapping={"bad": "what?"})
    db.zadd("unacked_index", {"bad": 1})
    db.delete(spoilt)
    db.set(spoilt, "in the way")
    with consumer(broker, "orders.cancel", visibility_timeout=10) as (connection, _):
        connection.default_channel.qos.restore_visible(interval=1)
        assert "WRONGTYPE" in caplog.text
        db.delete(spoilt)
        connection.default_channel.qos.restore_visible(interval=1)
    assert db.zcard("unacked_index") == 0 or spoilt == "unacked_index"
