"""A command and its reply past Python's waits: the same replies and errors as redis-py's own way, whatever the server
says and however its bytes arrive."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis
from redis.connection import Connection

from producers.redis import round_trip as module
from producers.redis.client import connect
from producers.redis.direct import DirectClient
from producers.redis.round_trip import MAX_SENT_AT_ONCE, round_trip
from tests.support.servers import Server

SAID = [
    b"+OK\r\n",
    b":7\r\n",
    b"$-1\r\n",
    b"$3\r\nn\xc3\xa9\r\n",
    b"$2\r\n\xff\xfe\r\n",
    b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
    b"*2\r\n$1\r\na\r\n-ERR inside\r\n",
    b"*1\r\n-LOADING first inside\r\n",
    b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    b"-NOPERM this user has no permissions\r\n",
    b"-NOAUTH Authentication required.\r\n",
    b"-WRONGTYPE Operation against a key\r\n",
    b"-ERR max number of clients reached\r\n",
    b"-MASTERDOWN Link with MASTER is down\r\n",
    b"-MISCONF can't persist\r\n",
    b"no reply of this protocol\r\n",
    b"+never finished",
    b"$10000\r\n" + b"x" * 10_000 + b"\r\n",
    b"",
]
"""What a server may say before it closes the connection."""


@contextmanager
def saying(said: bytes, piece: int) -> Iterator[int]:
    """The port of a server that says this to whoever has sent something, in pieces of so many bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                client, _ = listener.accept()
                with client, suppress(OSError):  # whoever has read enough hangs up
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    client.recv(4096)
                    for at in range(0, len(said), piece):
                        client.sendall(said[at : at + piece])
                        time.sleep(0.002)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def connection_to(port: int, *, decode: bool = True) -> Connection:
    """One that has sent nothing yet."""
    made = Connection(
        port=port, protocol=2, socket_timeout=2, decode_responses=decode, driver_info=None, socket_read_size=4096
    )
    made.connect()
    return made


def by_redis_py(connection: Any, command: tuple[Any, ...]) -> Any:
    connection.send_packed_command(connection.pack_command(*command))
    return connection.read_response()


def outcome(way: Any, connection: Any) -> object:
    """What a way returns, or the class and the text of what it raises."""
    try:
        return repr(way(connection, ("GET", "k")))
    except (redis.RedisError, UnicodeDecodeError) as error:
        return type(error), str(error), connection.is_connected
    finally:
        connection.disconnect()


@pytest.mark.parametrize("decode", [True, False], ids=["decoded", "bytes"])
@pytest.mark.parametrize("piece", [3000, 5], ids=["at once", "in pieces"])
@pytest.mark.parametrize("said", SAID, ids=range(len(SAID)))
def test_whatever_is_said_is_redis_pys_reply_or_error(said: bytes, piece: int, decode: bool) -> None:
    if len(said) > 1000:
        piece = 3000
    with saying(said, piece) as port:
        ways = [outcome(way, connection_to(port, decode=decode)) for way in (round_trip, by_redis_py)]
    assert ways[0] == ways[1]


@pytest.fixture
def direct(server: Server) -> DirectClient:
    """Over a client like the ledger's, with a connection that is open."""
    made = DirectClient(connect(server.url(0), timeout=5, decode_responses=True, health_check_interval=25))
    made.call("PING")
    return made


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("this is not to be called")


