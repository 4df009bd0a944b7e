"""What somebody gets done at the server who has a login's password and nothing else, or not even that."""

import itertools
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from tests.contract.test_logins import CALLS, REFUSED
from tests.support.compose_server import ComposeServer
from tests.support.compose_stack import WITHDRAW, message

VICTIM = "a"
VICTIMS: dict[int, dict[str, Sequence[Any]]] = {
    # What others have at the server, by database: how it is written.
    0: {
        "orders.withdraw": ("LPUSH", message("orders.withdraw", VICTIM, WITHDRAW)),
        "orders.withdraw\x06\x169": ("LPUSH", message("orders.withdraw", VICTIM, WITHDRAW)),
        "orders.withdraw.dead": ("LPUSH", "x"),
        "orders.close": ("LPUSH", message("orders.close", VICTIM)),
        "orders.close.dead": ("LPUSH", "x"),
        "orders.reconcile": ("LPUSH", "x"),
        "celery": ("LPUSH", "x"),
        "notifications": ("LPUSH", "x"),
        "unacked": ("HSET", "tag", "x"),
        "unacked_index": ("ZADD", 1, "tag"),
        "_kombu.binding.celery.pidbox": ("SADD", "x"),
        "_kombu.binding.reply.celery.pidbox": ("SADD", "x"),
    },
    1: {
        f"celery-task-meta-{VICTIM}": ("SET", '{"status": "SUCCESS"}'),
        "celery-taskset-meta-group": ("SET", "x"),
        "celery-taskset-meta-group.j": ("ZADD", 1, "x"),
    },
    2: {
        f"orders:command:{VICTIM}": ("HSET", "state", "SENDING"),
        "orders:journal": ("XADD", "*", "event", "begin"),
        "orders:unknown": ("ZADD", 1, VICTIM),
        "orders:halts": ("HSET", "*/*", "x"),
        "orders:looks": ("HSET", VICTIM, 1),
        "orders:outbox:withdraw": ("HSET", VICTIM, '{"task": "orders.withdraw"}'),
    },
}


@pytest.fixture(scope="module")
def server() -> Iterator[ComposeServer]:
    with ComposeServer(calls=CALLS) as started:
        for database, keys in VICTIMS.items():
            with started.client(database) as admin:
                for key, (write, *arguments) in keys.items():
                    admin.execute_command(write, key, *arguments)
        started.refusals()
        yield started


def contents(server: ComposeServer) -> dict[tuple[int, str], bytes]:
    """Everything that is stored, as the server itself would write it down."""
    found = {}
    for database in range(4):
        with server.login("admin", database, decode_responses=False) as admin:
            found.update({(database, key.decode()): admin.dump(key) for key in admin.scan_iter(count=1000)})
    return found


def commands_of(server: ComposeServer, login: str) -> set[str]:
    """Every command of the server that a login may send for any key at all, by the server's own word."""
    with server.client() as admin:
        return {name for name in admin.command_list() if may_run(admin, login, name)} - OF_A_CONNECTION


def may_run(admin: Any, login: str, name: str) -> bool:
    for count in range(10):
        try:
            told = admin.execute_command("ACL DRYRUN", login, *name.split("|"), *["1"] * count)
        except redis.ResponseError as error:
            if "not found" in str(error):
                return False  # the name of a group of commands
            if "wrong number of arguments" not in str(error):
                raise
        else:
            return "permissions to run" not in str(told)
    raise AssertionError(f"{name} takes other arguments")


OF_A_CONNECTION = {"auth", "hello", "quit", "reset", "client|setinfo"}
"""Nobody can be refused the first four."""
PRODUCER = """
ping select multi exec subscribe unsubscribe lpush llen hsetnx hexists get mget getrange exists sadd set del
"""
ARCHIVE = "ping select info time get exists xrange xrevrange xread xlen xinfo|stream"
OF_THE_SERVER = """
function|load function|flush function|restore function|delete fcall script|flush script|kill module|load monitor debug
shutdown save bgsave bgrewriteaof config|set config|rewrite config|resetstat client|kill client|pause client|unpause
client|list acl|setuser acl|load acl|list acl|getuser replicaof failover psync sync slowlog|get latency|reset
cluster|reset keys swapdb flushdb flushall
"""
"""Commands that stop or watch others, change the server, leave code there or show what it holds."""
OF_KEYS = """
rename renamenx copy move dump restore migrate sort bitop pfmerge object|encoding xdel xtrim xsetid xgroup|create
xgroup|destroy xautoclaim lset linsert ltrim lmove blmove rpoplpush brpoplpush
"""
"""Commands that take a key or an entry from its place, or put another there."""


