"""Signing requests to Everstrike."""

import base64
import hashlib
import hmac

from worker.venues.accounts import Credentials


def auth_headers(credentials: Credentials, body: bytes | None = None) -> dict[str, str]:
    """The headers that authenticate a request: ``x-api-key`` and, if it has a body, ``x-signature``.

    The signature is base64(HMAC-SHA256(secret, body)) over exactly the bytes that are sent (``docs/venues.md``).
    """
    headers = {"x-api-key": credentials.api_key}
    if body is not None:
        # Not hmac.digest, which releases the interpreter: the signature would age while other threads have it.
        digest = hmac.new(credentials.secret_key.encode(), body, hashlib.sha256).digest()
        headers["x-signature"] = base64.b64encode(digest).decode("ascii")
    return headers
