"""Way one: ``acks_late``, ``autoretry_for`` and celery-once."""

import time
from typing import Any
from urllib.parse import urlencode

import requests
from celery_once import QueueOnce

from tests.faults.baselines.common import TIMEOUT, VENUE, make_app, signed

app = make_app()
session = requests.Session()


@app.task(  # type: ignore[untyped-decorator]
    name="withdraw",
    base=QueueOnce,
    once={"keys": ["address"]},
    acks_late=True,
    reject_on_worker_lost=True,
    autoretry_for=(Exception,),
    retry_backoff=True,
    retry_backoff_max=4,
    max_retries=4,
)
def withdraw(asset: str, qty: str, address: str) -> Any:
    """Withdraw, and again when that fails."""
    body = urlencode({"asset": asset, "qty": qty, "address": address, "timestamp": int(time.time() * 1000)})
    answer = session.post(f"{VENUE}/auth/withdraw", data=body, headers=signed(body), timeout=TIMEOUT)
    answer.raise_for_status()
    return answer.json()["result"]
