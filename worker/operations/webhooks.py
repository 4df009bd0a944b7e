"""What waits for the webhooks and what was given up, and sending it again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import redis

from producers import exact_json
from producers.printable import MAX_ID_LENGTH, printable
from worker.ledger.base import NoSuchCommand
from worker.ledger.webhooks import Delivery, WebhookQueue, WebhookState, every_webhook
from worker.operations.operator import MAX_WHO_LENGTH, MAX_WHY_LENGTH


class NoSuchWebhook(LookupError):
    """No worker has ever served a webhook of this name."""


@dataclass(frozen=True, slots=True)
class WebhookService:
    """Looks at the webhooks' queues, and sends reports again. Methods may raise
    :class:`~worker.ledger.base.LedgerUnavailable`."""

    client: redis.Redis

    def all(self) -> Mapping[str, WebhookState]:
        """Every webhook that a worker has ever served."""
        return every_webhook(self.client)

    def queue(self, name: str) -> WebhookQueue:
        """The queue of one webhook.

        Raises:
            NoSuchWebhook: there is none of this name.
        """
        known = self.all()
        if name.lower() not in known:
            there_are = f"there are {', '.join(known)}" if known else "no worker has served any"
            raise NoSuchWebhook(f"there is no webhook {printable(name, 64)}; {there_are}")
        return WebhookQueue(self.client, name.lower())

    def resend(self, name: str, command_id: str, *, who: str, why: str) -> Delivery:
        """Send the report of a command again: one that was given up, or was delivered before.

        Raises:
            NoSuchWebhook, NoSuchCommand: there is no such report.
        """
        queue, shown = self.queue(name), printable(command_id, MAX_ID_LENGTH)
        try:
            stored = queue.report(command_id)
            outcome = str(exact_json.loads(stored)["outcome"]) if stored else ""
        except (ValueError, LookupError, TypeError, RecursionError):
            raise NoSuchCommand(f"the ledger's report of {shown} can't be read") from None
        if not outcome:
            raise NoSuchCommand(f"the ledger has no report of {shown}")
        gone = next((each for each in queue.all_dead() if each.command_id == command_id), None)
        # One key for each command: asked for twice, it waits once.
        delivery = Delivery(gone.key if gone else f"resent-{command_id}", command_id, outcome, 0, 0)
        queue.resend(delivery, who=printable(who, MAX_WHO_LENGTH), why=printable(why, MAX_WHY_LENGTH))
        return delivery

    def resend_dead(self, name: str, *, who: str, why: str) -> Iterator[Delivery]:
        """Send every report again that was given up."""
        queue = self.queue(name)
        for delivery in queue.all_dead():
            queue.resend(delivery, who=printable(who, MAX_WHO_LENGTH), why=printable(why, MAX_WHY_LENGTH))
            yield delivery
