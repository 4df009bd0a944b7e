"""The signed request of one exchange: signed just before it leaves, signed anew when it has aged, and counted."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import requests
from requests.structures import CaseInsensitiveDict

from worker.venues.http.base import SignedRequest

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
        return to_prepared_request(signed)


def to_prepared_request(signed: SignedRequest) -> requests.PreparedRequest:
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
