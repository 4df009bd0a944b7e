"""Commands past redis-py's client: the same answers and errors, and never another one's answer."""

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from typing import Any

import pytest
import redis
from redis.connection import Connection

from producers.redis.client import connect
from producers.redis.direct import DirectClient
from tests.support.servers import Server

ECHO = "return {KEYS[1], ARGV[1]}"
SHA = sha1(ECHO.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that a test may kill."""
    with Server() as started:
        yield started


def direct_to(server: Server) -> DirectClient:
    """A direct client over a client like the ledger's."""
    return DirectClient(connect(server.url(0), timeout=5.0, tries=2, decode_responses=True))


@pytest.fixture
def direct(server: Server) -> DirectClient:
    return direct_to(server)


def echoes(direct: DirectClient, *words: str) -> bool:
    """Whether each word is answered by itself."""
    return [direct.script(ECHO, SHA, ["key"], [word]) for word in words] == [["key", word] for word in words]


def test_answers_are_the_clients(direct: DirectClient) -> None:
    """They are decoded as the client decodes them, and a script that the server does not know is loaded."""
    direct.client.script_flush()
    assert echoes(direct, "né")
    assert direct.call("SET", "k", "v") == "OK"
    assert direct.call("GET", "k") == direct.client.get("k") == "v"
    assert direct.call("GET", "nothing") is None


def test_a_refusal_is_raised_and_the_connection_stays(direct: DirectClient) -> None:
    """A full server refuses every command, which is no reason to open a new connection for each."""
    direct.call("SET", "text", "v")
    before = direct.call("CLIENT", "ID")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        direct.call("LPUSH", "text", "v")
    assert direct.call("CLIENT", "ID") == before


def test_threads_get_their_own_answers(direct: DirectClient) -> None:
    """There are more threads than connections at the start."""

    def ask(number: int) -> bool:
        return echoes(direct, *(f"{number}.{turn}" for turn in range(200)))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_an_interrupted_call_leaves_no_answer_to_the_next(
    direct: DirectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was interrupted between a command and its answer is not used again."""
    assert echoes(direct, "first")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            echoes(direct, "nobody's")
    assert echoes(direct, "mine")


def connections_taken(server: Server) -> int:
    """How many connections the server has accepted, including the one that asks for it."""
    with connect(server.url(0), timeout=5) as other:
        return int(other.info("stats")["total_connections_received"])


def test_silence_is_an_error_at_once_and_a_late_answer_nobodys(own_server: Server) -> None:
    """A second try must not double the time limit, and an answer that comes later is discarded with its connection."""
    direct = direct_to(own_server)
    assert echoes(direct, "first")
    direct._idle[0]._sock.settimeout(0.3)
    before = connections_taken(own_server)
    own_server.kill("SIGSTOP")
    try:
        with pytest.raises(redis.TimeoutError):
            echoes(direct, "late")
    finally:
        own_server.kill("SIGCONT")
    assert echoes(direct, "mine")
    # One for the call that follows, one for this look.
    assert connections_taken(own_server) - before == 2


def test_a_dead_connection_is_noticed_by_the_first_and_repeated(own_server: Server) -> None:
    """After a restart of the server every connection is dead, and no caller sees an error."""
    direct, both = direct_to(own_server), threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda _: both.wait() < 2 and echoes(direct, *["before"] * 20), range(2)))
    own_server.kill()
    own_server.start()
    assert echoes(direct, "a", "b", "c")
    own_server.kill()
    with pytest.raises(redis.ConnectionError):
        echoes(direct, "nobody there")


FORKS = """
import os, sys
from producers.redis.direct import DirectClient
from producers.redis.client import connect
direct = DirectClient(connect(sys.argv[1], timeout=5))
print(direct.call("CLIENT", "ID"), flush=True)
child = os.fork()
print(direct.call("CLIENT", "ID"), flush=True)
if not child:
    os._exit(0)
os.waitpid(child, 0)
print(direct.call("CLIENT", "ID"), flush=True)
"""


def test_a_child_process_has_connections_of_its_own(server: Server) -> None:
    """In Celery's prefork pool a parent and a child on one socket would read each other's answers."""
    command = [sys.executable, "-c", FORKS, server.url(0)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout.split()
    assert len(said) == 4
    assert [said.count(each) for each in (said[0], said[-1])] == [3, 3], "the parent's stays its own"
    assert len(set(said)) == 2, "the child has another"


def test_a_connection_to_a_former_master_is_not_used(direct: DirectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py's pool for Sentinels disowns a connection when it hears of a new master; what is written to the old one
    may be forgotten."""
    old = direct.call("CLIENT", "ID")
    disowned: list[Any] = list(direct.client.connection_pool._in_use_connections)
    owns = redis.ConnectionPool.owns_connection
    monkeypatch.setattr(
        redis.ConnectionPool, "owns_connection", lambda pool, each: each not in disowned and owns(pool, each)
    )
    assert direct.call("CLIENT", "ID") != old
    assert not [each for each in disowned if each.is_connected]


# -- transactions ------------------------------------------------------------------------------------------------------


def test_a_transaction_answers_what_its_commands_do(direct: DirectClient) -> None:
    direct.client.delete("list")
    assert direct.transaction([("RPUSH", "list", "a", "b"), ("LRANGE", "list", 0, -1)]) == [2, ["a", "b"]]
    assert echoes(direct, "mine")


@pytest.mark.parametrize("wrong", [("LPUSH", "text", "v"), ("LPUSH", "list")], ids=["at the end", "at once"])
def test_after_a_refused_transaction_no_answer_is_anothers(direct: DirectClient, wrong: tuple[str, ...]) -> None:
    """Not even where it leaves another database, and many answers that nobody reads."""
    direct.call("SET", "text", "v")
    more = [("SET", "other", "v")] * 100
    with pytest.raises(redis.ResponseError):
        direct.transaction([("SELECT", 1), ("SET", "text", "v"), wrong, *more])
    assert direct.call("GET", "text") == "v"
    assert echoes(direct, "mine")


def test_an_interrupted_transaction_leaves_no_answer_to_the_next(
    direct: DirectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([Connection.read_response, Connection.read_response])

    def interrupted(connection: Connection, *_: object, **__: object) -> object:
        for answer in answers:
            return answer(connection)
        raise KeyboardInterrupt

    assert echoes(direct, "first")
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            direct.transaction([("SET", "k", "v")])
    assert echoes(direct, "mine")


# -- what is sent beside a block of code -------------------------------------------------------------------------------


def beside(
    direct: DirectClient, *commands: tuple[str, ...], block: Callable[[], object] = lambda: None, order: list[str]
) -> None:
    """Record in which order the block ended and the fallback was called."""
    with direct.pipelined(list(commands), lambda: order.append("otherwise")):
        block()
        order.append("block")


@pytest.fixture
def order() -> list[str]:
    return []


def test_what_is_sent_meanwhile_is_done_after_the_block_in_one_step(direct: DirectClient, order: list[str]) -> None:
    direct.client.delete("list")
    beside(direct, ("RPUSH", "list", "a"), ("RPUSH", "list", "b"), order=order)
    assert order == ["block"]
    assert direct.client.lrange("list", 0, -1) == ["a", "b"]
    assert echoes(direct, "the connection is good for more")


@pytest.mark.parametrize("wrong", [("LPUSH", "text", "v"), ("LPUSH", "list")], ids=["at the end", "at once"])
def test_what_is_refused_meanwhile_is_done_otherwise(
    direct: DirectClient, wrong: tuple[str, ...], order: list[str]
) -> None:
    """The server refuses one of the commands when it runs it, or already when it reads it."""
    direct.call("SET", "text", "v")
    beside(direct, wrong, ("SET", "other", "v"), order=order)
    assert order == ["block", "otherwise"]
    assert echoes(direct, "mine")


def test_a_block_that_raises_is_not_waited_for(direct: DirectClient, order: list[str]) -> None:
    """The block's error is raised, and the server runs what was sent all the same."""

    def raises() -> None:
        raise redis.ConnectionError("the block's own")

    with pytest.raises(redis.ConnectionError, match="the block's own"):
        beside(direct, ("SET", "raised", "v"), block=raises, order=order)
    assert order == []
    assert echoes(direct, "mine")


def test_a_server_that_is_away_is_found_out_otherwise(own_server: Server, order: list[str]) -> None:
    """A server that dies during the block is noticed after it, one that is down before it is noticed first."""
    direct = direct_to(own_server)
    assert echoes(direct, "first")
    own_server.kill("SIGSTOP")  # so that it dies without an answer
    beside(direct, ("SET", "k", "v"), block=own_server.kill, order=order)
    beside(direct, ("SET", "k", "v"), order=order)
    assert order == ["block", "otherwise", "otherwise", "block"]


class InterruptedOnce(deque[Any]):
    """Ctrl-C comes right after the first connection has been put here."""

    struck = False

    def append(self, connection: Any) -> None:
        super().append(connection)
        if not self.struck:
            self.struck = True
            raise KeyboardInterrupt


def test_an_interrupt_gives_no_connection_to_two(direct: DirectClient, order: list[str]) -> None:
    """Two threads with the same connection would read each other's answers."""
    direct._idle = InterruptedOnce()
    with pytest.raises(KeyboardInterrupt):
        beside(direct, ("SET", "k", "v"), order=order)
    taken = [direct._acquire() for _ in range(3)]
    assert len({id(each) for each in taken}) == 3
