"""HTTP to the venues: pooled connections, and for every failure one answer to one question: did anything leave?

requests does HTTP, by its adapter alone: a session would add cookies, redirects and the environment's wishes, which no
order needs, and takes as long as all of the rest. What is ours is small and watches it:

* a connection is opened before the request is signed, so that a signature never ages in a handshake;
* a request whose signature aged nevertheless, because the thread was not let run, is signed anew before it leaves;
* the bytes handed to the kernel are counted, so that "never left" is a fact and not a guess from an exception's name;
* a connection that was idle for longer than a setting, or than the venue announced, is not used again, so that no
  order meets one about to close;
* reading an answer is bounded in time as a whole, and in size;
* what is not an answer to the letter of HTTP's grammar is none, and nothing that came before a request or after its
  answer is ever taken for the next one's.

No redirects, no retries of urllib3's own, no ``.netrc``, no proxies from the environment; TLS is verified.
"""

import socket
import ssl
import time
from collections.abc import Iterator

import requests
import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from worker.library_logs import bound_library_logs
from worker.venues.http.base import HttpLimits, NoResponse, Response, Timing
from worker.venues.http.grammar import AnswerTooLarge, UnreadableAnswer
from worker.venues.http.outgoing import NotPrepared, RequestFactory, SentBytes
from worker.venues.http.pools import WatchedAdapter


class Transport:
    """Sends requests over pooled keep-alive connections; one for a worker process, safe to share among threads."""

    def __init__(self, limits: HttpLimits | None = None, ca_file: str | None = None) -> None:
        bound_library_logs()
        self.limits = limits or HttpLimits()
        # By its path: for a mere "verify" the first connections would trust whom the machine, or a variable, says.
        self._adapter = WatchedAdapter(self.limits, ca_file or DEFAULT_CA_BUNDLE_PATH)
        self._timeout = (self.limits.connect_timeout, self.limits.read_timeout)

    def send(self, base_url: str, prepare: RequestFactory) -> Response | NoResponse:
        """Open a connection, only then ask ``prepare`` for the signed request, send it and read the whole answer.

        It is asked again when a millisecond has passed before the first byte could leave; what it made before is thrown
        away. Whatever it raises passes through; nothing has left then.
        """
        try:
            pool = self._adapter.pool(base_url)
            connection = pool.reserve(prepare)
        except Exception as error:  # noqa: BLE001 - whatever stopped the connecting, no byte of the request has left
            return NoResponse(bytes_left=False, message=f"no connection to the venue: {explain(error)}")
        # Kept here: the connection itself may be another thread's by the time that is asked what left.
        handed = connection.handed
        try:
            return self._send(handed.prepared(), handed)
        except NotPrepared as stopped:
            raise stopped.__cause__ or stopped from None
        except AnswerTooLarge:
            message = f"an answer of more than {self.limits.max_response_bytes} bytes"
            return NoResponse(bytes_left=True, message=message, timing=_timing(handed))
        except Exception as error:  # noqa: BLE001 - the count of bytes decides, never the kind of error
            left = handed.size > 0
            what = "the reply was lost" if left else "the connection broke before anything was sent"
            return NoResponse(bytes_left=left, message=f"{what}: {explain(error)}", timing=_timing(handed))
        finally:
            pool.unreserve()

    def _send(self, request: requests.PreparedRequest, handed: SentBytes) -> Response:
        response = self._adapter.send(request, timeout=self._timeout, verify=self._adapter.verify)
        # The connection has read it whole; this takes it out and gives the connection back.
        body = response.raw.read()
        response.raw.release_conn()
        return Response(response.status_code, body, dict(response.headers), _timing(handed))

    def close(self) -> None:
        """Close every pooled connection."""
        self._adapter.close()


def _timing(handed: SentBytes) -> Timing | None:
    return Timing(handed.first_at, time.monotonic()) if handed.size else None


_EXPLANATIONS: tuple[tuple[type[BaseException], str], ...] = (
    (requests.exceptions.InvalidURL, "its URL is none"),
    (urllib3.exceptions.LocationParseError, "its URL is none"),
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
"""The words for an error, most telling first. Never the error's own text: it holds addresses and may quote the request.
The words decide nothing: whether anything left is counted."""


def explain(error: BaseException) -> str:
    """A failure in words for a person, by the first known kind in the error, its causes and its arguments."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, UnreadableAnswer):
            return str(link)
    for kind, words in _EXPLANATIONS:
        if any(isinstance(link, kind) for link in chain):
            return words
    return type(error).__name__


def _chain(error: BaseException, depth: int = 0) -> Iterator[BaseException]:
    yield error
    if depth > 8:
        return
    # urllib3 and requests carry the cause in args (ProtocolError) or in `reason` (MaxRetryError).
    inner = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
    for link in inner:
        if isinstance(link, BaseException) and link is not error:
            yield from _chain(link, depth + 1)
