"""Commands past redis-py's client: the same answers and errors, and never another one's answer."""

import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from hashlib import sha1
from typing import Any

import pytest
import redis
from redis.connection import Connection

from producers.redis.client import connect
from producers.redis.direct import DirectClient
from tests.servers import Server

ECHO = "return {KEYS[1], ARGV[1]}"
SHA = sha1(ECHO.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """One that a test may kill."""
    with Server() as started:
        yield started


def direct_to(server: Server, timeout: float = 5.0) -> DirectClient:
    """Over a client like the ledger's."""
    return DirectClient(connect(server.url(0), timeout=timeout, tries=2, decode_responses=True))


def echo(direct: DirectClient, word: str) -> Any:
    """The script's answer."""
    return direct.script(ECHO, SHA, ["key"], [word])


def test_answers_are_the_clients(server: Server) -> None:
    """Decoded as the client decodes; a script that the server doesn't know is brought along."""
    direct = direct_to(server)
    direct.client.script_flush()
    assert echo(direct, "né") == ["key", "né"]
    assert direct.call("SET", "k", "v") == "OK"
    assert direct.call("GET", "k") == direct.client.get("k") == "v"
    assert direct.call("GET", "nothing") is None


def test_a_refusal_is_raised_and_the_connection_stays(server: Server) -> None:
    """A server that is full answers so to every command: no reason to connect anew for each."""
    direct = direct_to(server)
    direct.call("SET", "text", "v")
    before = direct.call("CLIENT", "ID")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        direct.call("LPUSH", "text", "v")
    assert direct.call("CLIENT", "ID") == before


def test_threads_get_their_own_answers(server: Server) -> None:
    """Many at once, more than there are connections at the start."""
    direct, strange = direct_to(server), []

    def ask(number: int) -> None:
        for turn in range(200):
            word = f"{number}.{turn}"
            if echo(direct, word) != ["key", word]:
                strange.append(word)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert strange == []


def test_an_interrupted_call_leaves_no_answer_to_the_next(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted between command and answer, whatever by: that connection is not used again."""
    direct = direct_to(server)
    echo(direct, "first")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            echo(direct, "nobody's")
    assert echo(direct, "mine") == ["key", "mine"]


def test_silence_is_an_error_at_once_and_a_late_answer_nobodys(own_server: Server) -> None:
    """A time limit is not doubled by a second try; what comes after it is thrown away with its connection."""
    direct = direct_to(own_server, timeout=0.3)
    echo(direct, "first")
    assert own_server.process is not None
    before = tried(own_server)
    own_server.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(redis.TimeoutError):
            echo(direct, "late")
    finally:
        own_server.process.send_signal(signal.SIGCONT)
    assert echo(direct, "mine") == ["key", "mine"]
    # One for the call that follows, one for this look.
    assert tried(own_server) - before == 2


def tried(server: Server) -> int:
    """How many connections the server has taken."""
    with connect(server.url(0), timeout=5) as other:
        return int(other.info("stats")["total_connections_received"])


def test_a_dead_connection_is_noticed_by_the_first_and_repeated(own_server: Server) -> None:
    """The server was restarted: every connection is dead, and no caller hears of it."""
    direct = direct_to(own_server)
    both = threading.Barrier(2)

    def ask() -> None:
        both.wait()
        for _ in range(20):
            echo(direct, "before")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own_server.kill()
    own_server.start()
    assert [echo(direct, word) for word in ("a", "b", "c")] == [["key", "a"], ["key", "b"], ["key", "c"]]
    own_server.kill()
    with pytest.raises(redis.ConnectionError):
        echo(direct, "nobody there")


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
    """Celery's prefork: parent and child on one socket would read each other's answers."""
    command = [sys.executable, "-c", FORKS, server.url(0)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout.split()
    assert len(said) == 4
    assert [said.count(each) for each in (said[0], said[-1])] == [3, 3], "the parent's stays its own"
    assert len(set(said)) == 2, "the child has another"


def test_a_connection_to_a_former_master_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py's pool for Sentinels disowns a connection when it hears of a new master; what is written to the old one
    may be forgotten."""
    direct = direct_to(server)
    old = direct.call("CLIENT", "ID")
    disowned: list[object] = list(direct.client.connection_pool._in_use_connections)
    owns = redis.ConnectionPool.owns_connection
    monkeypatch.setattr(
        redis.ConnectionPool, "owns_connection", lambda pool, each: each not in disowned and owns(pool, each)
    )
    assert direct.call("CLIENT", "ID") != old
    assert not [each for each in disowned if each.is_connected]  # type: ignore[attr-defined]


# -- in the meantime ---------------------------------------------------------------------------------------------------


class Otherwise:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> None:
        """Once more."""
        self.asked += 1


def test_what_is_sent_meanwhile_is_done_after_the_block(server: Server) -> None:
    """All of it, in one step, and the connection is good for more."""
    direct, otherwise = direct_to(server), Otherwise()
    direct.client.delete("list")
    with direct.pipelined([("RPUSH", "list", "a"), ("RPUSH", "list", "b")], otherwise):
        pass
    assert direct.client.lrange("list", 0, -1) == ["a", "b"]
    assert otherwise.asked == 0
    assert echo(direct, "mine") == ["key", "mine"]


@pytest.mark.parametrize("wrong", [("LPUSH", "text", "v"), ("LPUSH", "list")], ids=["at the end", "at once"])
def test_what_is_refused_meanwhile_is_done_otherwise(server: Server, wrong: tuple[str, ...]) -> None:
    """A refusal of one of them, when it is carried out or when it is read; the next answer is nobody else's."""
    direct, otherwise = direct_to(server), Otherwise()
    direct.call("SET", "text", "v")
    with direct.pipelined([wrong, ("SET", "other", "v")], otherwise):
        pass
    assert otherwise.asked == 1
    assert echo(direct, "mine") == ["key", "mine"]


def test_a_block_that_raises_is_not_waited_for(server: Server) -> None:
    """Its error passes, of whatever kind; what was sent is done all the same."""
    direct, otherwise = direct_to(server), Otherwise()
    with pytest.raises(redis.ConnectionError, match="the block's own"):  # noqa: SIM117
        with direct.pipelined([("SET", "raised", "v")], otherwise):
            raise redis.ConnectionError("the block's own")
    assert otherwise.asked == 0
    assert echo(direct, "mine") == ["key", "mine"]


def test_a_server_that_is_away_is_found_out_otherwise(own_server: Server) -> None:
    """Before the block when nobody is there; after it when it went away in the middle."""
    direct, order = direct_to(own_server), []
    echo(direct, "first")
    with direct.pipelined([("SET", "k", "v")], lambda: order.append("otherwise")):
        own_server.kill()
        order.append("block")
    with direct.pipelined([("SET", "k", "v")], lambda: order.append("otherwise")):
        order.append("block")
    assert order == ["block", "otherwise", "otherwise", "block"]


class InterruptedOnce(deque[Any]):
    """Ctrl-C comes in the moment in which a connection has been put here."""

    struck = False

    def append(self, connection: Any) -> None:
        """The first time only."""
        super().append(connection)
        if not self.struck:
            self.struck = True
            raise KeyboardInterrupt


def test_an_interrupt_gives_no_connection_to_two(server: Server) -> None:
    """Two threads that hold the same one read each other's answers."""
    direct = direct_to(server)
    direct._idle = InterruptedOnce()
    with pytest.raises(KeyboardInterrupt), direct.pipelined([("SET", "k", "v")], lambda: None):
        pass
    taken = [direct._acquire() for _ in range(3)]
    assert len({id(each) for each in taken}) == 3
