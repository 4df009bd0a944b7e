"""The work that all do: sign a close and post it over pooled connections."""

import base64
import hashlib
import hmac
import os
import time
from typing import Any
from urllib.parse import urlencode

import requests

VENUE = os.environ["BENCH_VENUE"]
BROKER = os.environ["BENCH_BROKER"]
RESULTS = os.environ["BENCH_RESULTS"]
# The sender of a Celery app has no result backend: with one, Celery subscribes to each result as it sends.
CELERY_RESULTS = "disabled://" if os.environ["BENCH_SENDING"] else RESULTS
KEY = os.environ["BENCH_KEY"]
SECRET = os.environ["BENCH_SECRET"]
PAIR = "USD_BTC_PERP"
TIMEOUT = 10.0

session = requests.Session()
session.trust_env = False
session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=64))


def signed(number: int) -> tuple[str, dict[str, str]]:
    """Body and headers of one close, as the venue wants them."""
    body = urlencode({"pair": PAIR, "qty": number, "timestamp": int(time.time() * 1000)})
    digest = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).digest()
    return body, {
        "content-type": "application/x-www-form-urlencoded",
        "x-api-key": KEY,
        "x-signature": base64.b64encode(digest).decode(),
    }


def post(number: int) -> Any:
    """Post it; the venue's envelope."""
    body, headers = signed(number)
    answer = session.post(f"{VENUE}/auth/close", data=body, headers=headers, timeout=TIMEOUT)
    answer.raise_for_status()
    return answer.json()


async def post_async(number: int, client: Any) -> Any:
    """The same over an aiohttp session."""
    body, headers = signed(number)
    async with client.post(f"{VENUE}/auth/close", data=body, headers=headers) as answer:
        answer.raise_for_status()
        return await answer.json()
