"""The threads of a worker that send reports to its webhooks. None of them is one that executes commands: a receiver
that hangs holds up what is sent to it, and nothing else."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis

from producers.printable import printable
from worker.clock import Clock, SystemClock
from worker.ledger.base import LedgerUnavailable
from worker.ledger.webhooks import Delivery, WebhookQueue
from worker.webhook_settings import WebhookSettings
from worker.webhooks.sending import Attempted, Result, Sending, Sign

logger = logging.getLogger("orders.webhooks")

IDLE_SECONDS = 1.0
"""How often a thread asks for something to send while there is nothing."""

QUIET_SECONDS = 60.0
"""How long nothing more is logged of a receiver that fails, beside what is given up."""

Count = Callable[[str, str], object]
"""Counts an attempt, by the webhook's name and its result."""


class WebhookSender:
    """Sends what one webhook is to get."""

    def __init__(
        self, name: str, settings: WebhookSettings, queue: WebhookQueue, sending: Sending, count: Count
    ) -> None:
        self._name, self._outcomes, self._connections = name, settings.wanted_outcomes, settings.connections
        self._queue, self._sending, self._count = queue, sending, count
        self._stopped = threading.Event()
        self._quiet_until = 0.0

    def start(self) -> None:
        """Start the threads. They are daemons: what one was sending when the worker ended is sent again by another."""
        for number in range(self._connections):
            threading.Thread(target=self.run, name=f"webhook-{self._name}-{number}", daemon=True).start()

    def stop(self) -> None:
        """Begin no further attempt."""
        self._stopped.set()

    def run(self) -> None:
        """Send until :meth:`stop` is called."""
        while not self._stopped.is_set():
            try:
                busy = self.step()
            except LedgerUnavailable as error:
                logger.debug("webhook=%s is served later: %s", self._name, error)
                busy = False
            except Exception as error:  # noqa: BLE001 - nothing ends the thread; an error's text may quote a report
                logger.error("webhook=%s: a fault in the worker: %s", self._name, type(error).__name__)  # noqa: TRY400
                busy = False
            if not busy:
                self._stopped.wait(IDLE_SECONDS)

    def step(self) -> bool:
        """Send one report, if one is due; whether there may be another one at once."""
        taken = self._queue.take(self._outcomes, self._sending.lease_ms)
        delivery = taken.delivery
        if delivery is None:
            return taken.more
        try:
            stored = self._queue.report(delivery.command_id)
            attempted = self._sending.attempt(delivery, stored, taken.now)
        except LedgerUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one report that can't be sent must not keep the others back
            attempted = self._sending.failed(delivery, f"a fault in the worker ({type(error).__name__})", taken.now)
        self._put_away(delivery, attempted)
        return True

    def _put_away(self, delivery: Delivery, attempted: Attempted) -> None:
        result = attempted.result
        if result is Result.FAILED:
            self._queue.again(delivery, int(attempted.wait_seconds * 1000), attempted.said)
        elif result is Result.GAVE_UP:
            self._queue.give_up(delivery, attempted.said)
        else:
            self._queue.done(delivery)
        if result is not Result.FILTERED:
            self._count(self._name, result.value)
        self._log(delivery, attempted)

    def _log(self, delivery: Delivery, attempted: Attempted) -> None:
        """Log what was given up, and at most once a minute that the receiver fails."""
        said = self._name, printable(delivery.command_id, 64), delivery.attempt, attempted.said
        if attempted.result is Result.GAVE_UP:
            logger.error("webhook=%s id=%s attempt=%d is given up: %s. orders webhooks sends it again", *said)
        elif attempted.result is Result.FAILED and time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            logger.warning("webhook=%s fails: id=%s attempt=%d: %s. It is tried again until it works", *said)


class WebhookSenders:
    """Every webhook of a worker."""

    def __init__(
        self,
        webhooks: Mapping[str, WebhookSettings],
        connect: Callable[[], redis.Redis],
        count: Count,
        sign: Sign | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``connect`` makes a client of the ledger, and is called where there is a webhook."""
        self._webhooks, self._connect, self._count = webhooks, connect, count
        self._sign, self._clock = sign, clock or SystemClock()
        self._senders: list[WebhookSender] = []

    def start(self) -> None:
        """Start the threads of each webhook."""
        client: Any = self._connect() if self._webhooks else None
        for name, settings in self._webhooks.items():
            sending = Sending(settings, self._clock, self._sign)
            sender = WebhookSender(name, settings, WebhookQueue(client, name), sending, self._count)
            sender.start()
            self._senders.append(sender)

    def stop(self) -> None:
        """Begin no further attempt."""
        for sender in self._senders:
            sender.stop()
