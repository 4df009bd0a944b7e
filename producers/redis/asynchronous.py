"""Clients of redis-py for asyncio, by URL, with a bounded number of connections."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from producers.redis.client import connection_settings, sentinel_settings
from producers.redis.direct import packed_transaction, without_error
from producers.redis.url import is_sentinel, parse_sentinel_url

CONNECTIONS = 8
"""Connections of one client with one server. A call takes well under a millisecond of a connection; those beyond wait
for one."""


def connect(url: str, *, timeout: float) -> redis.asyncio.Redis:
    """A client whose every step (connect, read, write) times out after ``timeout`` seconds, and that sends nothing
    twice. The URL is one that :func:`producers.redis.client.connect` accepts."""
    settings = connection_settings(url, timeout, Retry(NoBackoff(), 0))
    if not is_sentinel(url):
        client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(url, **settings)
        return client
    urls = parse_sentinel_url(url)
    sentinel_kwargs = sentinel_settings(urls, timeout, Retry(NoBackoff(), 0))
    sentinels: Any = Sentinel(urls.hosts, sentinel_kwargs=sentinel_kwargs, **settings, **urls.server)  # type: ignore[no-untyped-call] # redis-py's gap
    master: redis.asyncio.Redis = sentinels.master_for(urls.master, db=urls.database)
    return master


class AsyncDirectClient:
    """Sends commands over a client's connections, :data:`CONNECTIONS` at most. A call that is cancelled closes its
    connection, on which a reply may still arrive."""

    def __init__(self, client: redis.asyncio.Redis, seconds: float) -> None:
        """``seconds`` limits a whole call: waiting for a connection, making it, and the reply."""
        self.client = client
        self._seconds = seconds
        self._free = asyncio.Semaphore(CONNECTIONS)

    @asynccontextmanager
    async def limited(self) -> AsyncIterator[Any]:
        """The client, for one call.

        Raises:
            TimeoutError: the block, or waiting for its turn, takes too long.
        """
        async with asyncio.timeout(self._seconds), self._free:
            yield self.client

    async def transaction(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """As :meth:`producers.redis.direct.DirectClient.transaction`."""
        async with self.limited():
            pool: Any = self.client.connection_pool
            connection = await pool.get_connection()
            try:
                await connection.send_packed_command([packed_transaction(commands)])
                replies = [await connection.read_response() for _ in range(len(commands) + 2)]
                return without_error(replies[-1])
            except BaseException:
                # Also after an error of the server: more replies may follow, and its database may be another one.
                await connection.disconnect(nowait=True)
                raise
            finally:
                await pool.release(connection)

    async def script(self, source: str, sha: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """As :meth:`producers.redis.direct.DirectClient.script`."""
        async with self.limited() as client:
            try:
                return await client.execute_command("EVALSHA", sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await client.execute_command("EVAL", source, len(keys), *keys, *arguments)

    async def close(self) -> None:
        """Close every connection."""
        await self.client.aclose()
