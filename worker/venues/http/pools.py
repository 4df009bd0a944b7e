"""urllib3's pools of open connections, from which a connection is reserved before its request exists."""

import ssl
from functools import cached_property
from pathlib import Path
from queue import Empty, Full, LifoQueue
from typing import TypeVar, cast

import urllib3
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import create_urllib3_context

from worker.venues.http.base import HttpLimits
from worker.venues.http.connections import CountingConnection, CountingTlsConnection
from worker.venues.http.outgoing import normalised_url

T = TypeVar("T")

POOLS = 1000
"""More than there will ever be addresses of venues, so that urllib3 drops none of them."""

# urllib3 has no public way to borrow a connection from a pool.
if missing := {"_get_conn", "_put_conn"} - {*dir(HTTPConnectionPool)}:
    raise ImportError(f"worker.venues.http was tested with urllib3 2.8, and the installed one has no {missing}")


class _Idle(LifoQueue[T]):
    """The connections of a pool that are not lent. No thread waits for one, so that the locks and conditions of
    Python's queues are not needed: a list's own methods are atomic."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self._idle: list[T] = []

    def _qsize(self) -> int:
        return len(self._idle)

    def get(self, block: bool = True, timeout: float | None = None) -> T:  # noqa: ARG002
        """The one that was put last, at once or never."""
        try:
            return self._idle.pop()
        except IndexError:
            raise Empty from None

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002
        """Keep one more, at once or never."""
        if self._qsize() >= self.maxsize:
            raise Full
        self._idle.append(item)


class ReservingPool:
    """A pool that lends its connections; threads may share it."""

    limits = HttpLimits()

    def reserve(self) -> CountingConnection:
        """An open connection for one request, which must be given back: the one used last if it is neither stale nor
        closed, or a new one.

        Raises:
            Exception: connecting failed; no byte of a request has been sent.
        """
        connection = cast("CountingConnection", super()._get_conn())  # type: ignore[misc]
        try:
            connection.open(self.limits)
        except BaseException:
            connection.close()
            self.give_back(connection)
            raise
        return connection

    def give_back(self, connection: CountingConnection) -> None:
        """Keep the connection for other requests; if it is closed, it is opened again then."""
        super()._put_conn(connection)  # type: ignore[misc]


class _Pool(ReservingPool, HTTPConnectionPool):
    ConnectionCls, QueueCls = CountingConnection, _Idle


class _TlsPool(ReservingPool, HTTPSConnectionPool):
    ConnectionCls, QueueCls = CountingTlsConnection, _Idle


class Pools:
    """The pools of all addresses. Each is looked up once and kept."""

    def __init__(self, limits: HttpLimits, trusted: str) -> None:
        """``trusted`` is the path of a file of trusted certificates, or of a folder of them."""
        self._limits, self._trusted = limits, Path(trusted)
        self._pools: dict[tuple[str, str], ReservingPool] = {}

    def pool(self, url: str) -> ReservingPool:
        """The pool for requests to the scheme, host and port of this URL.

        Raises:
            Exception: the URL is invalid, or the trusted certificates can't be read.
        """
        scheme, _, rest = url.partition("://")
        address = scheme, rest.partition("/")[0]
        found = self._pools.get(address)
        if found is None:
            found = cast("ReservingPool", self._manager.connection_from_url(normalised_url(url)))
            found.limits = self._limits
            self._pools[address] = found
        return found

    @cached_property
    def _manager(self) -> urllib3.PoolManager:
        # One context for all connections: the trusted certificates are read once, and are in memory once.
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
        # Earlier Pythons take an end that TLS did not announce for an announced one (3.11.2 does).
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        context.load_verify_locations(**{"capath" if self._trusted.is_dir() else "cafile": str(self._trusted)})
        timeout = urllib3.Timeout(connect=self._limits.connect_timeout)
        manager = urllib3.PoolManager(POOLS, maxsize=self._limits.pool_size, timeout=timeout, ssl_context=context)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager

    def close(self) -> None:
        """Close every pooled connection."""
        self._manager.clear()
        self._pools.clear()
