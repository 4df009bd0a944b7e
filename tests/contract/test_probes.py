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
from tests.contract.conftest import OperatorFixture
from tests.model.conformance import claim
from tests.support.servers import Server, binary, free_port
from worker.broker.stats import BrokerProbe
from worker.ledger.halts import HaltScope
from worker.ledger.keys import COOL_DOWNS_KEY
from worker.ledger.pacing import CoolDown, Pace
from worker.ledger.stats import LedgerProbe
from worker.observability.collector import CachedProbe

ROOM = 400_000
"""Bytes that a server may write to one file."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[redis.Redis]:
    """A server whose disk is soon full."""
    port = free_port()
    options = ["--port", str(port), "--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "everysec"]
    # Inherited ignored, or the kernel would end the process instead of refusing the write.
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([binary(), *options, "--save", ""], stdout=log, stderr=log, restore_signals=False)
    signal.signal(signal.SIGXFSZ, before)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (ROOM, ROOM))
    with redis.Redis(port=port, socket_timeout=20) as client:
        yield client
    process.kill()
    process.wait()


def test_a_full_disk_is_no_server_that_is_gone(small_disk: redis.Redis) -> None:
    """Such a server refuses even PING, and must not be reported as down."""
    ends_at = time.monotonic() + 60
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
    """After a failover, workers may still ask the old primary."""
    with Server() as server, redis.Redis(port=server.port) as client:
        state = server_state(client)
        assert state.writable
        assert abs(state.clock_offset) < 1
        assert 0 < state.memory_used < state.memory_max
        client.replicaof("127.0.0.1", "1")
        assert server_state(client).writable is False


def test_a_server_that_limits_its_memory_says_so(broker: redis.Redis) -> None:
    broker.config_set("maxmemory", 123_456_789)
    assert server_state(broker).memory_max == 123_456_789
    broker.config_set("maxmemory", 0)


def test_unknowns_are_counted_by_account_and_age(operator: OperatorFixture) -> None:
    """The account of each is read only once, and one whose record was removed still counts."""
    client = operator.client
    for account, command_id in (("main", "a"), ("main", "b"), ("bz", "c")):
        operator.ledger.begin(claim(command_id, command="close", account=account), 1)
    client.zadd("orders:unknown", {"a": 5000, "b": 2000, "c": 3000, "gone": 4000})
    look = LedgerProbe(client)
    state = look()
    assert state.unknown == {"main": 2, "bz": 1, "other": 1}
    assert state.unknown_since == {"main": 2.0, "bz": 3.0, "other": 4.0}
    client.zrem("orders:unknown", "b", "c")
    client.hset("orders:command:a", "account", "changed")
    assert look().unknown == {"main": 1, "other": 1}


def test_halts_by_scope_and_the_number_of_intents(operator: OperatorFixture) -> None:
    halt = operator.desk.halt(HaltScope(command="withdraw"), who="ann", why="x")
    operator.client.hset("orders:outbox:close", mapping={"seen": "", "unseen": ""})
    operator.client.hset("orders:outbox:withdraw", "begun", "")
    operator.client.zadd("orders:due:outbox:close", {"seen": 1})
    operator.client.zadd("orders:due:outbox:withdraw", {"begun": int(time.time() * 1000) + 120_000})
    state = LedgerProbe(operator.client)()
    assert state.halts == {("*", "withdraw"): halt.at / 1000}
    assert state.intents == 2


def test_cool_downs_by_what_they_hold_for(operator: OperatorFixture) -> None:
    """A key that somebody has spoilt hides nothing else."""
    query = claim("q", command="positions", pace=Pace("bucket", "host:443"))
    operator.ledger.cool_down(query, CoolDown(60.0, by_address=False, why="HTTP 429"))
    operator.ledger.cool_down(query, CoolDown(900.0, by_address=True, why="HTTP 418"))
    found = LedgerProbe(operator.client)().cool_downs
    assert found is not None
    assert 0 < found["bucket"] <= 60 < found["host:443"]
    operator.client.delete(COOL_DOWNS_KEY)
    operator.client.set(COOL_DOWNS_KEY, "x")
    assert LedgerProbe(operator.client)().cool_downs is None


def test_queues_are_told_by_length_and_age(broker: redis.Redis) -> None:
    """The age is that of the next message, over all priorities; bytes that are no text do no harm."""
    broker.lpush("p:orders.close", b'{"headers": {"enqueued_at": 1700000000000}}', b'{"headers": {}}')
    broker.lpush("p:orders.close\x06\x166", b'{"headers": {"enqueued_at": 1600000000000}}')
    broker.lpush("p:orders.cancel", b"\xff\xfe")
    broker.lpush("p:orders.cancel.dead", b"x")
    broker.hset("p:unacked", "tag", "message")
    broker.lpush("p:unacked.dead", b"x", b"y")
    state = BrokerProbe(broker, ["orders.close", "orders.cancel"], "p:")()
    close, cancel = state.queues["orders.close"], state.queues["orders.cancel"]
    assert (close.waiting, close.dead, close.oldest_enqueued_at_ms) == (3, 0, 1_600_000_000_000)
    assert (cancel.waiting, cancel.dead, cancel.oldest_enqueued_at_ms) == (1, 1, None)
    assert (state.unacked, state.dead_unacked) == (1, 2)


def test_a_queue_that_is_no_list_hides_no_other(broker: redis.Redis) -> None:
    """Nor does a message that is longer than any command hide one."""
    broker.set("orders.close", "x")
    broker.lpush("orders.cancel", b'{"headers": {"enqueued_at": 1700000000000}, "body": "%s"}' % (b"x" * 70_000))
    queues = BrokerProbe(broker, ["orders.close", "orders.cancel"])().queues
    assert {name: (queue.waiting, queue.oldest_enqueued_at_ms) for name, queue in queues.items()} == {
        "orders.cancel": (1, None)
    }


@pytest.mark.parametrize("said", [b"1" + b"0" * 400, b"-1", b"0", b"true", b"1e300", b'"soon"'])
def test_a_time_that_is_none_takes_no_metrics_along(broker: redis.Redis, said: bytes) -> None:
    """Any Celery client may write this header; a bad one kept every worker from reporting metrics."""
    broker.lpush("orders.close", b'{"headers": {"enqueued_at": %s}}' % said)
    found = BrokerProbe(broker, ["orders.close"])().queues["orders.close"]
    assert (found.waiting, found.oldest_enqueued_at_ms) == (1, None)


def test_a_probe_is_cached_for_a_while() -> None:
    """A server is asked once in a while however many ask, and a failure is not hidden by the last success."""
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
