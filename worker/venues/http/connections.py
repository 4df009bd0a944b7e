"""Pooled connections that know what left: urllib3's, watched byte by byte.

See :mod:`worker.venues.http.transport`, which uses them through requests.
"""

import io
import itertools
import math
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPConnection as HTTPClientConnection
from typing import Any, cast

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Timeout
from urllib3.util.wait import wait_for_socket

from worker.venues.http.base import HttpLimits, SignedRequest
from worker.venues.http.grammar import UnreadableAnswer
from worker.venues.http.reader import read_answer
from worker.venues.http.socket_probe import is_silent

USER_AGENT = "order-execution-worker"


SIGNATURE_MAX_AGE_SECONDS = 0.001
"""A signature older than this is not sent: it is made anew. Building and handing over a request takes a fifth of it."""
MAX_SIGNATURES = 10
"""How often; on a machine that is too busy for it the last one is sent, some milliseconds old."""


RequestFactory = Callable[[], SignedRequest]


class NotPrepared(Exception):
    """What stopped a request from being signed is its cause; nothing has left."""


@dataclass(slots=True)
class SentBytes:
    """What of one request the kernel took. One object for each request: urllib3 puts a connection back into the pool
    while the exchange that used it still asks, and the next one must not change the answer."""

    prepare: RequestFactory
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
            signed = self.prepare()
        except Exception as error:
            raise NotPrepared from error
        return _as_prepared(signed)


def _as_prepared(signed: SignedRequest) -> requests.PreparedRequest:
    """The request that requests' adapter sends, made in a fraction of the time of ``Request.prepare``: the URL is
    parsed once, and nothing has to be found out about bytes."""
    request = requests.PreparedRequest()
    request.method, request.url = signed.method, _normalised_url(signed.url)
    request.headers = CaseInsensitiveDict(signed.headers)
    request.headers.setdefault("user-agent", USER_AGENT)
    if signed.body is not None:
        request.headers["Content-Length"] = str(len(signed.body))
    request.body = signed.body
    return request


@lru_cache(maxsize=256)
def _normalised_url(url: str) -> str:
    return cast("str", requests.Request("GET", url).prepare().url)


class WatchedConnection(HTTPConnection):
    """Counts what is handed to the kernel, and hands over head and body of a request together."""

    handed: SentBytes
    """Of the request that it is reserved for."""
    limits = HttpLimits()
    last_used = 0.0
    idle_seconds = math.inf
    """For how long it may be idle and be used again; as the last answer said."""
    _piece = sys.maxsize
    _answered = False
    _failure: OSError | None = None
    _held: list[bytes] | None = None

    def connect(self) -> None:
        """Open it."""
        super().connect()
        self.idle_seconds, self._answered = math.inf, False

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Build the request with urllib3 and hand it over in one piece: one packet, and nothing leaves in part.

        A thread that was not let run between the signature and here, be it by another thread or by another process,
        finds its signature old, and has it made anew.

        Raises:
            NotPrepared: it could not be; nothing has left.
            UnreadableAnswer: something was there to be read before it was asked for.
        """
        self._failure = None
        whole = self._built(*args, **kwargs)
        for signed in itertools.count(1):
            self._expect_silence()
            if signed == MAX_SIGNATURES or time.monotonic() - self.handed.prepared_at < SIGNATURE_MAX_AGE_SECONDS:
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
        nothing (POSIX). Over TLS it took not one whole record, without which the peer can't read a byte of it: each
        ``send`` is given one record at most, for OpenSSL tells nothing of those before the one that failed.

        The socket comes without a time limit, not blocking: with one, Python first asks whether the socket is ready,
        and lets go of the interpreter for that. Under load some milliseconds pass before a thread has it back.
        """
        if self._held is not None:
            self._held.append(data if isinstance(data, bytes) else str(data).encode("latin-1"))
            return
        try:
            self._hand_over(memoryview(data))
        except OSError as error:
            # urllib3 passes over some of them, and would go on to read an answer.
            self._failure = error
            raise

    def _hand_over(self, view: memoryview) -> None:
        ends_at = time.monotonic() + (self.timeout or 0.0)
        while view:
            try:
                taken = self.sock.send(view[: self._piece])
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                left = ends_at - time.monotonic()
                if left <= 0 or not wait_for_socket(self.sock, read=True, write=True, timeout=left):
                    raise TimeoutError from None
                taken = 0
            if taken and not self.handed.size:
                self.handed.first_at = time.monotonic()
            self.handed.size += taken
            view = view[taken:]
            if view:
                self._expect_silence()

    def _expect_silence(self) -> None:
        """What can be read before a request is whole is no answer to it, but to an earlier one, or to nothing.

        Raises:
            UnreadableAnswer: there is something, or the connection has ended.
        """
        if is_silent(self.sock):
            return
        if isinstance(self.sock, ssl.SSLSocket) and not self._answered:
            # After the handshake a TLS 1.3 server sends tickets, which are nothing to read (RFC 8446, 4.6.1).
            with suppress(ssl.SSLWantReadError):
                self.sock.recv(1)
                raise UnreadableAnswer("something came before the request was sent")
            return
        raise UnreadableAnswer("the connection was closed, or something came, before the request was sent")

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # urllib3's differs from http.client's too
        """The answer, read whole; the connection stays open only if it ended where it said, and may be used again.

        Raises:
            UnreadableAnswer, AnswerTooLarge, OSError: as :func:`~worker.venues.http.reader.read_answer`.
        """
        if self._failure is not None:
            raise self._failure
        found = read_answer(self.sock, self.limits.read_timeout, self.limits.max_answer_bytes)
        self._answered = True
        self.idle_seconds = found.idle_seconds
        if found.idle_seconds < 0:
            self.close()
        return urllib3.HTTPResponse(
            io.BytesIO(found.body),
            headers=urllib3.HTTPHeaderDict(found.head.fields),
            status=found.head.status,
            preload_content=False,
            decode_content=False,
        )


class _WatchedTlsConnection(WatchedConnection, HTTPSConnection):
    """The same over TLS."""

    _piece = 16 * 1024  # RFC 8446, 5.1: a record holds no more

    def connect(self) -> None:
        """Open it, so that an end without TLS's own word for it is an error: somebody may have cut the answer short."""
        super().connect()
        self.sock.suppress_ragged_eofs = False  # type: ignore[union-attr] # typeshed knows it not


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
