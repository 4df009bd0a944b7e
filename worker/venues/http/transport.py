"""HTTP to the venues over pooled connections, with proof for every failure whether any byte of the request was sent.

requests prepares a request, and urllib3 opens, verifies and pools the connections. A session of requests would add
cookies, redirects and settings of the environment, which no order needs, and urllib3 would send without counting; both
would multiply the time that a request takes. Around them, this package ensures that

* a connection is opened before the request is signed, so that no signature ages during a handshake;
* a request whose signature has aged nevertheless, because the thread was suspended, is signed anew before it is sent;
* the bytes that the kernel accepts are counted, so that "nothing was sent" is a fact, and not guessed from the name of
  an exception;
* a connection that was idle for longer than the limit, or than the venue announced, is not used again, so that no order
  meets a connection that is about to close;
* reading a response is limited in size and in time as a whole;
* a response that violates HTTP's grammar counts as none, and bytes received before a request or after its response are
  never taken for the response to another one.

There are no redirects, no retries by urllib3, no ``.netrc`` and no proxies of the environment. TLS is verified.
"""

import socket
import ssl
import time
from collections.abc import Iterator

import requests
import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from worker.library_logs import limit_library_logs
from worker.venues.http.base import HttpLimits, NoResponse, Response, Timing
from worker.venues.http.grammar import MalformedResponse, ResponseTooLarge
from worker.venues.http.outgoing import RequestFactory, SentBytes, SigningFailed
from worker.venues.http.pools import Pools


class Transport:
    """Sends requests over pooled keep-alive connections. One per worker process; threads may share it."""

    def __init__(self, limits: HttpLimits | None = None, ca_file: str | None = None) -> None:
        limit_library_logs()
        self.limits = limits or HttpLimits()
        # The path of the certificates is given, because `verify=True` would let the first connections trust those of
        # the machine, or of an environment variable.
        self._pools = Pools(self.limits, ca_file or DEFAULT_CA_BUNDLE_PATH)

    def send(self, base_url: str, make_request: RequestFactory) -> Response | NoResponse:
        """Open a connection, then call ``make_request`` for the signed request, send it and read the whole response.

        ``make_request`` is called again when a millisecond has passed before the first byte could be sent; the earlier
        request is discarded. An exception that it raises is passed on, and no byte has been sent then.
        """
        try:
            pool = self._pools.pool(base_url)
            connection = pool.reserve()
        except Exception as error:  # noqa: BLE001 - whatever stopped the connecting, no byte of the request has left
            return NoResponse(bytes_left=False, message=f"no connection to the venue: {explain(error)}")
        sent = SentBytes(make_request)
        try:
            received = connection.exchange(sent, self.limits)
        except SigningFailed as failure:
            raise failure.__cause__ or failure from None
        except ResponseTooLarge:
            max_bytes = max(self.limits.max_response_bytes, sent.max_response_bytes)
            message = f"a response of more than {max_bytes} bytes"
            return NoResponse(bytes_left=True, message=message, timing=_timing(sent))
        except Exception as error:  # noqa: BLE001 - the count of bytes decides, never the kind of error
            bytes_left = sent.count > 0
            what = "the reply was lost" if bytes_left else "the connection broke before anything was sent"
            return NoResponse(bytes_left=bytes_left, message=f"{what}: {explain(error)}", timing=_timing(sent))
        finally:
            pool.give_back(connection)
        return Response(received.head.status, received.body, received.head.headers, _timing(sent))

    def close(self) -> None:
        """Close every pooled connection."""
        self._pools.close()


def _timing(sent: SentBytes) -> Timing | None:
    return Timing(sent.first_byte_at, time.monotonic()) if sent.count else None


_EXPLANATIONS: tuple[tuple[type[BaseException], str], ...] = (
    (requests.exceptions.InvalidURL, "invalid URL"),
    (urllib3.exceptions.LocationParseError, "invalid URL"),
    (urllib3.exceptions.NameResolutionError, "its name can't be resolved"),
    (ConnectionRefusedError, "connection refused"),
    (ssl.SSLError, "TLS failed"),
    (urllib3.exceptions.ConnectTimeoutError, "connecting took too long"),
    (urllib3.exceptions.ReadTimeoutError, "no answer in time"),
    (urllib3.exceptions.SSLError, "TLS failed"),
    (ConnectionResetError, "connection reset"),
    (BrokenPipeError, "connection closed"),
    (TimeoutError, "no answer in time"),
    (socket.gaierror, "its name can't be resolved"),
    (OSError, "the network failed"),
)
"""The words for each kind of error, the most specific first. An error's own text is never used: it contains addresses
and may quote the request. The words decide nothing; whether anything was sent is known from the count of bytes."""


def explain(error: BaseException) -> str:
    """A failure in words for a person, by the first known kind among the error, its causes and its arguments."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, MalformedResponse):
            return str(link)
    for kind, words in _EXPLANATIONS:
        if any(isinstance(link, kind) for link in chain):
            return words
    return type(error).__name__


def _chain(error: BaseException, depth: int = 0) -> Iterator[BaseException]:
    yield error
    if depth > 8:
        return
    # urllib3 and requests keep the cause in `args` (ProtocolError) or in `reason` (MaxRetryError).
    inner = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
    for link in inner:
        if isinstance(link, BaseException) and link is not error:
            yield from _chain(link, depth + 1)
