"""The requests that the tests of the simulator send, signed by code of their own."""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import urlencode

import requests

KEY, SECRET = "demo-everstrike-key", "demo-everstrike-secret"
FORM = "application/x-www-form-urlencoded"
POSITIONS = "/Contract/getContractActivePositions"


def md5(text: str) -> str:
    """Lower-case hex."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def now_ms() -> int:
    """UNIX milliseconds."""
    return time.time_ns() // 1_000_000


def signed_headers(body: bytes, *, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    """Everstrike's headers for exactly these bytes."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return {"x-api-key": key, "x-signature": base64.b64encode(digest).decode(), "content-type": FORM}


def post(url: str, path: str, fields: Mapping[str, object] | bytes, **headers: str) -> requests.Response:
    """Send a signed Everstrike command; keyword arguments replace headers (`_` stands for `-`)."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    replaced = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(url + path, data=body, headers=signed_headers(body) | replaced, timeout=10)


def close(url: str, **fields: object) -> requests.Response:
    """Close at market, now, unless the fields say otherwise."""
    return post(url, "/auth/close", {"pair": "USD_BTC_PERP", "timestamp": now_ms(), **fields})


def withdraw(url: str, **fields: object) -> requests.Response:
    """Withdraw 1 ETH, now, unless the fields say otherwise."""
    return post(url, "/auth/withdraw", {"asset": "ETH", "qty": 1, "address": "0xa", "timestamp": now_ms(), **fields})


def get(url: str, path: str, **query: str | int) -> requests.Response:
    """An Everstrike read."""
    return requests.get(url + path, params=query, headers={"x-api-key": KEY}, timeout=10)
