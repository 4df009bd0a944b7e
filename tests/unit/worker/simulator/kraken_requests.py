"""Requests to the simulated Kraken Futures, signed by code of their own."""

import base64
import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import requests

KEY, SECRET = "demo-krakenfutures-key", "ZGVtby1rcmFrZW5mdXR1cmVzLXNlY3JldA=="
API, HISTORY = "/derivatives/api/v3/", "/api/history/v3/"
OPEN_ORDER = "00000000-0000-4000-8000-000000000001"
"""The demo account's order."""


def authent(path: str, post_data: str, nonce: str = "", secret: str = SECRET) -> str:
    """SHA-256, then HMAC-SHA-512 with the decoded secret; the path as the page has it, without /derivatives."""
    digest = hashlib.sha256((post_data + nonce + path.replace("/derivatives", "")).encode()).digest()
    return base64.b64encode(hmac.new(base64.b64decode(secret), digest, hashlib.sha512).digest()).decode()


def call(url: str, method: str, path: str, query: str, *, key: str = KEY, nonce: str = "", **wrong: str) -> Any:
    """Send a request, signed unless `authent` is given; the reply with decimals as they are."""
    headers = {"APIKey": key, "Authent": wrong.get("authent") or authent(path, query, nonce)}
    headers |= {"Nonce": nonce} if nonce else {}
    answer = requests.request(method, f"{url}{path}?{query}".rstrip("?"), headers=headers, timeout=10)
    return json.loads(answer.text, parse_float=Decimal)


def query_of(fields: dict[str, object]) -> str:
    """Parameters as they are sent."""
    return "&".join(f"{name}={quote(str(value), safe='')}" for name, value in fields.items())


def send(url: str, **fields: object) -> Any:
    """A limit order to sell 0.5 PF_XBTUSD, unless the fields say otherwise; None leaves one out. Its `sendStatus`."""
    order = {"orderType": "lmt", "symbol": "PF_XBTUSD", "side": "sell", "size": "0.5", "limitPrice": "50000", **fields}
    sent = {name: value for name, value in order.items() if value is not None}
    answer = call(url, "POST", f"{API}sendorder", query_of(sent))
    return answer["sendStatus"] if answer["result"] == "success" else answer["error"]


def market(url: str, **fields: object) -> Any:
    """The same at market."""
    return send(url, orderType="mkt", limitPrice=None, **fields)


def cancel(url: str, **fields: object) -> Any:
    """A `cancelStatus`."""
    return call(url, "POST", f"{API}cancelorder", query_of(fields))["cancelStatus"]


def read(url: str, name: str, query: str = "", method: str = "GET") -> Any:
    """A private read."""
    return call(url, method, f"{API}{name}", query)


def statuses(url: str, *client_ids: str) -> dict[str, str]:
    """What orders/status shows of client order ids."""
    query = "&".join(f"cliOrdIds={client_id}" for client_id in client_ids)
    rows = read(url, "orders/status", query, "POST")["orders"]
    return {row["order"]["cliOrdId"]: row["status"] for row in rows}
