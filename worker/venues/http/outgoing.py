"""One outgoing request: signed at the last moment, signed anew when its signature has aged, and counted as it
leaves."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from worker.venues.http.base import SignedRequest

USER_AGENT = "order-execution-worker"

SIGNATURE_MAX_AGE_SECONDS = 0.001
"""A request whose signature is older is signed anew. Building and handing over a request takes a fifth of this time."""
MAX_SIGNATURES = 10
"""How often a request is signed at most. On a machine too busy for the limit above, the last one is sent anyway."""

RequestFactory = Callable[[], SignedRequest]
"""Makes the signed request, as often as it is called."""


class SigningFailed(Exception):
    """Raised when the request could not be made; ``__cause__`` is the reason. No byte has been sent."""


@dataclass(slots=True)
class SentBytes:
    """How many bytes of one request the kernel has accepted."""

    make_request: RequestFactory
    signed_at: float = 0.0
    """When signing began the last time, on the monotonic clock."""
    count: int = 0
    first_byte_at: float = 0.0
    """When the kernel accepted the first byte, on the monotonic clock."""
    max_response_bytes: int = 0
    """See :attr:`SignedRequest.max_response_bytes`."""

    def sign(self) -> SignedRequest:
        """A freshly signed request.

        Raises:
            SigningFailed: ``make_request`` raised an exception, which must not be taken for a failure of the network.
        """
        self.signed_at = time.monotonic()
        try:
            signed = self.make_request()
        except Exception as error:
            raise SigningFailed from error
        self.max_response_bytes = signed.max_response_bytes
        return signed


_NEEDLESS = "2D|2E|3[0-9]|4[1-9A-F]|5[0-9A]|5F|6[1-9A-F]|7[0-9A]|7E"
"""Percent-encoded characters that need no encoding (RFC 3986, 2.3): requests would decode them."""
_CHARACTER = rf"[A-Za-z0-9._~:/@!$&'()*+,;=-]++|%(?!{_NEEDLESS})[0-9A-F]{{2}}"
SENT_AS_SIGNED = re.compile(
    rf"https?://[a-z0-9_-][a-z0-9._:-]*(?![^?]*/\.\.?(?:[/?]|$))/(?:{_CHARACTER})*(?:\?(?:{_CHARACTER}|\?)+)?", re.ASCII
)
"""A URL that requests writes in no other way; ``.`` and ``..`` are no parts of its path."""


@lru_cache(maxsize=256)
def normalised_url(url: str) -> str:
    """The URL as requests writes it, with everything encoded that must be.

    Raises:
        ValueError: no request can be made for it.
    """
    # Of signed reads, each has another URL, which requests would take ten times as long for; and requests takes 4 MB.
    if SENT_AS_SIGNED.fullmatch(url):
        return url
    import requests

    return str(requests.Request("GET", url).prepare().url)


_BODILESS = frozenset({"GET", "HEAD", "DELETE", "TRACE", "OPTIONS", "CONNECT"})
"""The methods whose requests say nothing of a body that they don't have."""
# What http.client and urllib3 refuse, so that nothing in a request ends its line and begins another.
_NOT_IN_METHOD = re.compile(r"[^-!#$%&'*+.^_`|~0-9a-zA-Z]")
_NOT_IN_TARGET = re.compile(r"[\x00-\x20\x7f]")
_NAME = re.compile(r"[^:\s][^:\r\n]*", re.ASCII)
_LINE_END = re.compile(r"\n(?![ \t])|\r(?![ \t\n])")


def to_bytes(signed: SignedRequest, address: str) -> bytes:
    """The request as it is sent: the bytes that requests, urllib3 and http.client would write.

    Args:
        signed: the request.
        address: the value of its ``Host`` header.

    Raises:
        ValueError: a URL, method or header that they refuse, or a transfer coding. The text quotes nothing.
    """
    method, target, body = signed.method, _target(signed.url), signed.body
    if _NOT_IN_METHOD.search(method) or _NOT_IN_TARGET.search(target) or not target.isascii():
        raise ValueError("a character that a request line can't have")
    # Of two names that differ only in letter case, the last one counts.
    headers = {name.lower(): (name, value) for name, value in signed.headers.items()}
    if "transfer-encoding" in headers:
        raise ValueError("a transfer coding beside a body of known length")
    headers.setdefault("user-agent", ("user-agent", USER_AGENT))
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in headers:
        lines.append(f"Host: {address}")
    if "accept-encoding" not in headers:
        lines.append("Accept-Encoding: identity")
    if body is not None:
        headers["content-length"] = ("Content-Length", str(len(body)))
    elif "content-length" not in headers and method.upper() not in _BODILESS:
        lines.append("Content-Length: 0")
    for name, value in headers.values():
        if not name.isascii() or not _NAME.fullmatch(name) or _LINE_END.search(value):
            raise ValueError("a character that a header can't have")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def _target(url: str) -> str:
    """Path and query, as in a request line."""
    parts = urlsplit(normalised_url(url))
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