def test_a_login_has_the_commands_that_are_listed_here(server: ComposeServer) -> None:
    """Of all that the server knows."""
    assert commands_of(server, "producer") == commands_of(server, "payroll") == {*PRODUCER.split()}
    assert commands_of(server, "archive") == {*ARCHIVE.split()}
    assert commands_of(server, "health") == {"ping"}
    assert commands_of(server, "flower") & {*OF_THE_SERVER.split()} == set()
    for login in ("worker", "withdraw"):
        assert commands_of(server, login) & {*OF_THE_SERVER.split(), *OF_KEYS.split()} == set()


def is_refusal(error: Exception) -> bool:
    """Whether this is the server's refusal: by a login's rights, also inside of a script, or to everybody."""
    texts = (
        "ACL failure in script",
        "The user executing the script can't",
        "not allowed. If the enable-",
        "unknown command",
    )
    return isinstance(error, redis.exceptions.NoPermissionError) or any(text in str(error) for text in texts)


@pytest.mark.parametrize("login", REFUSED)
def test_what_a_login_may_not_do_is_refused_and_shown(server: ComposeServer, login: str) -> None:
    """Each is tried, nothing at the server has changed by it, and the administrator sees who tried."""
    before, passed = contents(server), []
    clients = [server.login(login, database, socket_timeout=5) for database in range(3)]
    words = [each.split() for line in REFUSED[login].splitlines() for each in line.split("|") if each.strip()]
    server.refusals()
    for client, command in itertools.product(clients, words):
        try:
            client.execute_command(*command)
        except redis.RedisError as error:
            if not is_refusal(error):
                passed.append(f"{command} {error}")
        else:
            passed.append(f"{command}")
    for client in clients:
        client.close()
    assert passed == []
    assert contents(server) == before
    assert {who for who, _, _ in server.refusals()} == {login}


def test_no_connection_takes_the_servers_memory(server: ComposeServer) -> None:
    """What a client has sent of a command that it never finishes is in nobody's queue, and in the server's memory all
    the same: two connections once kept every worker from writing."""
    login = urlsplit(server.urls["payroll"])
    with ExitStack() as attackers, server.client() as admin, server.login("worker", 2) as worker:
        for length, sent in [(300_000_000, 100), *[(30_000_000, 29)] * 8]:
            attacker = attackers.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            words = (
                f"AUTH {login.username} {login.password}\r\n*3\r\n$5\r\nLPUSH\r\n$13\r\norders.cancel\r\n${length}\r\n"
            )
            with suppress(OSError):
                attacker.sendall(words.encode())
                for _ in range(sent):
                    attacker.sendall(b"x" * 1_000_000)
            assert admin.info("memory")["used_memory"] < 200_000_000
        worker.hset("orders:command:new", "state", "SENDING")
        worker.pexpire("orders:command:new", 1)


@pytest.mark.parametrize(
    "sent",
    [
        b"*1000000000\r\n",
        b"*3\r\n$5\r\nLPUSH\r\n$2147483647\r\n",
        b"*-5\r\n*2\r\n$-3\r\n",
        b"GET " + b"x" * 100_000,
        b"*1\r\n$99999999999999999999\r\n",
        b"\x00" * 70_000,
        b"AUTH producer wrong\r\n" * 1000,
        b"HELLO 99 AUTH default x SETNAME x\r\n",
    ],
    ids=repr,
)
def test_who_has_no_login_gets_no_answer_but_an_error(server: ComposeServer, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as stranger, suppress(OSError):
        stranger.sendall(sent + b"\r\nPING\r\nLRANGE orders.close 0 -1\r\n")
        stranger.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: stranger.recv(65_536), b""))
        assert {line[:1] for line in answers.splitlines()} <= {b"-"}
    with server.client() as admin:
        assert admin.ping()
