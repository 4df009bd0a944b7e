"""Requests that only read, for a plan or a look: each response is redacted before anything in it is read."""

from collections.abc import Callable

from worker.venues.accounts import Account
from worker.venues.http.base import NoResponse, Response, Send, SignedRequest
from worker.venues.response_redaction import Secrets, redact_response, secrets_of


def redacted(send: Send, account: Account, before_each: Callable[[], None] = lambda: None) -> Send:
    """The same ``send`` for reads of this account. ``before_each`` is called before each request."""

    def read(base_url: str, make_request: Callable[[], SignedRequest]) -> Response | NoResponse:
        before_each()
        secrets = Secrets()

        def make() -> SignedRequest:
            nonlocal secrets
            request = make_request()
            if not request.max_response_bytes:  # else it is a public list, asked for without keys
                secrets |= secrets_of(request, account)
            return request

        response = send(base_url, make)
        if not isinstance(response, Response) or secrets == Secrets():
            return response
        return redact_response(response, secrets)

    return read
