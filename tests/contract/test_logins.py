"""What each login of compose's server may not do, on that server with the list that compose/prepare writes; and that
the doctor names what a login may do too much. That each can do what it needs is in tests/security/test_logins.py."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from redis.exceptions import NoPermissionError

from producers.intents import OUTBOX_KEYS
from tests.model.conformance import claim, report
from tests.support.compose_server import ComposeServer
from tests.support.servers import Server
from worker.broker.dead_letters import dead_letters, remove_letter
from worker.celery_app.one_server import one_server_of
from worker.celery_app.results import ReportBackend, store_arguments
from worker.ledger.base import Begun, Following
from worker.ledger.beside import StoredResults
from worker.ledger.connection import connect
from worker.ledger.redis import RedisLedger
from worker.ledger.webhooks import Delivery, WebhookQueue, names
from worker.operations.doctor import servers
from worker.operations.doctor.findings import Level
from worker.operations.doctor.ledger import check_last_step
from worker.operations.doctor.rights import check_rights
from worker.settings import WorkerSettings

CALLS = ((), ("--producer", "payroll", "--may", "withdraw:treasury,cancel"))
ROLES = ("broker", "results", "ledger")


@pytest.fixture(scope="module")
def compose() -> Iterator[ComposeServer]:
    with ComposeServer(calls=CALLS) as started:
        yield started


@pytest.mark.parametrize("login", ["worker", "withdraw"])
def test_a_workers_login_may_end_a_command_in_one_step(compose: ComposeServer, login: str) -> None:
    """By what it may do without a script: results, messages, and their databases."""
    settings = WorkerSettings(redis_url=compose.urls[login])
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.update(result_serializer="json", accept_content=["json"])
    backend = ReportBackend(app=app, url=settings.result_backend)
    following = Following(
        lambda told: store_arguments(backend, told),
        lambda _: (0, "unacked_index", "unacked", "", "lane:main/one tag", "ended"),
    )
    compose.refusals()
    with connect(settings.ledger_url) as client, compose.client() as broker, compose.client(1) as results:
        broker.hset("unacked", "lane:main/one tag", "[]")
        broker.hset("orders.lane:main/one", mapping={"id": "id", "tag": "lane:main/one tag", "queue": "orders.close"})
        ledger = RedisLedger(client, disk_ms=0, results=StoredResults(lambda _: None, one_server_of(settings, client)))
        asks = claim(login, heeds_result=True)
        assert isinstance(ledger.begin(asks, 1), Begun)
        told = report(command_id=login)
        assert ledger.settle(asks, told, None, following) == told
        assert (following.stored, following.acked, compose.refusals()) == (True, True, [])
        assert not broker.exists("unacked", "orders.lane:main/one")
        assert results.delete(f"celery-task-meta-{login}")
        results.config_resetstat()
        said = check_last_step(settings)[0]
        assert (said.level, said.message.partition(":")[0]) == (Level.OK, "one step")


@pytest.mark.parametrize("login", ["worker", "withdraw", "operator"])
def test_workers_and_operators_may_serve_webhooks(compose: ComposeServer, login: str) -> None:
    with connect(WorkerSettings(redis_url=compose.urls[login]).ledger_url) as client:
        queue = WebhookQueue(client, f"books-{login}")
        compose.refusals()
        queue.take(("accepted",), 1000)
        queue.resend(Delivery("1-0", "a", "accepted", 1, 0), who="ann", why="it is up")
        taken = queue.take(("accepted",), 0).delivery
        assert taken is not None
        assert queue.report("a") is None
        assert queue.again(taken, 0, "HTTP 500")
        again = queue.take(("accepted",), 0).delivery
        assert again is not None
        assert queue.give_up(again, "HTTP 500")
        assert [each.key for each in queue.all_dead()] == ["1-0"]
        assert (queue.state().dead, queue.waiting(9), len(queue.dead(9))) == (1, [], 1)
        assert queue.name in names(client)
        queue.done(again)
        assert compose.refusals() == []


NO_SENDERS = """
    HGETALL orders:webhooks|HSET orders:webhooks books 0-0|ZADD orders:webhook:books:due 1 a
    HSET orders:webhook:books:items a b|HGETALL orders:webhook:books:items
    LRANGE orders.close 0 -1|LINDEX orders.close 0|RPOP orders.close|LPOP orders.close|BRPOP orders.close 0
    LSET orders.close 0 x|LTRIM orders.close 0 0|LREM orders.close 1 x|LINSERT orders.close BEFORE a b
    RPUSH orders.close x|LMOVE orders.close orders.cancel LEFT LEFT|RPOPLPUSH orders.close orders.cancel
    COPY orders.close orders.x|RENAME orders.close orders.x|DEL orders.close|UNLINK orders.close
    EXPIRE orders.close 1|SORT orders.close|DUMP orders.close|LPUSH orders.close.dead x
    LRANGE orders.close.dead 0 -1|LPUSH orders.reconcile x|LPUSH celery x|LPUSH orders.x x
    LPUSH orders:outbox:close x|HSETNX orders.close a b|SADD orders.close x|SET orders.close x
    SETEX orders.close 1 x|HSET orders:outbox:close a b|HDEL orders:outbox:close a
    HGET orders:outbox:close a|HGETALL orders:outbox:close|HSCAN orders:outbox:close 0
    HKEYS orders:outbox:close|DEL orders:outbox:close|SET orders:outbox:close x
    HINCRBY orders:outbox:close a 1|ZADD orders:due:outbox:close 9e15 a|ZREM orders:due:outbox:close a
    ZADD orders:intents 1 a|HSETNX orders:command:a state x|HSET orders:command:a state x|HGETALL orders:command:a
    HGET orders:command:a report|DEL orders:command:a|EXPIRE orders:command:a 1|SET orders:command:a x
    TYPE orders:command:a|XADD orders:journal * a b|XRANGE orders:journal - +|XDEL orders:journal 1-1
    HSET orders:halts */* x|HGETALL orders:halts|SET celery-task-meta-a x|SETEX celery-task-meta-a 1 x
    DEL celery-task-meta-a|APPEND celery-task-meta-a x|GETDEL celery-task-meta-a|GETEX celery-task-meta-a
    EXPIRE celery-task-meta-a 1|LPUSH celery-task-meta-a x|PUBLISH celery-task-meta-a x
    PSUBSCRIBE celery-task-meta-*|PUBLISH /0.celery.pidbox x|SUBSCRIBE /0.celeryev/task.received
    PUBLISH /0.celeryev/worker.heartbeat x|SUBSCRIBE /0.celery.pidbox|SUBSCRIBE __keyspace@0__:orders.close
    SADD _kombu.binding.celery.pidbox x|SADD _kombu.binding.reply.celery.pidbox x|SADD _kombu.binding.celeryev x
    SREM _kombu.binding.orders.close x|SMEMBERS _kombu.binding.orders.close|DEL _kombu.binding.orders.close
    SET celery-taskset-meta-a.j x|SET celery-taskset-meta-a.t x|DEL celery-taskset-meta-a.j
    ZADD celery-taskset-meta-a.j 1 x|GET celery-taskset-meta-a.s|SET celery-taskset-meta-a.s x GET|HGETALL unacked
    HDEL unacked a|ZREM unacked_index a|DEL unacked|SET unacked_mutex x|SCAN 0|KEYS *|RANDOMKEY|DBSIZE|EVAL x 0
    EVALSHA x 0|FCALL x 0|SCRIPT LOAD x|SCRIPT FLUSH|FUNCTION LOAD x|FLUSHALL|FLUSHDB|CONFIG GET *|CONFIG SET a b
    INFO|MONITOR|DEBUG SLEEP 1|SHUTDOWN|SAVE|BGSAVE|BGREWRITEAOF|ACL LIST|ACL GETUSER admin|ACL LOG|ACL SETUSER x
    CLIENT LIST|CLIENT KILL ID 1|CLIENT PAUSE 1|CLIENT TRACKING ON|SWAPDB 0 1|MOVE orders.close 1|REPLICAOF a 1
    MIGRATE a 1 b 0 1|RESTORE orders.close 0 x|OBJECT ENCODING orders.close|WAIT 1 1|SLOWLOG GET|LATENCY RESET
    MODULE LIST|CLUSTER INFO|MEMORY USAGE orders.close|BITOP NOT orders.close orders.x
    ZADD orders.close.parked 1 a|ZREM orders.close.parked a|ZRANGE orders.close.parked 0 -1|DEL orders.close.parked
    HSET orders.close.parked.messages a b|HGETALL orders.close.parked.messages|SET orders.close.parked.next 1
    GETEX orders.close.parked.next|LPUSH orders.close.waiting:main x|RPUSH orders.close.waiting:main x
    LRANGE orders.close.waiting:main 0 -1|ZADD orders.close.waiting 0 main|ZRANGE orders.close.waiting 0 -1
    LPUSH orders.close.lane:main/x x|HSET orders.lane:main/x id a|DEL orders.lane:main/x
    LPUSH orders.lane:main/x.waiting orders.close|LPUSH orders.lanes.ready:orders.close x|ZADD orders.lanes 1 main/x
    HSET orders:venue_cool_downs a b|HDEL orders:venue_cool_downs a|HGETALL orders:venue_cool_downs
    DEL orders:venue_cool_downs
    RPUSH orders:begins:a 1|DEL orders:begins:a|LPOP orders:begins:a
"""
NO_WORKERS = """
    DEL orders:command:a|UNLINK orders:command:a|SET orders:command:a x|RENAME orders:command:a orders:x
    RENAME orders:x orders:command:a|COPY orders:x orders:command:a|MOVE orders:command:a 1
    RESTORE orders:command:a 0 x|SORT orders:x STORE orders:command:a|GETDEL orders:x
    ZUNIONSTORE orders:command:a 1 orders:x|DEL orders:journal|UNLINK orders:journal|EXPIRE orders:journal 1
    RENAME orders:journal orders:x|XDEL orders:journal 1-1|XTRIM orders:journal MAXLEN 0|XSETID orders:journal 1-1
    XGROUP CREATE orders:journal g 0|COPY orders:journal orders:x|SWAPDB 0 1|MIGRATE a 1 b 0 1|LSET orders.close 0 x
    LMOVE orders.close orders.cancel LEFT LEFT|LTRIM orders.close 0 0|FLUSHALL|FLUSHDB|CONFIG SET a b|SHUTDOWN
    DEBUG SLEEP 1|FUNCTION LOAD x|FUNCTION FLUSH|FCALL x 0|SCRIPT FLUSH|SCRIPT KILL|ACL SETUSER x|ACL LIST
    REPLICAOF a 1|MONITOR|CLIENT KILL ID 1|SAVE|BGREWRITEAOF|MODULE LIST|KEYS *|PUBLISH orders x
"""
NO_WITHDRAWALS = """
    LPUSH orders.withdraw x|RPOP orders.withdraw|ZADD orders.withdraw.parked 1 a|SET orders.withdraw.parked.next 1
    HSET orders.withdraw.parked.messages a b|LPUSH orders.withdraw.waiting:main x|LPUSH orders.withdraw.lane:main/x x
"""
NO_FLOWERS = """
    LRANGE orders.close 0 -1|LINDEX orders.close 0|LPUSH orders.close x|RPOP orders.close|DEL orders.close|SCAN 0
    KEYS *|LRANGE orders.close.dead 0 -1|LRANGE celery 0 -1|HGETALL unacked|HDEL unacked a|ZRANGE unacked_index 0 -1
    SET celery-task-meta-a x|DEL celery-task-meta-a|HGETALL orders:command:a|HGETALL orders:outbox:close
    XRANGE orders:journal - +|PUBLISH celery-task-meta-a x|SUBSCRIBE celery-task-meta-a|FUNCTION LOAD x|CONFIG GET *
    FLUSHALL|HSET orders:halts */* x|SADD _kombu.binding.orders.close x|ZRANGE orders.close.parked 0 -1
    HGETALL orders.close.parked.messages|LRANGE orders.close.waiting:main 0 -1|HGETALL orders.lane:main/x
    ZADD orders.close.parked 1 a|HGETALL orders:venue_cool_downs
