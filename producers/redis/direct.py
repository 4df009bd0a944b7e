"""Commands to a server without what redis-py's client does around each of them.

Counting for telemetry, a pool that looks at each connection before it lends it, callbacks for the answer: of the time
that a short command takes in Python, this is more than half (``docs/benchmarks.md``). The connections are redis-py's
own, and so are errors, time limits and the way to a new master.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.exceptions import NoScriptError


class DirectClient:
    """Commands over a client's connections; safe to share among threads."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._idle: deque[Any] = deque()
        self._process = os.getpid()

    def call(self, *command: Any) -> Any:
        """The server's answer as it comes, decoded as the client is told to. A command that meets a dead connection is
        made again, by the client: for commands that may be repeated.

        Raises:
            redis.RedisError: what the client would raise.
        """
        connection = self._ready()
        try:
            connection.send_packed_command(connection.pack_command(*command))
            answer = connection.read_response()
        except redis.ResponseError:
            self._idle.append(connection)
            raise
        except BaseException as error:
            self._drop(connection)
            if isinstance(error, redis.ConnectionError):
                return self.client.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py's gap
            raise
        self._idle.append(connection)
        return answer

    def script(self, source: str, sha: str, keys: Sequence[Any], arguments: Sequence[Any]) -> Any:
        """A Lua script's answer, by its hash; a server that doesn't know it is told it. Otherwise as :meth:`call`."""
        try:
            return self.call("EVALSHA", sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return self.call("EVAL", source, len(keys), *keys, *arguments)

    @contextmanager
    def pipelined(self, commands: Sequence[Sequence[Any]], otherwise: Callable[[], object]) -> Iterator[None]:
        """Send commands that the server carries out all or none (``MULTI``); wait for its word only after the block.

        Where that goes wrong ``otherwise`` is asked to do the same, and to find out what is wrong: before the block
        when nothing could be sent, after it when the answer is not good. A block that raises is not waited for.

        Raises:
            redis.TimeoutError: no answer in time.
        """
        connection = None
        try:
            connection = self._ready()
            connection.send_packed_command(connection.pack_commands([("MULTI",), *commands, ("EXEC",)]))
        except BaseException as error:
            self._drop(connection)
            if not isinstance(error, redis.ConnectionError):
                raise
            otherwise()
            yield
            return
        try:
            yield
            answers = self._answers(connection, len(commands) + 2)
        except BaseException:
            self._drop(connection)
            raise
        if answers is not None:
            # Not before: interrupted just then, it would be given back twice, and two threads would share it.
            self._idle.append(connection)
        if answers is None or any(isinstance(each, Exception) for each in answers[-1]):
            otherwise()

    def _answers(self, connection: Any, count: int) -> list[Any] | None:
        """So many answers; None when they can't be had."""
        try:
            return [connection.read_response() for _ in range(count)]
        except (redis.ConnectionError, redis.ResponseError):
            self._drop(connection)
            return None

    def _drop(self, connection: Any) -> None:
        """An answer may still be on its way: nobody must take it for his own."""
        if connection is not None:
            connection.disconnect()
            self.client.connection_pool.release(connection)

    def _ready(self) -> Any:
        """A connection that is this thread's until it is given back."""
        if self._process != os.getpid():
            # A child's: the parent goes on using the sockets.
            self._idle, self._process = deque(), os.getpid()
        pool = self.client.connection_pool
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return pool.get_connection()
            if pool.owns_connection(connection):
                return connection
            # To a server that was the master.
            self._drop(connection)
