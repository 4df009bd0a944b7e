"""Commands to a server without the overhead of redis-py's client.

Telemetry, a pool that checks each connection before lending it, and response callbacks take more than half of the
Python time of a short command (``docs/benchmarks.md``). Connections, errors, timeouts and the discovery of a new master
are redis-py's.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.exceptions import NoScriptError

from producers.redis.round_trip import round_trip


class DirectClient:
    """Sends commands over a client's connections; safe to share among threads."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._idle: deque[Any] = deque()
        self._process = os.getpid()

    def call(self, *command: Any) -> Any:
        """The server's reply, decoded as the client is configured, without callbacks. After a connection error the
        client sends the command again, so it must be one that may be repeated.

        Raises:
            redis.RedisError: what the client would raise.
        """
        connection = self._acquire()
        try:
            reply = round_trip(connection, command)
        except redis.ResponseError:
            self._idle.append(connection)
            raise
        except BaseException as error:
            self._drop(connection)
            if isinstance(error, redis.ConnectionError):
                return self.client.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py's gap
            raise
        self._idle.append(connection)
        return reply

    def script(self, source: str, sha: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """The reply of a Lua script, called by its hash, or with its source if the server does not have it; see
        :meth:`call`."""
        try:
            return self.call("EVALSHA", sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return self.call("EVAL", source, len(keys), *keys, *arguments)

    def transaction(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The replies of commands that the server executes as one (``MULTI``). They are sent once only.

        Raises:
            redis.RedisError, OSError: the first error. Each of the commands, or none, may be executed; those before and
                after one that fails while the others are executed, are.
        """
        connection = self._acquire()
        try:
            if connection.is_connected and not _is_open(connection):
                # The server has closed it: nothing was sent, so another one is no second try.
                connection.disconnect()
            connection.send_packed_command([packed_transaction(commands)])
            replies = without_error([connection.read_response() for _ in range(len(commands) + 2)][-1])
        except BaseException:
            # Also after an error of the server: more replies may follow, and its database may be another one.
            self._drop(connection)
            raise
        self._idle.append(connection)
        return replies

    @contextmanager
    def pipelined(self, commands: Sequence[Sequence[Any]], fallback: Callable[[], object]) -> Iterator[None]:
        """Send commands as a transaction (``MULTI``) before the block, and read the replies after it.

        If that fails, ``fallback`` is called to do the same and to raise the error: before the block when nothing could
        be sent, after it when a reply is an error or cannot be read. The replies are not read when the block raises.

        Raises:
            redis.TimeoutError: there is no reply in time.
        """
        connection = None
        try:
            connection = self._acquire()
            connection.send_packed_command([packed_transaction(commands)])
        except BaseException as error:
            self._drop(connection)
            if not isinstance(error, redis.ConnectionError):
                raise
            fallback()
            yield
            return
        try:
            yield
            replies = self._read_replies(connection, len(commands) + 2)
        except BaseException:
            self._drop(connection)
            raise
        if replies is not None:
            # Not inside the try: an interrupt right after it would return the connection twice, to two threads.
            self._idle.append(connection)
        if replies is None or any(isinstance(each, Exception) for each in replies[-1]):
            fallback()

    def _read_replies(self, connection: Any, count: int) -> list[Any] | None:
        """Read ``count`` replies; None when the connection fails or a reply is an error."""
        try:
            return [connection.read_response() for _ in range(count)]
        except (redis.ConnectionError, redis.ResponseError):
            self._drop(connection)
            return None

    def _drop(self, connection: Any) -> None:
        """Close a connection on which a reply may still arrive, so that no other command reads it."""
        if connection is not None:
            connection.disconnect()
            self.client.connection_pool.release(connection)

    def _acquire(self) -> Any:
        """Take a connection that belongs to this thread until it is returned."""
        if self._process != os.getpid():
            # After a fork: the parent goes on using the sockets.
            self._idle, self._process = deque(), os.getpid()
        pool = self.client.connection_pool
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return pool.get_connection()
            if pool.owns_connection(connection):
                return connection
            # It is a connection to the former master.
            self._drop(connection)


def _is_open(connection: Any) -> bool:
    """Whether a connection is open, and nothing is on it that nobody has read."""
    try:
        return not connection.can_read()
    except redis.ConnectionError:
        return False


def without_error(replies: list[Any]) -> list[Any]:
    """The replies of a transaction. Raises the first error among them."""
    for each in replies:
        if isinstance(each, Exception):
            raise each
    return replies


def packed_words(*words: str | float) -> bytes:
    """Words of a command in Redis' protocol, in a third of the time of redis-py's."""
    texts = [str(word).encode() for word in words]
    return b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts])


def packed_transaction(commands: Sequence[Sequence[str | int]]) -> bytes:
    """A transaction (``MULTI``) in Redis' protocol."""
    whole = [("MULTI",), *commands, ("EXEC",)]
    return b"".join([b"*%d\r\n%b" % (len(command), packed_words(*command)) for command in whole])
