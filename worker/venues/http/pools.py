"""The open connections to each address of a venue."""

import ssl
from collections import deque
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import requests
from urllib3.util import create_urllib3_context, parse_url

from worker.venues.http.base import HttpLimits
from worker.venues.http.connections import CountingConnection, CountingTlsConnection


class Pool:
    """The open connections to one address; threads may share it. There are as many as were used at once."""

    def __init__(self, make_connection: Callable[[], CountingConnection], limits: HttpLimits) -> None:
        self._make_connection, self._limits = make_connection, limits
        self._idle: deque[CountingConnection] = deque()

    def reserve(self) -> CountingConnection:
        """An open connection for one request, which must be given back: the one used last if it is neither stale nor
        closed, or a new one.

        Raises:
            Exception: connecting failed; no byte of a request has been sent.
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._make_connection()
        try:
            connection.open(self._limits)
        except BaseException:
            connection.close()
            raise
        return connection

    def give_back(self, connection: CountingConnection) -> None:
        """Keep the connection for other requests if it is open."""
        if connection.sock is not None:
            self._idle.append(connection)

    def close(self) -> None:
        """Close every connection that is not in use."""
        while self._idle:
            self._idle.pop().close()


class Pools:
    """The pools of all addresses. Each is made once and kept."""

    def __init__(self, limits: HttpLimits, trusted: str) -> None:
        """``trusted`` is the path of a file of trusted certificates, or of a folder of them."""
        self._limits, self._trusted = limits, Path(trusted)
        self._pools: dict[tuple[str, str], Pool] = {}

    def pool(self, url: str) -> Pool:
        """The pool for requests to the scheme, host and port of this URL.

        Raises:
            Exception: the URL is invalid, or the trusted certificates can't be read.
        """
        scheme, _, rest = url.partition("://")
        address = scheme, rest.partition("/")[0]
        found = self._pools.get(address)
        if found is None:
            found = self._pools.setdefault(address, Pool(self._connection_to(url), self._limits))
        return found

    def _connection_to(self, url: str) -> Callable[[], CountingConnection]:
        # requests knows how to write the names of hosts that are not ASCII.
        found = parse_url(str(requests.Request("GET", url).prepare().url))
        host, timeout = (found.host or "").strip("[]"), self._limits.connect_timeout
        if found.scheme == "https":
            port = found.port or CountingTlsConnection.default_port
            return partial(CountingTlsConnection, host, port, timeout=timeout, ssl_context=self._tls)
        return partial(CountingConnection, host, found.port or CountingConnection.default_port, timeout=timeout)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # One for all connections: the trusted certificates are read once, and are in memory once.
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
        folder = self._trusted.is_dir()
        context.load_verify_locations(**{"capath" if folder else "cafile": str(self._trusted)})
        return context

    def close(self) -> None:
        """Close every pooled connection."""
        for pool in self._pools.values():
            pool.close()
