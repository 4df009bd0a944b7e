"""Pools of watched connections, and requests' adapter over them.

See :mod:`worker.venues.http.transport`, which uses them.
"""

import threading
import time
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Timeout

from worker.venues.http.base import HttpLimits
from worker.venues.http.connections import WatchedConnection, WatchedTlsConnection
from worker.venues.http.outgoing import RequestFactory, SentBytes


class WatchedPool:
    """A pool that lets a thread reserve an open connection before the request exists."""

    limits = HttpLimits()
    timeout: Timeout

    def reserve(self, prepare: RequestFactory) -> WatchedConnection:
        """An open connection for this thread's next request: a pooled one that is fresh and not closed, or a new one.

        Raises:
            Exception: whatever connecting raises; nothing of a request has left.
        """
        connection = cast("WatchedConnection", super()._get_conn())  # type: ignore[misc]
        try:
            most = min(self.limits.max_idle, connection.idle_seconds)
            if connection.sock is not None and time.monotonic() - connection.last_used > most:
                connection.close()
            if connection.sock is None:
                connection.timeout = self.limits.connect_timeout
                connection.connect()
            # Sending has none, see `send`. What the last answer left of its own must not cut the next one short.
            connection.sock.settimeout(0)
        except BaseException:
            connection.close()
            super()._put_conn(connection)  # type: ignore[misc]
            raise
        connection.handed, connection.limits = SentBytes(prepare), self.limits
        self._mine.connection = connection
        return connection

    @property
    def _mine(self) -> threading.local:
        local = self.__dict__.get("_reserved")
        if local is None:
            local = self.__dict__.setdefault("_reserved", threading.local())
        return cast("threading.local", local)

    def unreserve(self) -> None:
        """Give back a reserved connection that was not used."""
        connection = self._mine.__dict__.pop("connection", None)
        if connection is not None:
            self._put_conn(connection)

    def _get_conn(self, timeout: float | None = None) -> Any:
        # urlopen asks here; anything but the reserved connection would be one that nobody watched.
        connection = self._mine.__dict__.pop("connection", None)
        return connection if connection is not None else super()._get_conn(timeout)  # type: ignore[misc]

    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            connection.last_used = time.monotonic()
        super()._put_conn(connection)  # type: ignore[misc]


class _Pool(WatchedPool, HTTPConnectionPool):
    ConnectionCls = WatchedConnection


class _TlsPool(WatchedPool, HTTPSConnectionPool):
    ConnectionCls = WatchedTlsConnection


class WatchedAdapter(HTTPAdapter):
    """requests' adapter over the pools above, each found once for a venue's address and kept."""

    def __init__(self, limits: HttpLimits, verify: str) -> None:
        """``verify`` is a path: a file of certificates to trust, or a folder of them."""
        self.verify = verify
        self._limits = limits
        self._by_place: dict[tuple[str, str], WatchedPool] = {}
        super().__init__(
            # As many venues as there may ever be: a pool that is pushed out would leave a reserved connection unused.
            pool_connections=1000,
            pool_maxsize=limits.pool_size,
            max_retries=urllib3.Retry(0, read=False, redirect=False),
        )

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool manager and give it our pools."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def pool(self, url: str) -> WatchedPool:
        """The pool that serves requests to this URL, whatever its path."""
        scheme, _, rest = url.partition("://")
        place = scheme, rest.partition("/")[0]
        found = self._by_place.get(place)
        if found is None:
            request = requests.Request("GET", url).prepare()
            found = cast("WatchedPool", super().get_connection_with_tls_context(request, verify=self.verify))
            found.limits = self._limits
            self._by_place[place] = found
        return found

    def get_connection_with_tls_context(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        """Where `send` asks for the pool: the same one, in which the connection is reserved."""
        return self.pool(cast("str", request.url))
