"""Two usual ways to send a withdrawal, as Celery tasks: ``once`` and ``ccxt``.

They run under an interpreter of their own (``compare.py`` tells how to make one). ``python -m
tests.faults.baselines.tasks NAME`` enqueues what it reads with the task of this name, one JSON object a line,
``{"id", "kwargs"}``, and answers each with a line once it is enqueued.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import ccxt
import requests
from celery import Celery, signals
from celery_once import AlreadyQueued, QueueOnce

KEY = os.environ["ORDERS_ACCOUNTS__MAIN__API_KEY"]
SECRET = os.environ["ORDERS_ACCOUNTS__MAIN__SECRET_KEY"]
VENUE = os.environ["ORDERS_ACCOUNTS__MAIN__BASE_URL"]
BROKER = os.environ["ORDERS_BROKER_URL"]
TIMEOUT = float(os.environ["ORDERS_HTTP__READ_TIMEOUT_SECONDS"])

# Stock Celery on stock kombu, with the same short times as the worker it is compared with.
app = Celery("baselines", broker=BROKER, backend=os.environ["ORDERS_RESULT_BACKEND"])
app.conf.update(
    broker_transport_options=json.loads(os.environ["FAULTS_CELERY"]),
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_prefetch_multiplier=1,
    result_backend_always_retry=True,
    ONCE={"backend": "celery_once.backends.Redis", "settings": {"url": BROKER, "default_timeout": 3600}},
)
session = requests.Session()


@signals.worker_ready.connect
def on_ready(**_: object) -> None:
    """Tell the fleet that the worker consumes."""
    Path(os.environ["FAULTS_READY"]).touch()


def sign(parameters: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The body and the headers of a signed request."""
    body = urlencode({**parameters, "timestamp": int(time.time() * 1000)})
    signature = base64.b64encode(hmac.digest(SECRET.encode(), body.encode(), hashlib.sha256)).decode()
    content_type = "application/x-www-form-urlencoded"
    return body, {"content-type": content_type, "x-api-key": KEY, "x-signature": signature}


@app.task(  # type: ignore[untyped-decorator]
    name="once",
    base=QueueOnce,
    once={"keys": ["address"]},
    acks_late=True,
    reject_on_worker_lost=True,
    autoretry_for=(Exception,),
    retry_backoff=True,
    retry_backoff_max=4,
    max_retries=4,
)
def once(asset: str, qty: str, address: str) -> Any:
    """Withdraw, and let Celery do it again when that fails; celery-once keeps a second task from being enqueued."""
    body, headers = sign({"asset": asset, "qty": qty, "address": address})
    answer = session.post(f"{VENUE}/auth/withdraw", data=body, headers=headers, timeout=TIMEOUT)
    answer.raise_for_status()
    return answer.json()["result"]


class Venue(ccxt.Exchange):  # type: ignore[misc]
    """ccxt's own base class, taught this venue's address and signature and nothing else."""

    def describe(self) -> Any:
        """What ccxt wants to know of an exchange."""
        retries = {"maxRetriesOnFailure": 3, "maxRetriesOnFailureDelay": 200}
        urls = {"api": {"private": VENUE}}
        described = {"id": "venue", "urls": urls, "enableRateLimit": False, "timeout": int(TIMEOUT * 1000)}
        return self.deep_extend(super().describe(), {**described, "options": retries})

    def sign(self, path: str, api: Any, method: str, params: Any, headers: Any = None, body: Any = None) -> Any:
        """Sign anew before each attempt, when ccxt asks for it."""
        body, headers = sign(params)
        return {"url": f"{VENUE}/{path}", "method": method, "body": body, "headers": headers}


@app.task(name="ccxt", acks_late=True, reject_on_worker_lost=True)  # type: ignore[untyped-decorator]
def with_ccxt(**withdrawal: str) -> Any:
    """Withdraw, and let ccxt send again after every network error."""
    return Venue().request("auth/withdraw", "private", "POST", withdrawal)["result"]


def main() -> None:
    """Until standard input ends. A publication that fails is made again; what celery-once knows counts as enqueued."""
    app.conf.broker_transport_options |= {"socket_timeout": 5, "socket_connect_timeout": 5}
    task = app.tasks[sys.argv[1]]
    for line in sys.stdin:
        wanted = json.loads(line)
        while True:
            try:
                task.apply_async(kwargs=wanted["kwargs"], task_id=wanted["id"], retry=False)
            except AlreadyQueued:
                break
            except Exception:  # noqa: BLE001 - whatever it is, the command is not known to be enqueued
                time.sleep(0.05)
            else:
                break
        print(flush=True)


if __name__ == "__main__":
    main()
