"""Pools of open connections, and requests' adapter that finds the pool of a venue."""

import threading
import time
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Timeout

from worker.venues.http.base import HttpLimits
from worker.venues.http.connections import CountingConnection, CountingTlsConnection
from worker.venues.http.outgoing import RequestFactory, SentBytes


class ReservingPool:
    """A pool in which a thread reserves an open connection before its request exists."""

    limits = HttpLimits()
    timeout: Timeout

    def reserve(self, make_request: RequestFactory) -> CountingConnection:
        """An open connection for this thread's next request: a pooled one that is neither stale nor closed, or a new
        one.

        Raises:
            Exception: connecting failed; no byte of a request has been sent.
        """
        connection = cast("CountingConnection", super()._get_conn())  # type: ignore[misc]
        try:
            max_idle_seconds = min(self.limits.max_idle, connection.max_idle_seconds)
            if connection.sock is not None and time.monotonic() - connection.last_used > max_idle_seconds:
                connection.close()
            if connection.sock is None:
                connection.timeout = self.limits.connect_timeout
                connection.connect()
            # Sending needs a non-blocking socket, and the timeout left by the last response must not apply any more.
            connection.sock.settimeout(0)
        except BaseException:
            connection.close()
            super()._put_conn(connection)  # type: ignore[misc]
            raise
        connection.sent, connection.limits = SentBytes(make_request), self.limits
        self._of_this_thread.connection = connection
        return connection

    @property
    def _of_this_thread(self) -> threading.local:
        local = self.__dict__.get("_reserved")
        if local is None:
            local = self.__dict__.setdefault("_reserved", threading.local())
        return cast("threading.local", local)

    def return_unused(self) -> None:
        """Put this thread's reserved connection back into the pool if no request has used it."""
        connection = self._of_this_thread.__dict__.pop("connection", None)
        if connection is not None:
            self._put_conn(connection)

    def _get_conn(self, timeout: float | None = None) -> Any:
        # Called by urlopen. Any connection but the reserved one would send without being counted.
        connection = self._of_this_thread.__dict__.pop("connection", None)
        return connection if connection is not None else super()._get_conn(timeout)  # type: ignore[misc]

    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            connection.last_used = time.monotonic()
        super()._put_conn(connection)  # type: ignore[misc]


class _Pool(ReservingPool, HTTPConnectionPool):
    ConnectionCls = CountingConnection


class _TlsPool(ReservingPool, HTTPSConnectionPool):
    ConnectionCls = CountingTlsConnection


class ReservingAdapter(HTTPAdapter):
    """requests' adapter over the pools above. The pool of a venue's address is looked up once and kept."""

    def __init__(self, limits: HttpLimits, verify: str) -> None:
        """``verify`` is the path of a file of trusted certificates, or of a folder of them."""
        self.verify = verify
        self._limits = limits
        self._pools: dict[tuple[str, str], ReservingPool] = {}
        super().__init__(
            # More than there will ever be venues: an evicted pool would leave a reserved connection unused.
            pool_connections=1000,
            pool_maxsize=limits.pool_size,
            max_retries=urllib3.Retry(0, read=False, redirect=False),
        )

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool manager and let it use the pools of this module."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def pool(self, url: str) -> ReservingPool:
        """The pool for requests to the scheme, host and port of this URL."""
        scheme, _, rest = url.partition("://")
        address = scheme, rest.partition("/")[0]
        found = self._pools.get(address)
        if found is None:
            request = requests.Request("GET", url).prepare()
            found = cast("ReservingPool", super().get_connection_with_tls_context(request, verify=self.verify))
            found.limits = self._limits
            self._pools[address] = found
        return found

    def get_connection_with_tls_context(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        """Called by ``send`` to find the pool; the connection is reserved in the same one."""
        return self.pool(cast("str", request.url))
