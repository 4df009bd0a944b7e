"""HTTP connections that urllib3 opens and verifies, and that send and read by themselves, counting what they send.

:mod:`worker.venues.http.pools` keeps them open, and :mod:`worker.venues.http.transport` uses them.
"""

import itertools
import ssl
import sys
import time
from contextlib import suppress
from functools import cached_property

import requests
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.wait import wait_for_socket

from worker.venues.http.base import HttpLimits
from worker.venues.http.grammar import MalformedResponse
from worker.venues.http.outgoing import MAX_SIGNATURES, SIGNATURE_MAX_AGE_SECONDS, SentBytes, SigningFailed, to_bytes
from worker.venues.http.reader import ReceivedResponse, read_response
from worker.venues.http.socket_probe import is_silent


class CountingConnection(HTTPConnection):
    """Counts the bytes that the kernel accepts, and hands over the head and the body of a request together."""

    usable_until = 0.0
    """How long the connection may stay idle and still be used, on the monotonic clock."""
    _max_send_bytes = sys.maxsize
    _has_received = False

    @property
    def is_connected(self) -> bool:
        """Whether the connection may be used for another request; urllib3's pool closes it otherwise."""
        return self.sock is not None and time.monotonic() <= self.usable_until and is_silent(self.sock)

    def open(self, limits: HttpLimits) -> None:
        """Connect, unless the connection is open.

        Raises:
            Exception: connecting failed.
        """
        if self.sock is None:
            self.connect()
            self._has_received = False
            self.usable_until = time.monotonic() + limits.max_idle
        # Sending needs a non-blocking socket, and the timeout left by the last response must not apply any more.
        self.sock.settimeout(0)

    def exchange(self, sent: SentBytes, limits: HttpLimits) -> ReceivedResponse:
        """Send a request, and read the whole response. The connection is closed unless it may be used again.

        Raises:
            SigningFailed: the request could not be signed; no byte has been sent.
            MalformedResponse, ResponseTooLarge, OSError: see :func:`~worker.venues.http.reader.read_response`.
            Exception: the request can't be written or sent. ``sent`` tells whether any byte was.
        """
        try:
            self.send_request(sent)
            max_bytes = max(limits.max_response_bytes, sent.max_response_bytes)
            received = read_response(self.sock, limits.read_timeout, max_bytes)
        except SigningFailed:
            raise
        except BaseException:
            self.close()
            raise
        self._has_received = True
        if received.max_idle_seconds < 0:
            self.close()
        self.usable_until = time.monotonic() + min(limits.max_idle, received.max_idle_seconds)
        return received

    def send_request(self, sent: SentBytes) -> requests.PreparedRequest:
        """Sign the request and send it in one piece, so that a signature is not sent in part.

        The thread may have been suspended since the request was signed, in favour of another thread or process. If the
        signature is too old by now, the request is signed anew.

        Returns:
            The request that was sent.

        Raises:
            SigningFailed: the request could not be signed; no byte has been sent.
            MalformedResponse: the connection had something to read before the request was sent.
        """
        for signatures in itertools.count(1):
            request = sent.sign()
            data = to_bytes(request, self._address)
            self._expect_silence()
            fresh = time.monotonic() - sent.signed_at < SIGNATURE_MAX_AGE_SECONDS
            if fresh or signatures == MAX_SIGNATURES:
                break
        self._send_counted(memoryview(data), sent)
        return request

    @cached_property
    def _address(self) -> str:
        """The value of the ``Host`` header."""
        # An IPv6 address is in brackets, and the name of an interface matters to this machine alone (RFC 6874).
        host = f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host
        return host if self.port == self.default_port else f"{host}:{self.port}"

    def _send_counted(self, unsent: memoryview, sent: SentBytes) -> None:
        """Hand bytes to the kernel and count them.

        ``sendall`` would not tell how many bytes were accepted before an error. When the very first ``send`` fails, the
        kernel has accepted nothing (POSIX). With TLS, it has not accepted one complete record, and the peer can't read
        any byte of an incomplete one. Each ``send`` is given at most one record, because OpenSSL does not report the
        records sent before the one that failed.

        The socket is non-blocking. With a timeout, Python would first wait for the socket to be ready, which releases
        the interpreter lock; under load it takes a thread some milliseconds to get the lock back.
        """
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
            if accepted and not sent.count:
                sent.first_byte_at = time.monotonic()
            sent.count += accepted
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


class CountingTlsConnection(CountingConnection, HTTPSConnection):
    """A connection over TLS that counts the bytes that the kernel accepts."""

    _max_send_bytes = 16 * 1024  # the most that a TLS record holds (RFC 8446, 5.1)

    def connect(self) -> None:
        """Open the connection. An end without TLS's closing message is an error: the response may have been cut
        short."""
        super().connect()
        self.sock.suppress_ragged_eofs = False  # type: ignore[union-attr] # missing in typeshed
