"""Clients for a server by its URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from producers.redis.url import Sentinels, is_sentinel, parse_sentinel_url, split_url

MAX_CONNECTIONS = 10_000
"""Connections of one client: one for each thread, two for a thread that waits. redis-py's default is 100; a call beyond
that limit fails as if the server were unreachable."""


def connect(url: str, *, timeout: float, tries: int = 1, **options: Any) -> redis.Redis:
    """A client whose every step (connect, read, write) times out after ``timeout`` seconds, and whose calls make at
    most ``tries`` attempts.

    Raises:
        ValueError: the URL is invalid.
    """
    settings = connection_settings(url, timeout, Retry(NoBackoff(), tries - 1), **options)
    if not is_sentinel(url):
        client: redis.Redis = redis.Redis.from_url(url, **settings)
        try:
            # redis-py checks the options after the "?" only when it makes a connection.
            client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
        except TypeError:
            raise ValueError("has an unknown option after its ?") from None
        return client
    urls = parse_sentinel_url(url)
    sentinel_kwargs = sentinel_settings(urls, timeout, Retry(NoBackoff(), 0))
    sentinels: Any = Sentinel(urls.hosts, sentinel_kwargs=sentinel_kwargs, **settings, **urls.server)  # type: ignore[no-untyped-call] # redis-py's gap
    master: redis.Redis = sentinels.master_for(urls.master, db=urls.database)
    return master


def connection_settings(url: str, timeout: float, retry: object, **options: Any) -> dict[str, Any]:
    """What redis-py, its synchronous or its asyncio client, is told of connections to a server."""
    settings = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "socket_keepalive": True,
        "retry": retry,
        "protocol": 2,
        "max_connections": MAX_CONNECTIONS,
        # Replies are short, and each connection keeps this many bytes; redis-py's default is 64 KiB.
        "socket_read_size": 4096,
        **options,
    }
    if url.startswith("unix://"):
        del settings["socket_keepalive"]
    return settings


def sentinel_settings(urls: Sentinels, timeout: float, retry: object) -> dict[str, Any]:
    """What redis-py is told of connections to Sentinels."""
    return {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": retry, **urls.sentinel}


@contextmanager
def own_connection(client: redis.Redis) -> Iterator[Any]:
    """A connection of the client's pool that belongs to the block alone, and is closed after it.

    Raises:
        redis.RedisError, OSError: the server cannot be reached.
    """
    pool: Any = client.connection_pool
    connection = pool.get_connection()
    try:
        yield connection
    finally:
        connection.disconnect()
        pool.release(connection)


STEP_SECONDS = 2.0
"""Timeout of one step with a server in programs for a person."""


def open_client(url: str, **options: Any) -> redis.Redis:
    """A client for programs that a person waits for: short timeouts, one attempt.

    Raises:
        ValueError: redis-py cannot parse the URL.
    """
    parts = split_url(url)
    if parts.scheme == "redis+socket":  # kombu's name for it
        query = {"db": dict(parse_qsl(parts.query)).get("virtual_host", "0")}
        url = urlunsplit(parts._replace(scheme="unix", query=urlencode(query)))
    return connect(url, timeout=STEP_SECONDS, **{"decode_responses": True, **options})


def is_usable_url(url: str) -> bool:
    """Whether redis-py can use this URL."""
    try:
        connect(url, timeout=1.0).close()
    except ValueError:
        return False
    # An unquoted "#" in a password ends the authority early; the rest may still look like a URL.
    return not split_url(url).fragment
