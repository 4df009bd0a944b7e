"""What both ways share: the app, the venue's signature, and a file that says that a worker is ready."""

import base64
import hashlib
import hmac
import json
import os
from pathlib import Path

from celery import Celery, signals

KEY = os.environ["ORDERS_ACCOUNTS__MAIN__API_KEY"]
SECRET = os.environ["ORDERS_ACCOUNTS__MAIN__SECRET_KEY"]
VENUE = os.environ["ORDERS_ACCOUNTS__MAIN__BASE_URL"]
BROKER = os.environ["ORDERS_BROKER_URL"]
RESULTS = os.environ["ORDERS_RESULT_BACKEND"]
TIMEOUT = float(os.environ["ORDERS_HTTP__READ_TIMEOUT_SECONDS"])


def make_app() -> Celery:
    """Stock Celery on stock kombu, with the same short times as the worker it is compared with."""
    app = Celery("naive", broker=BROKER, backend=RESULTS)
    app.conf.update(
        broker_transport_options=json.loads(os.environ["FAULTS_CELERY"]),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_prefetch_multiplier=1,
        result_backend_always_retry=True,
        ONCE={"backend": "celery_once.backends.Redis", "settings": {"url": BROKER, "default_timeout": 3600}},
    )
    signals.worker_ready.connect(lambda **_: Path(os.environ["FAULTS_READY"]).touch(), weak=False)
    return app


def signed(body: str) -> dict[str, str]:
    """The headers of a request with this body."""
    digest = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).digest()
    return {
        "content-type": "application/x-www-form-urlencoded",
        "x-api-key": KEY,
        "x-signature": base64.b64encode(digest).decode(),
    }