def test_a_plain_connection_waits_once(direct: DirectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends and fetches past redis-py: this fails when redis-py's parts are no longer where they are looked for."""
    monkeypatch.setattr(Connection, "send_packed_command", refuse)
    monkeypatch.setattr(redis._parsers.hiredis._HiredisParser, "read_from_socket", refuse)
    assert direct.call("ECHO", "né") == "né"


@pytest.mark.parametrize("lacks", ["_sock", "_parser"])
def test_a_connection_of_another_make_goes_redis_pys_way(lacks: str) -> None:
    class Other:
        health_check_interval = 0

        def __init__(self) -> None:
            self.called: list[object] = []
            parts = {"_sock": socket.socket(), "_parser": object()}
            vars(self).update({name: part for name, part in parts.items() if name != lacks})

        def pack_command(self, *command: str) -> list[bytes]:
            return [word.encode() for word in command]

        def send_packed_command(self, packed: list[bytes]) -> None:
            self.called.append(packed)

        def read_response(self) -> str:
            return "its own"

    other = Other()
    assert round_trip(other, ("GET", "k")) == "its own"
    assert other.called == [[b"GET", b"k"]]


def test_a_socket_of_another_class_goes_redis_pys_way(direct: DirectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with TLS: what is below it is not to be read or written."""

    class Wrapped(socket.socket):
        pass

    connection = direct._acquire()
    plain = connection._sock
    connection._sock = connection._parser._sock = Wrapped(fileno=plain.detach())
    connection._sock.settimeout(5)
    direct._idle.append(connection)
    monkeypatch.setattr(module, "_send", refuse)
    monkeypatch.setattr(module, "_recv", refuse)
    assert direct.call("ECHO", "mine") == "mine"


def test_the_connection_is_checked_when_it_has_been_idle(direct: DirectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    pinged: list[object] = []
    ping = Connection._send_ping
    monkeypatch.setattr(Connection, "_send_ping", lambda connection: (pinged.append(1), ping(connection)))
    assert direct.call("ECHO", "soon") == "soon"
    assert not pinged
    connection = direct._idle[0]
    assert connection.next_health_check > time.monotonic()
    connection.next_health_check = time.monotonic() - 1
    assert [direct.call("ECHO", word) for word in ("late", "soon")] == ["late", "soon"]
    assert len(pinged) == 1


@pytest.mark.parametrize("size", [MAX_SENT_AT_ONCE - 100, MAX_SENT_AT_ONCE + 100, 30_000_000])
def test_long_commands_and_replies_are_whole(direct: DirectClient, size: int) -> None:
    text = "é" * (size // 2)
    assert direct.call("ECHO", text) == text
    assert direct.call("ECHO", "mine") == "mine"


@pytest.mark.parametrize("sent", [-1, 0, 5], ids=["nothing", "no byte", "some bytes"])
def test_what_is_not_sent_at_once_is_sent_redis_pys_way(
    direct: DirectClient, monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    """The socket's buffer was full."""
    send = module._send
    monkeypatch.setattr(
        module, "_send", lambda sock, packed, _, flags: send(sock, packed, sent, flags) if sent > 0 else sent
    )
    assert direct.call("ECHO", "whole") == "whole"
    assert direct.call("ECHO", "mine") == "mine"


def test_arguments_are_packed_as_redis_py_packs_them(direct: DirectClient) -> None:
    words = ["né", b"\xff", 1, 2.5, bytearray(b"array"), memoryview(b"view"), 10**30]
    script = "return redis.sha1hex(table.concat(ARGV, ' '))"
    command = ("EVAL", script, 0, *words)
    assert direct.call(*command) == direct.client.execute_command(*command)
    with pytest.raises(redis.DataError):
        direct.call("ECHO", None)
    assert direct.call("ECHO", "mine") == "mine"


def test_messages_of_the_server_beside_a_reply_are_no_reply(server: Server) -> None:
    """With RESP3 a server tells of other clients' writes between replies."""
    with connect(server.url(0), timeout=5, decode_responses=True, protocol=3) as client:
        direct = DirectClient(client)
        for turn in range(20):
            assert direct.call("CLIENT", "TRACKING", "ON") == "OK"
            direct.call("GET", "k")
            with connect(server.url(0), timeout=5) as other:
                other.set("k", turn)
            assert direct.call("ECHO", "mine") == "mine"


def test_silence_ends_with_the_time_limit_of_the_socket(direct: DirectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after twice that time: a second wait would be so long here that the answer comes."""
    wait = module._is_readable

    def once(sock: socket.socket) -> bool:
        readable = wait(sock)
        sock.settimeout(60)
        return readable

    monkeypatch.setattr(module, "_is_readable", once)
    connection = direct._acquire()
    connection._sock.settimeout(0.2)
    with pytest.raises(redis.TimeoutError, match=r"^Timeout reading from socket$"):
        round_trip(connection, ("BLPOP", "no such list", 5))
    assert not connection.is_connected
    direct._drop(connection)


def test_a_connection_that_another_thread_has_closed_is_an_error_of_redis_py(direct: DirectClient) -> None:
    connection = direct._acquire()
    connection._sock.close()
    with pytest.raises(redis.ConnectionError):
        round_trip(connection, ("PING",))
    direct._drop(connection)