"""
NO_READERS = """
    XADD orders:journal * a b|XDEL orders:journal 1-1|XTRIM orders:journal MAXLEN 0|DEL orders:journal
    HGETALL orders:command:a|XGROUP CREATE orders:journal g 0|LRANGE orders.close 0 -1|GET celery-task-meta-a|SCAN 0
    EVAL x 0|SUBSCRIBE x|FLUSHALL|HGETALL orders:venue_cool_downs|ZRANGE orders.close.parked 0 -1
"""
NO_OPERATORS = """
    LRANGE orders.close 0 -1|LPUSH orders.withdraw x|RPOP orders.close|DEL orders.close|HGETALL unacked
    DEL orders:command:a|DEL orders:journal|XDEL orders:journal 1-1|XTRIM orders:journal MAXLEN 0
    LPUSH orders.close.dead x|DEL orders.close.dead|LPUSH orders.close x|LREM orders.close 1 x
    LSET orders.close.dead 0 x|LPOP orders.close.dead|PUBLISH /0.celery.pidbox x|CONFIG SET a b|FLUSHALL
    FUNCTION LOAD x|ACL LIST|SADD _kombu.binding.celery.pidbox x|ZADD orders.close.parked 1 a
    ZREM orders.close.parked a|HDEL orders.close.parked.messages a|GETEX orders.close.parked.next PX 1
    LPUSH orders.close.waiting:main x|ZADD orders.close.waiting 0 main|HSET orders.lane:main/x id a
    DEL orders.lane:main/x|RPUSH orders:begins:a 1|DEL orders:begins:a|KEYS *|DUMP orders.close.parked
