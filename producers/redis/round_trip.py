"""A command and its reply over one of redis-py's connections, with a single wait.

Before it sends or reads on a socket that has a timeout, Python waits, and it releases the interpreter lock for each of
these four system calls; under load a thread gets it back only after others had it. Here the lock is kept while a short
command is sent and while a reply that has come is fetched, which never waits. What does not work at once goes the way
of redis-py, which also connects, checks connections, decodes, and raises what there is to raise.
"""

import ctypes
import select
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

try:
    import hiredis
except ImportError:  # the worker has it; a service may do without
    hiredis = None  # type: ignore[assignment]

MAX_SENT_AT_ONCE = 65_536
"""Longer commands are sent redis-py's way: copying them takes a while, during which no other thread would run."""
_SIZE = 4096
_Buffer = ctypes.c_char * _SIZE
_PLAIN: type | None = None
"""The class of the sockets that this module can use: a socket with TLS has another one, and so has gevent's."""

if sys.platform == "linux" and hiredis is not None and socket.socket.__module__ == "socket":
    _PLAIN = socket.socket
    # Unlike `CDLL`, `PyDLL` keeps the interpreter lock during the call (Python's documentation of ctypes).
    _libc = ctypes.PyDLL(None)
    _send, _recv = _libc.send, _libc.recv
    _send.argtypes = _recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    _send.restype = _recv.restype = ctypes.c_ssize_t
    _SEND_FLAGS, _RECV_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL), int(socket.MSG_DONTWAIT)


def round_trip(connection: Any, command: Sequence[Any]) -> Any:
    """The reply to a command, each word of which is an element.

    Raises:
        redis.RedisError, OSError: what redis-py raises. Unless it is a ``ResponseError``, the reply may still arrive.
    """
    parts = _parts(connection)
    if parts is None:
        connection.send_packed_command(connection.pack_command(*command))
        return connection.read_response()
    sock, reader = parts
    _send_now(connection, sock, _packed(connection, command))
    if not _is_readable(sock):
        return connection.read_response(timeout=0)
    _fetch(sock, reader)
    # redis-py takes the reply out of it, or reads the rest.
    return connection.read_response()


def send(connection: Any, packed: bytes) -> None:
    """Send a command in Redis' protocol, whose reply is read later.

    Raises:
        redis.RedisError, OSError: what redis-py raises.
    """
    parts = _parts(connection)
    if parts is None:
        connection.send_packed_command([packed])
    else:
        _send_now(connection, parts[0], packed)


def fetch(connection: Any) -> None:
    """Hand what has come to redis-py's parser, without waiting for anything. An end or an error is left to be found by
    the next read."""
    parts = _parts(connection)
    if parts is not None:
        while _fetch(*parts) == _SIZE:
            pass


def may_hold_more(connection: Any) -> bool:
    """Whether a part of what has been received may not be read yet; the socket would not tell of it."""
    parts = _parts(connection)
    return parts is None or bool(parts[1].has_data())


def _fetch(sock: socket.socket, reader: Any) -> int:
    buffer = _Buffer()
    received: int = _recv(sock.fileno(), buffer, _SIZE, _RECV_FLAGS)
    if received > 0:
        reader.feed(buffer, 0, received)
    return received


def _parts(connection: Any) -> tuple[Any, Any] | None:
    """The open socket of a connection and hiredis' reader; None where they are others than this module can use, or
    where redis-py has to look first whether the server is still there."""
    sock = getattr(connection, "_sock", None)
    reader = getattr(getattr(connection, "_parser", None), "_reader", None)
    if type(sock) is not _PLAIN or type(reader) is not hiredis.Reader:
        return None
    if connection.health_check_interval and time.monotonic() > connection.next_health_check:
        return None
    return sock, reader


def _packed(connection: Any, command: Sequence[Any]) -> bytes:
    """A command in Redis' protocol, past what redis-py does for the rare types of arguments."""
    try:
        packed: bytes = hiredis.pack_command(tuple(command))
    except TypeError:
        return b"".join(connection.pack_command(*command))
    return packed


def _send_now(connection: Any, sock: socket.socket, packed: bytes) -> None:
    """Send a command, or what could not be sent at once of it redis-py's way."""
    size = len(packed)
    sent = _send(sock.fileno(), packed, size, _SEND_FLAGS) if size <= MAX_SENT_AT_ONCE else 0
    if sent < size:
        connection.send_packed_command([packed[max(sent, 0) :]], check_health=False)


def _is_readable(sock: socket.socket) -> bool:
    """Wait for a reply, an end or an error; False after the socket's timeout."""
    timeout, descriptor = sock.gettimeout(), sock.fileno()
    if descriptor < 0:  # another thread has closed it
        return True
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(None if timeout is None else timeout * 1000))
