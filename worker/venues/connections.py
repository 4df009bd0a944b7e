"""Pooled connections that know what left: urllib3's, watched byte by byte.

See :mod:`worker.venues.transport`, which uses them through requests.
"""

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection as HTTPClientConnection
from http.client import HTTPResponse, parse_headers
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Timeout

USER_AGENT = "order-execution-worker"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one exchange; seconds and bytes."""

    connect_timeout: float = 3.0
    read_timeout: float = 10.0
    """For the whole answer, from the last byte sent to the last byte read."""
    max_idle: float = 4.0
    """A pooled connection idle for longer is closed, not used. Shorter than any venue's keep-alive: common front ends
    close after 5 s (Node.js, uvicorn) to 75 s (nginx)."""
    max_answer_bytes: int = 4 * 1024 * 1024
    pool_size: int = 64


FRESH_SECONDS = 0.001
"""A signature older than this is not sent: it is made anew. Building and handing over a request takes a fifth of it."""
SIGN_AT_MOST = 10
"""How often; on a machine that is too busy for it the last one is sent, some milliseconds old."""


Prepare = Callable[[], requests.PreparedRequest]


class NotPrepared(Exception):
    """What stopped a request from being signed is its cause; nothing has left."""


@dataclass(slots=True)
class Handed:
    """What of one request the kernel took. One object for each request: urllib3 puts a connection back into the pool
    while the exchange that used it still asks, and the next one must not change the answer."""

    prepare: Prepare
    """Makes the signed request, as often as it is asked."""
    prepared_at: float = 0.0
    """When that was last begun, on the monotonic clock."""
    size: int = 0
    """Bytes."""
    first_at: float = 0.0
    """When it took the first of them, on the monotonic clock."""

    def prepared(self) -> requests.PreparedRequest:
        """A freshly signed request.

        Raises:
            NotPrepared: from whatever ``prepare`` raised, so that nobody takes it for a failure of the network.
        """
        self.prepared_at = time.monotonic()
        try:
            request = self.prepare()
        except Exception as error:
            raise NotPrepared from error
        request.headers.setdefault("user-agent", USER_AGENT)
        return request


class _BoundedReader(io.RawIOBase):
    """Reads a socket with one time limit for everything, where a socket's own limit starts anew at each byte."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, seconds: float) -> None:
        self._raw, self._sock, self._ends_at = raw, sock, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(left)
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _BoundedResponse(HTTPResponse):
    """http.client's response over a :class:`_BoundedReader`, and never one that comes before the answer: http.client
    knows 100 alone, and would leave the answer after a 102 or 103 to the next request on the connection."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_BoundedReader(raw, sock, sock.gettimeout() or 10.0))

    def begin(self) -> None:
        super().begin()
        if self.status < 200:
            # 101: what comes now is no HTTP.
            self.will_close = True

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc] # typeshed's gap
            if status == 101 or not 100 <= status < 200:
                return version, status, reason
            parse_headers(self.fp)


class WatchedConnection(HTTPConnection):
    """Counts what is handed to the kernel, and hands over head and body of a request together."""

    response_class = _BoundedResponse
    handed: Handed
    """Of the request that it is reserved for."""
    last_used = 0.0
    _held: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Build the request with urllib3 and hand it over in one piece: one packet, and nothing leaves in part.

        A thread that was not let run between the signature and here, be it by another thread or by another process,
        finds its signature old, and has it made anew.

        Raises:
            NotPrepared: it could not be; nothing has left.
        """
        whole = self._built(*args, **kwargs)
        for _ in range(SIGN_AT_MOST - 1):
            if time.monotonic() - self.handed.prepared_at < FRESH_SECONDS:
                break
            fresh = self.handed.prepared()
            kwargs |= {"body": fresh.body, "headers": fresh.headers}
            whole = self._built(fresh.method, fresh.path_url, **kwargs)
        self.send(whole)

    def _built(self, *args: Any, **kwargs: Any) -> bytes:
        # The socket is hidden: urllib3 would set its time limit, which lets go of the interpreter, and `close`, by
        # which http.client forgets a request that was built before, would close it.
        self._held = []
        sock, self.sock = self.sock, None
        try:
            HTTPClientConnection.close(self)
            super().request(*args, **kwargs)
            return b"".join(self._held)
        finally:
            self.sock = sock
            self._held = None

    def send(self, data: Any) -> None:
        """Hand bytes to the kernel, counting them.

        ``sendall`` would hide how much was taken before an error. When the very first ``send`` fails, the kernel took
        nothing (POSIX), and over TLS not one whole record, without which the peer can't read a byte of it.

        The socket comes without a time limit, not blocking: with one, Python first asks whether the socket is ready,
        and lets go of the interpreter for that. Under load some milliseconds pass before a thread has it back.
        """
        if self._held is not None:
            self._held.append(data if isinstance(data, bytes) else str(data).encode("latin-1"))
            return
        view = memoryview(data)
        while view:
            try:
                taken = self.sock.send(view)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self.sock.settimeout(self.timeout)
                continue
            if not self.handed.size:
                self.handed.first_at = time.monotonic()
            self.handed.size += taken
            view = view[taken:]


class _WatchedTlsConnection(WatchedConnection, HTTPSConnection):
    """The same over TLS."""


class WatchedPool:
    """A pool that lets a thread reserve an open connection before the request exists."""

    limits = HttpLimits()
    timeout: Timeout

    def reserve(self, prepare: Prepare) -> WatchedConnection:
        """An open connection for this thread's next request: a pooled one that is fresh and not closed, or a new one.

        Raises:
            Exception: whatever connecting raises; nothing of a request has left.
        """
        connection = cast("WatchedConnection", super()._get_conn())  # type: ignore[misc]
        try:
            if connection.sock is not None and time.monotonic() - connection.last_used > self.limits.max_idle:
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
        connection.handed = Handed(prepare)
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
    ConnectionCls = _WatchedTlsConnection


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