"""
REFUSED = {
    "producer": NO_SENDERS,
    "payroll": NO_SENDERS + "|LPUSH orders.close x|LLEN orders.close|LPUSH orders.positions x"
    "|LPUSH orders.submit x|LPUSH orders.submit\x06\x163 x|HSETNX orders:outbox:submit a b",
    "worker": NO_WORKERS + "|" + NO_WITHDRAWALS,
    "withdraw": NO_WORKERS,
    "flower": NO_FLOWERS,
    "archive": NO_READERS,
    "operator": NO_OPERATORS,
    "health": "INFO|GET celery-task-meta-a|SCAN 0|SELECT 1",
}


@pytest.mark.parametrize("login", REFUSED)
def test_a_login_is_refused_what_it_does_not_need(compose: ComposeServer, login: str) -> None:
    commands = [each.split() for line in REFUSED[login].splitlines() for each in line.split("|") if each.strip()]
    with compose.client() as admin:
        allowed = [" ".join(each) for each in commands if dry_run(admin, login, each) == "OK"]
    assert allowed == []


def test_an_operator_drops_a_dead_letter_and_sends_none_again(compose: ComposeServer) -> None:
    """It can't write a queue of commands, which it would send any command with; a worker's login can."""
    with compose.client() as admin:
        admin.lpush("orders.close.dead", "x")
        for login, moved in (("operator", 0), ("worker", 1)):
            with compose.login(login, decode_responses=False) as broker:
                ((queue, _, (letter,)),) = dead_letters(broker)
                if not moved:
                    with pytest.raises(NoPermissionError):
                        remove_letter(broker, letter, queue)
                assert admin.llen("orders.close.dead") == 1
                assert remove_letter(broker, letter, queue if moved else "")
            assert (admin.llen("orders.close.dead"), admin.llen("orders.close")) == (0, moved)
            admin.lpush("orders.close.dead", "x")
        admin.delete("orders.close.dead", "orders.close")
    compose.refusals()


def dry_run(admin: Any, login: str, command: list[str]) -> str:
    """What the server would say to a login that runs a command; it raises an error if it does not know the command."""
    return str(admin.execute_command("ACL", "DRYRUN", login, *command))


def test_no_priority_keeps_a_producer_from_its_queues(compose: ComposeServer) -> None:
    with compose.client() as admin:
        for queue in ("orders.withdraw", "orders.withdraw\x06\x163", "orders.cancel\x06\x169"):
            assert dry_run(admin, "payroll", ["LPUSH", queue, "x"]) == "OK"
        for queue, outbox in OUTBOX_KEYS.items():
            assert dry_run(admin, "producer", ["LPUSH", queue, "x"]) == "OK"
            assert dry_run(admin, "producer", ["HSETNX", outbox, "a", "b"]) == "OK"


def test_the_first_intent_of_an_id_stands_whoever_writes_the_second(compose: ComposeServer) -> None:
    """And nobody gives the outbox, or a queue, another type while it is empty."""
    with compose.login("payroll", 2) as one, compose.login("producer", 2) as other, compose.client(2) as admin:
        assert one.hsetnx("orders:outbox:cancel", "1", "first") == 1
        assert other.hsetnx("orders:outbox:cancel", "1", "second") == 0
        assert admin.hgetall("orders:outbox:cancel") == {"1": "first"}


def rights_of(url: str, *, producer: bool) -> dict[str, Level]:
    found = check_rights(ROLES, servers.Server("broker", f"{url}/0"), producer=producer)
    return {each.message: each.level for each in found}


@pytest.mark.parametrize(("login", "producer"), [("worker", False), ("withdraw", False), ("payroll", True)])
def test_the_doctor_finds_no_right_too_many_in_composes_logins(
    compose: ComposeServer, login: str, producer: bool
) -> None:
    assert list(rights_of(compose.urls[login], producer=producer).values()) == ["ok"]


def test_the_doctor_names_each_right_too_many_and_uses_none(compose: ComposeServer) -> None:
    """Also of a login with the rights that a producer had in earlier versions."""
    with compose.client() as admin:
        admin.acl_setuser("before", enabled=True, nopass=True, keys=["orders.*", "orders:due:*"], commands=["+@all"])
        admin.execute_command("ACL", "SETUSER", "before", "-@dangerous", "%R~orders:command:*", "+flushall")
        admin.lpush("orders.withdraw", "message")
        before = admin.info("keyspace"), admin.info("commandstats").keys()
        found = rights_of(f"redis://before:x@127.0.0.1:{compose.port}", producer=True)
        assert admin.info("keyspace") == before[0]
        assert {"cmdstat_flushall", "cmdstat_rpop", "cmdstat_lset"}.isdisjoint(
            name for name, stats in admin.info("commandstats").items() if stats["calls"]
        )
        admin.acl_deluser("before")
        admin.delete("orders.withdraw")
    assert {*found.values()} == {Level.WARNING}
    words = [message.partition(" may ")[2].partition(",")[0] for message in found]
    for right in (
        "empty databases (FLUSHALL)",
        "read queues (LRANGE)",
        "postpone intents (ZADD)",
        "run scripts (EVAL)",
    ):
        assert right in words


def test_the_doctor_says_in_one_line_that_a_login_may_do_everything() -> None:
    with Server() as server:
        (only,) = rights_of(server.url(), producer=False)
        assert only.startswith("default may do everything")
        assert server.client().dbsize() == 0
