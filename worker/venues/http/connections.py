"""Connections that know what left: urllib3's, watched byte by byte.

See :mod:`worker.venues.http.transport`, which uses them through requests.
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
from worker.venues.http.grammar import UnreadableAnswer
from worker.venues.http.outgoing import MAX_SIGNATURES, SIGNATURE_MAX_AGE_SECONDS, SentBytes
from worker.venues.http.reader import read_answer
from worker.venues.http.socket_probe import is_silent


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
        found = read_answer(self.sock, self.limits.read_timeout, self.limits.max_response_bytes)
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


class WatchedTlsConnection(WatchedConnection, HTTPSConnection):
    """The same over TLS."""

    _piece = 16 * 1024  # RFC 8446, 5.1: a record holds no more

    def connect(self) -> None:
        """Open it, so that an end without TLS's own word for it is an error: somebody may have cut the answer short."""
        super().connect()
        self.sock.suppress_ragged_eofs = False  # type: ignore[union-attr] # typeshed knows it not
