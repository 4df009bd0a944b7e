"""HTTP connections that count what they send: urllib3's, with the sending and the reading replaced.

:mod:`worker.venues.http.pools` keeps them open, and :mod:`worker.venues.http.transport` uses them through requests.
"""

import io
import itertools
import math
import ssl
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection as HTTPClientConnection
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.wait import wait_for_socket

from worker.venues.http.base import HttpLimits
from worker.venues.http.grammar import MalformedResponse
from worker.venues.http.outgoing import MAX_SIGNATURES, SIGNATURE_MAX_AGE_SECONDS, SentBytes
from worker.venues.http.reader import read_response
from worker.venues.http.socket_probe import is_silent


class CountingConnection(HTTPConnection):
    """Counts the bytes that the kernel accepts, and hands over the head and the body of a request together."""

    sent: SentBytes
    """What was sent of the request that the connection is reserved for."""
    limits = HttpLimits()
    last_used = 0.0
    max_idle_seconds = math.inf
    """How long the connection may stay idle and still be used, according to the last response."""
    _max_send_bytes = sys.maxsize
    _has_received = False
    _send_error: OSError | None = None
    _collected: list[bytes] | None = None

    def connect(self) -> None:
        """Open the connection."""
        super().connect()
        self.max_idle_seconds, self._has_received = math.inf, False

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Let urllib3 build the request, then send it in one piece, so that a signature is not sent in part.

        The thread may have been suspended since the request was signed, in favour of another thread or process. If the
        signature is too old by now, the request is signed anew.

        Raises:
            SigningFailed: the request could not be signed anew; no byte has been sent.
            MalformedResponse: the connection had something to read before the request was sent.
        """
        self._send_error = None
        data = self._build(*args, **kwargs)
        for signatures in itertools.count(1):
            self._expect_silence()
            fresh = time.monotonic() - self.sent.signed_at < SIGNATURE_MAX_AGE_SECONDS
            if fresh or signatures == MAX_SIGNATURES:
                break
            request = self.sent.sign()
            kwargs |= {"body": request.body, "headers": request.headers}
            data = self._build(request.method, request.path_url, **kwargs)
        self.send(data)

    def _build(self, *args: Any, **kwargs: Any) -> bytes:
        """The bytes of a request as urllib3 builds them."""
        # The socket is hidden meanwhile. urllib3 would set a timeout on it, which releases the interpreter lock; and
        # `close`, which makes http.client forget a request built before, would close it.
        self._collected = []
        sock, self.sock = self.sock, None
        try:
            HTTPClientConnection.close(self)
            super().request(*args, **kwargs)
            return b"".join(self._collected)
        finally:
            self.sock = sock
            self._collected = None

    def send(self, data: Any) -> None:
        """Hand bytes to the kernel and count them.

        ``sendall`` would not tell how many bytes were accepted before an error. When the very first ``send`` fails, the
        kernel has accepted nothing (POSIX). With TLS, it has not accepted one complete record, and the peer can't read
        any byte of an incomplete one. Each ``send`` is given at most one record, because OpenSSL does not report the
        records sent before the one that failed.

        The socket is non-blocking. With a timeout, Python would first wait for the socket to be ready, which releases
        the interpreter lock; under load it takes a thread some milliseconds to get the lock back.
        """
        if self._collected is not None:
            self._collected.append(data if isinstance(data, bytes) else str(data).encode("latin-1"))
            return
        try:
            self._send_counted(memoryview(data))
        except OSError as error:
            # urllib3 ignores some of these errors and goes on to read a response.
            self._send_error = error
            raise

    def _send_counted(self, unsent: memoryview) -> None:
        ends_at = time.monotonic() + (self.timeout or 0.0)
        while unsent:
            try:
                accepted = self.sock.send(unsent[: self._max_send_bytes])
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                remaining_seconds = ends_at - time.monotonic()
                if remaining_seconds <= 0 or not wait_for_socket(
                    self.sock, read=True, write=True, timeout=remaining_seconds
                ):
                    raise TimeoutError from None
                accepted = 0
            if accepted and not self.sent.count:
                self.sent.first_byte_at = time.monotonic()
            self.sent.count += accepted
            unsent = unsent[accepted:]
            if unsent:
                self._expect_silence()

    def _expect_silence(self) -> None:
        """Check that nothing can be read: anything received before a request is complete can't be the response to it.

        Raises:
            MalformedResponse: something can be read, or the connection has ended.
        """
        if is_silent(self.sock):
            return
        if isinstance(self.sock, ssl.SSLSocket) and not self._has_received:
            # After the handshake a TLS 1.3 server sends session tickets, which are not application data (RFC 8446,
            # 4.6.1).
            with suppress(ssl.SSLWantReadError):
                self.sock.recv(1)
                raise MalformedResponse("something came before the request was sent")
            return
        raise MalformedResponse("the connection was closed, or something came, before the request was sent")

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # urllib3's differs from http.client's too
        """Read the whole response. The connection is closed unless it may be reused.

        Raises:
            MalformedResponse, ResponseTooLarge, OSError: see :func:`~worker.venues.http.reader.read_response`.
        """
        if self._send_error is not None:
            raise self._send_error
        max_bytes = max(self.limits.max_response_bytes, self.sent.max_response_bytes)
        received = read_response(self.sock, self.limits.read_timeout, max_bytes)
        self._has_received = True
        self.max_idle_seconds = received.max_idle_seconds
        if received.max_idle_seconds < 0:
            self.close()
        return urllib3.HTTPResponse(
            io.BytesIO(received.body),
            headers=urllib3.HTTPHeaderDict(received.head.fields),
            status=received.head.status,
            preload_content=False,
            decode_content=False,
        )


class CountingTlsConnection(CountingConnection, HTTPSConnection):
    """A connection over TLS that counts the bytes that the kernel accepts."""

    _max_send_bytes = 16 * 1024  # the most that a TLS record holds (RFC 8446, 5.1)

    def connect(self) -> None:
        """Open the connection. An end without TLS's closing message is an error: the response may have been cut
        short."""
        super().connect()
        self.sock.suppress_ragged_eofs = False  # type: ignore[union-attr] # missing in typeshed
