"""Requests to the simulated OKX, signed by code of their own."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

KEY, SECRET, PASSPHRASE = "demo-okx-key", "demo-okx-secret", "demo-okx-passphrase"
OPEN_ORDER = "2510789768709120000"
"""The demo account's order."""


def sign(secret: str, text: str) -> str:
    """Base64 of the HMAC-SHA256."""
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()


def call(
    url: str, method: str, target: str, body: object = None, *, age: float = 0.0, timeout: float = 10, **headers: Any
) -> Any:
    """Send a request; keyword arguments replace headers (`_` stands for `-`). `(HTTP status, reply)`."""
    text = "" if body is None else json.dumps(body)
    moment = datetime.now(UTC) - timedelta(seconds=age)
    stamp = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
    sent = {
        "OK-ACCESS-KEY": KEY,
        "OK-ACCESS-PASSPHRASE": PASSPHRASE,
        "OK-ACCESS-TIMESTAMP": stamp,
        "OK-ACCESS-SIGN": sign(SECRET, f"{stamp}{method}/api/v5/{target}{text}"),
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    answer = requests.request(method, f"{url}/api/v5/{target}", data=text or None, headers=sent, timeout=timeout)
    return answer.status_code, answer.json()


def read(url: str, target: str, age: float = 0.0) -> Any:
    """The `data` of a read, or its code."""
    _, answer = call(url, "GET", target, age=age)
    return answer["data"] if answer["code"] == "0" else answer["code"]


def operate(url: str, name: str, body: object, **headers: str) -> Any:
    """The element of `data` of an operation, or its code in the envelope."""
    _, answer = call(url, "POST", name, body, **headers)
    assert answer["code"] == "0" or not answer["data"] or answer["code"] == "1"
    return answer["data"][0] if answer["data"] else answer["code"]


def order(url: str, **fields: object) -> Any:
    """A limit order to sell 50 BTC-USDT-SWAP, unless the fields say otherwise; None leaves one out."""
    body = {"instId": "BTC-USDT-SWAP", "tdMode": "cross", "side": "sell", "ordType": "limit", "sz": "50", "px": "50000"}
    sent = {name: value for name, value in {**body, **fields}.items() if value is not None}
    return operate(url, "trade/order", sent)


def market(url: str, **fields: object) -> Any:
    """The same at market."""
    return order(url, ordType="market", px=None, **fields)


def stop(url: str, **fields: object) -> Any:
    """A stop to sell 50 BTC-USDT-SWAP at market once the mark price is below 40000."""
    body = {"instId": "BTC-USDT-SWAP", "tdMode": "cross", "side": "sell", "ordType": "conditional", "sz": "50"}
    trigger = {"slTriggerPx": "40000", "slTriggerPxType": "mark", "slOrdPx": "-1"}
    sent = {name: value for name, value in {**body, **trigger, **fields}.items() if value is not None}
    return operate(url, "trade/order-algo", sent)


def withdraw(url: str, **fields: object) -> Any:
    """10 USDT to an address on Tron."""
    body = {"ccy": "USDT", "amt": "10", "dest": "4", "toAddr": "Txyz", "chain": "USDT-TRC20", **fields}
    return operate(url, "asset/withdrawal", {name: value for name, value in body.items() if value is not None})


def state(url: str, client_id: str, age: float = 0.0) -> Any:
    """The state of an order by its client order id, or the code of the refusal."""
    found = read(url, f"trade/order?instId=BTC-USDT-SWAP&clOrdId={client_id}", age)
    return found if isinstance(found, str) else found[0]["state"]


def stop_state(url: str, client_id: str) -> Any:
    """The state of a stop by its client order id, or the code of the refusal."""
    found = read(url, f"trade/order-algo?algoClOrdId={client_id}")
    return found if isinstance(found, str) else found[0]["state"]
