"""Looking at the servers for the metrics, on a real one: what is told when it is well, and when it is not."""

import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from producers.redis.server_info import server_state
from tests.servers import Server, binary, free_port
from worker.broker.stats import BrokerProbe
from worker.ledger.base import Claim
from worker.ledger.redis import RedisLedger
from worker.ledger.stats import LedgerProbe
from worker.observability.collector import CachedProbe

ROOM = 400_000
"""Bytes that a server may write to one file."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[redis.Redis]:
    """A server that finds no room on its disk after a while."""
    port = free_port()
    options = ["--port", str(port), "--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "everysec"]
    # Inherited ignored, or the kernel would end the process instead of refusing the write.
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([binary(), *options, "--save", ""], stdout=log, stderr=log, restore_signals=False)
    signal.signal(signal.SIGXFSZ, before)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (ROOM, ROOM))
    with redis.Redis(port=port, socket_timeout=2) as client:
        yield client
    process.kill()
    process.wait()


def test_a_full_disk_is_no_server_that_is_gone(small_disk: redis.Redis) -> None:
    """It refuses even PING; whoever is told that it is gone looks in the wrong place."""
    ends_at = time.monotonic() + 20
    while True:
        try:
            assert small_disk.set("key", b"x" * 10_000)
        except redis.ConnectionError:
            time.sleep(0.05)  # it is starting
        except redis.ResponseError:
            break
        assert time.monotonic() < ends_at
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        small_disk.ping()
    assert server_state(small_disk).writable is False


def test_a_replica_takes_no_writes() -> None:
    """After a failover, workers that still ask the old primary."""
    with Server() as server, redis.Redis(port=server.port) as client:
        state = server_state(client)
        assert state.writable
        assert abs(state.clock_offset) < 1
        assert 0 < state.memory_used < state.memory_max
        client.replicaof("127.0.0.1", "1")
        assert server_state(client).writable is False


def test_limits_of_memory(server: Server) -> None:
    """Its own limit where it has one."""
    with redis.Redis(port=server.port) as client:
        client.config_set("maxmemory", 123_456_789)
        assert server_state(client).memory_max == 123_456_789
        client.config_set("maxmemory", 0)


def test_unknowns_by_account_and_age(server: Server) -> None:
    """Whose they are is read once for each; one whose record was removed is still open."""
    server.flush()
    with redis.Redis(port=server.port, decode_responses=True) as client:
        ledger = RedisLedger(client)
        for account, command_id in (("main", "a"), ("main", "b"), ("bz", "c")):
            ledger.begin(Claim(command_id, "f", "close", account, False, "t", 1000), 1)
        client.zadd("orders:unknown", {"a": 5000, "b": 2000, "c": 3000, "gone": 4000})
        look = LedgerProbe(client)
        state = look()
        assert state.unknown == {"main": 2, "bz": 1, "other": 1}
        assert state.unknown_since == {"main": 2.0, "bz": 3.0, "other": 4.0}
        client.zrem("orders:unknown", "b", "c")
        client.hset("orders:command:a", "account", "changed")
        assert look().unknown == {"main": 1, "other": 1}


def test_halts_and_intents(server: Server) -> None:
    """Scopes as an operator names them."""
    server.flush()
    with redis.Redis(port=server.port, decode_responses=True) as client:
        client.hset("orders:halts", "*/withdraw", '{"who": "ann", "why": "x", "at": 1700000000000}')
        client.zadd("orders:intents", {"a": 1, "b": 2})
        state = LedgerProbe(client)()
    assert state.halts == {("*", "withdraw"): 1.7e9}
    assert state.intents == 2


def test_queues(server: Server) -> None:
    """Lengths, and the age of what will be taken next, of every priority; bytes that are no text break nothing."""
    server.flush()
    with redis.Redis(port=server.port) as client:
        client.lpush("p:orders.close", b'{"headers": {"enqueued_at": 1700000000000}}', b'{"headers": {}}')
        client.lpush("p:orders.close\x06\x166", b'{"headers": {"enqueued_at": 1600000000000}}')
        client.lpush("p:orders.cancel", b"\xff\xfe")
        client.lpush("p:orders.cancel.dead", b"x")
        client.hset("p:unacked", "tag", "message")
        client.lpush("p:unacked.dead", b"x", b"y")
        state = BrokerProbe(client, ["orders.close", "orders.cancel"], "p:")()
    close, cancel = state.queues["orders.close"], state.queues["orders.cancel"]
    assert (close.waiting, close.dead, close.oldest_enqueued_at_ms) == (3, 0, 1_600_000_000_000)
    assert (cancel.waiting, cancel.dead, cancel.oldest_enqueued_at_ms) == (1, 1, None)
    assert (state.unacked, state.dead_unacked) == (1, 2)


def test_a_queue_that_is_no_list_hides_no_other(server: Server) -> None:
    """Nor does a message that is longer than any command: its length is not asked for."""
    server.flush()
    with redis.Redis(port=server.port) as client:
        client.set("orders.close", "x")
        client.lpush("orders.cancel", b'{"headers": {"enqueued_at": 1700000000000}, "body": "%s"}' % (b"x" * 70_000))
        state = BrokerProbe(client, ["orders.close", "orders.cancel"])()
    assert state.queues.keys() == {"orders.cancel"}
    assert (state.queues["orders.cancel"].waiting, state.queues["orders.cancel"].oldest_enqueued_at_ms) == (1, None)


@pytest.mark.parametrize("said", [b"1" + b"0" * 400, b"-1", b"0", b"true", b"1e300", b'"soon"'])
def test_a_time_that_is_none_takes_no_metrics_along(server: Server, said: bytes) -> None:
    """Any Celery client writes that header; while such a message is the next one, no worker would tell anything."""
    server.flush()
    with redis.Redis(port=server.port) as client:
        client.lpush("orders.close", b'{"headers": {"enqueued_at": %s}}' % said)
        found = BrokerProbe(client, ["orders.close"])().queues["orders.close"]
    assert (found.waiting, found.oldest_enqueued_at_ms) == (1, None)


def test_a_look_is_kept_for_a_while() -> None:
    """However many ask, a server is asked once in five seconds; and a failure is not told as the last success."""
    answers: list[object] = [1, redis.ConnectionError(), 3]

    def look() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    kept = CachedProbe(look, seconds=60)
    assert [kept.get(), kept.get()] == [1, 1]
    hasty = CachedProbe(look, seconds=0)
    assert [hasty.get(), hasty.get()] == [None, 3]
