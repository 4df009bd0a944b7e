"""The work of every peer: sign a close and post it over pooled connections."""

import base64
import functools
import hashlib
import hmac
import os
import time
from typing import Any
from urllib.parse import urlencode

import requests

URL = f"{os.environ['BENCH_VENUE']}/auth/close"
BROKER = os.environ["BENCH_BROKER"]
RESULTS = os.environ["BENCH_RESULTS"]
# The sender of a Celery app has no result backend: with one, Celery subscribes to each result as it sends.
CELERY_RESULTS = "disabled://" if os.environ["BENCH_SENDING"] else RESULTS
CONCURRENCY = int(os.environ["BENCH_CONCURRENCY"])
TIMEOUT_SECONDS = 10.0

session = requests.Session()
session.trust_env = False
session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=64))


def signed(number: int) -> tuple[str, dict[str, str]]:
    """Body and headers of one close, as the venue wants them."""
    body = urlencode({"pair": "USD_BTC_PERP", "qty": number, "timestamp": int(time.time() * 1000)})
    digest = hmac.new(os.environ["BENCH_SECRET"].encode(), body.encode(), hashlib.sha256).digest()
    return body, {
        "content-type": "application/x-www-form-urlencoded",
        "x-api-key": os.environ["BENCH_KEY"],
        "x-signature": base64.b64encode(digest).decode(),
    }


def post(number: int) -> Any:
    """Send one close; the venue's envelope."""
    body, headers = signed(number)
    response = session.post(URL, data=body, headers=headers, timeout=TIMEOUT_SECONDS)
    response.raise_for_status()
    return response.json()


@functools.cache
def _async_session() -> Any:
    import aiohttp

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY))


async def post_async(number: int) -> Any:
    """Send one close over a session that lives as long as the process."""
    body, headers = signed(number)
    async with _async_session().post(URL, data=body, headers=headers) as response:
        response.raise_for_status()
        return await response.json()
