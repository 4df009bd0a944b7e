"""Signing requests to Everstrike."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

import requests
from requests.auth import AuthBase

from worker.venues.accounts import Credentials


@dataclass(frozen=True, slots=True)
class EverstrikeAuth(AuthBase):
    """``x-signature`` = base64(HMAC-SHA256(secret, body bytes)), over the bytes that are about to be sent."""

    credentials: Credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the key, and for a request with a body its signature."""
        request.headers["x-api-key"] = self.credentials.api_key
        if request.body is not None:
            body = request.body if isinstance(request.body, bytes) else request.body.encode("ascii")
            digest = hmac.digest(self.credentials.secret_key.encode(), body, hashlib.sha256)
            request.headers["x-signature"] = base64.b64encode(digest).decode("ascii")
        return request
