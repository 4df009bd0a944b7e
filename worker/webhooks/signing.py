"""Signatures of Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks, specification 1.0.0).

The receiver gets ``webhook-id``, the same for each repetition of one report; ``webhook-timestamp``, UNIX seconds of the
attempt; and ``webhook-signature``: for each secret ``v1,`` and the base64 of HMAC-SHA256 over
``<id>.<timestamp>.<body>``, separated by blanks.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence


def message_id(stored: str) -> str:
    """The id of the message that brings a report, which the ledger stores as this text: the same for the same report,
    however often and by whichever worker it is sent, and another one once the report has changed."""
    return f"msg_{hashlib.sha256(stored.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def signed_headers(secrets: Sequence[bytes], message: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of an attempt at the time ``at``, UNIX seconds."""
    content = f"{message}.{at}.".encode() + body
    return {
        "content-type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{_hmac(secret, content)}" for secret in secrets),
    }


def _hmac(secret: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
