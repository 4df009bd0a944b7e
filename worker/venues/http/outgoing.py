"""One outgoing request: signed at the last moment, signed anew when its signature has aged, and counted as it
leaves."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict

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

    def sign(self) -> requests.PreparedRequest:
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
        return to_prepared_request(signed)


def to_prepared_request(signed: SignedRequest) -> requests.PreparedRequest:
    """The request as requests prepares it.

    This takes a fraction of the time of ``Request.prepare``: a URL is parsed only once, and the body is always bytes.
    """
    request = requests.PreparedRequest()
    request.method, request.url = signed.method, normalised_url(signed.url)
    request.headers = CaseInsensitiveDict(signed.headers)
    request.headers.setdefault("user-agent", USER_AGENT)
    if signed.body is not None:
        request.headers["Content-Length"] = str(len(signed.body))
    request.body = signed.body
    return request


_NEEDLESS = "2D|2E|3[0-9]|4[1-9A-F]|5[0-9A]|5F|6[1-9A-F]|7[0-9A]|7E"
"""Percent-encoded characters that need no encoding (RFC 3986, 2.3): requests would decode them."""
_CHARACTER = rf"[A-Za-z0-9._~:/@!$&'()*+,;=-]++|%(?!{_NEEDLESS})[0-9A-F]{{2}}"
SENT_AS_SIGNED = re.compile(
    rf"https?://[a-z0-9._:-]+(?![^?]*/\.\.?(?:[/?]|$))/(?:{_CHARACTER})*(?:\?(?:{_CHARACTER}|\?)+)?", re.ASCII
)
"""A URL that requests writes in no other way; ``.`` and ``..`` are no parts of its path."""


@lru_cache(maxsize=256)
def normalised_url(url: str) -> str:
    """The URL as requests writes it: the name of a host that is not ASCII too.

    Raises:
        ValueError: the URL is invalid.
    """
    # Of a signed read, each request has another URL.
    if SENT_AS_SIGNED.fullmatch(url):
        return url
    return cast("str", requests.Request("GET", url).prepare().url)


_BODILESS = frozenset({"GET", "HEAD", "DELETE", "TRACE", "OPTIONS", "CONNECT"})
"""The methods whose requests say nothing of a body that they don't have."""
# What http.client and urllib3 refuse, so that nothing in a request ends its line and begins another.
_NOT_IN_METHOD = re.compile(r"[^-!#$%&'*+.^_`|~0-9a-zA-Z]")
_NOT_IN_TARGET = re.compile(r"[\x00-\x20\x7f]")
_NAME = re.compile(r"[^:\s][^:\r\n]*", re.ASCII)
_LINE_END = re.compile(r"\n(?![ \t])|\r(?![ \t\n])")


def to_bytes(request: requests.PreparedRequest, address: str) -> bytes:
    """The request as it is sent: the bytes that urllib3 and http.client would write.

    Args:
        request: a request with a body of bytes, or none.
        address: the value of its ``Host`` header.

    Raises:
        ValueError: a method, target or header that http.client refuses, or a transfer coding. The text quotes nothing.
    """
    method, target = str(request.method), _target(str(request.url))
    if _NOT_IN_METHOD.search(method):
        raise ValueError("a character that a request line can't have")
    # In a mapping of requests' class, a lookup takes longer than a list of all.
    known = dict(request.headers.lower_items())
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in known:
        lines.append(f"Host: {address}")
    if "accept-encoding" not in known:
        lines.append("Accept-Encoding: identity")
    if "transfer-encoding" in known:
        raise ValueError("a transfer coding beside a body of known length")
    if request.body is None and "content-length" not in known and method.upper() not in _BODILESS:
        lines.append("Content-Length: 0")
    for name, value in zip(request.headers, known.values(), strict=True):
        if not _can_be_name(name) or _LINE_END.search(value):
            raise ValueError("a character that a header can't have")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + cast("bytes", request.body or b"")


@lru_cache(maxsize=256)
def _target(url: str) -> str:
    """The path and the query of a URL, in the first line of its request.

    Raises:
        ValueError: a character that http.client refuses.
    """
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if _NOT_IN_TARGET.search(target) or not target.isascii():
        raise ValueError("a character that a request line can't have")
    return target


@lru_cache(maxsize=256)
def _can_be_name(name: str) -> bool:
    return name.isascii() and _NAME.fullmatch(name) is not None
