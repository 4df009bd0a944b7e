"""Clients for a server by its URL."""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from producers.redis.url import is_sentinel, parse_sentinel_url

MAX_CONNECTIONS = 10_000
"""Of one client: as many as it has threads, two for one that waits. redis-py's own limit is 100, and whoever comes then
is told that the server can't be reached."""


def connect(url: str, *, timeout: float, tries: int = 1, **options: Any) -> redis.Redis:
    """A client that gives up a step after ``timeout`` seconds, and a call after ``tries`` connections.

    Raises:
        ValueError: no client can be made of the URL.
    """
    given = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), tries - 1),
        "protocol": 2,
        "max_connections": MAX_CONNECTIONS,
        **options,
    }
    if not is_sentinel(url):
        if url.startswith("unix://"):
            del given["socket_keepalive"]
        made = redis.Redis.from_url(url, **given)
        try:
            # What stands after the "?" is looked at when a connection is made, and not before.
            made.connection_pool.connection_class(**made.connection_pool.connection_kwargs)
        except TypeError:
            raise ValueError("has an option after its ? that no connection knows") from None
        return made
    found = parse_sentinel_url(url)
    asking = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": Retry(NoBackoff(), 0)}
    guide: Any = Sentinel(found.hosts, sentinel_kwargs={**asking, **found.sentinel}, **given, **found.server)  # type: ignore[no-untyped-call] # redis-py's gap
    client: redis.Redis = guide.master_for(found.master, db=found.database)
    return client


STEP_SECONDS = 2.0
"""How long one step of talking to a server may take."""


def open_client(url: str, **options: Any) -> redis.Redis:
    """A client that gives up soon and tries once. ValueError when redis-py can't read the URL."""
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":  # kombu's name for it
        query = {"db": dict(parse_qsl(parts.query)).get("virtual_host", "0")}
        url = urlunsplit(parts._replace(scheme="unix", query=urlencode(query)))
    return connect(url, timeout=STEP_SECONDS, **{"decode_responses": True, **options})


def is_usable_url(url: str) -> bool:
    """Whether a client can be made of this URL."""
    try:
        connect(url, timeout=1.0).close()
    except ValueError:
        return False
    # A "#" in a password ends the address early, and what is left may even look like one.
    return not urlsplit(url).fragment
