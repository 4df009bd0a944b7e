"""One attempt to send a report to a webhook, and what follows from its answer."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from producers import exact_json
from worker.clock import Clock
from worker.ledger.webhooks import Delivery
from worker.venues.http.base import HttpLimits, NoResponse, Response, SignedRequest, retry_after_seconds
from worker.venues.http.transport import Transport
from worker.webhook_settings import WebhookSettings
from worker.webhooks.signing import message_id, signed_headers

CONNECT_SECONDS = 3.0
MAX_ANSWER_BYTES = 64 * 1024
"""The largest answer that is read; its status alone counts, and a larger one is none."""
MAX_JITTER = 0.2
"""By how much of itself a wait is lengthened at most, so that what failed together does not come again together."""
GONE = 410

Sign = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Result(StrEnum):
    """What became of an attempt: the label of the metric."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """Another attempt follows."""
    GAVE_UP = "gave_up"
    SUPERSEDED = "superseded"
    """The report has been replaced, and the later one is sent."""
    FILTERED = "filtered"
    """It is of an account or a command that is not sent. No metric counts it."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """The result of an attempt."""

    result: Result
    said: str = ""
    """Why it failed, without anything that the receiver has written."""
    wait_seconds: float = 0.0
    """Before the next one."""


class Sending:
    """Sends reports to one webhook; threads may share it."""

    def __init__(self, settings: WebhookSettings, clock: Clock, sign: Sign | None = None) -> None:
        """``sign`` adds the worker's own signature to a report; it may raise any exception."""
        self._settings, self._clock, self._sign = settings, clock, sign
        self._url, self._secrets = settings.address, settings.signing_secrets
        limits = HttpLimits(
            connect_timeout=min(CONNECT_SECONDS, settings.timeout_seconds),
            read_timeout=settings.timeout_seconds,
            max_response_bytes=MAX_ANSWER_BYTES,
            pool_size=settings.connections,
        )
        self._transport = Transport(limits, settings.ca_file or None)

    @property
    def lease_ms(self) -> int:
        """How long an attempt can take, with room for a slow look-up of the receiver's name."""
        return int((2 * (CONNECT_SECONDS + self._settings.timeout_seconds) + 30) * 1000)

    def attempt(self, delivery: Delivery, stored: str | None, now: int) -> Attempted:
        """Send a delivery. ``stored`` is the report that the ledger has now, ``now`` UNIX ms on its clock."""
        if stored is None:
            return Attempted(Result.GAVE_UP, "the ledger does not have its report any more")
        report = exact_json.loads(stored)
        if report["outcome"] != delivery.outcome:
            return Attempted(Result.SUPERSEDED)
        if not self._settings.wants(report):
            return Attempted(Result.FILTERED)
        body = exact_json.dumps(self._sign(report) if self._sign else report, separators=(",", ":")).encode()
        answer = self._transport.send(self._url, lambda: self._request(message_id(stored), body))
        if isinstance(answer, Response) and 200 <= answer.status < 300:
            return Attempted(Result.DELIVERED)
        return self.failed(delivery, answer, now)

    def _request(self, message: str, body: bytes) -> SignedRequest:
        headers = signed_headers(self._secrets, message, self._clock.now_ms() // 1000, body)
        return SignedRequest("POST", self._url, headers, body)

    def failed(self, delivery: Delivery, answer: Response | NoResponse | str, now: int) -> Attempted:
        """What follows from an attempt that failed: by its answer, or by an error in words."""
        settings = self._settings
        if isinstance(answer, Response):
            said = f"HTTP {answer.status}"
            if answer.status == GONE:
                return Attempted(Result.GAVE_UP, f"{said}: the receiver wants no more of it")
            if 300 <= answer.status < 400:
                said += ": redirects are not followed"
        else:
            said = answer if isinstance(answer, str) else answer.message.replace("the venue", "the receiver")
        if now - delivery.since >= settings.retry_hours * 3_600_000:
            return Attempted(Result.GAVE_UP, f"{said}; tried for {settings.retry_hours:g} h")
        wait = min(settings.max_seconds, settings.initial_seconds * 2.0 ** min(delivery.attempt - 1, 30))
        if isinstance(answer, Response):
            wait = max(wait, min(retry_after_seconds(answer.headers) or 0.0, settings.max_seconds))
        return Attempted(Result.FAILED, said, wait * (1 + random.random() * MAX_JITTER))
