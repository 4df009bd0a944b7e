"""What `orders show` reads in the ledger, found through the entry point ``orders.ledger``."""

from typing import Any

import redis

from producers.cli.settings import queue_settings
from producers.intents import OUTBOX_KEY, read_intent
from producers.redaction import redacted_url, server_error_text
from producers.redis.client import open_client
from worker.ledger.base import LedgerUnavailable, State
from worker.ledger.redis import RedisLedger


def ledger_record(command_id: str) -> dict[str, Any] | None:
    """The ledger's record of a command as a JSON object, or None; see :mod:`producers.cli.ledger`.

    Raises:
        SettingsError: the settings are invalid.
        ConnectionError: the ledger cannot be reached, or refuses.
    """
    url = queue_settings().ledger_url
    try:
        # The client tries once, because a person waits.
        with open_client(url) as client:
            record = RedisLedger(client).read(command_id)
            intent = None if record else client.hget(OUTBOX_KEY, command_id)
    except (LedgerUnavailable, redis.RedisError) as error:
        raise ConnectionError(f"{redacted_url(url)}: {server_error_text(error.__cause__ or error)}") from None
    if record is None:
        return _enqueued(command_id, str(intent)) if intent else None
    progress = record.progress
    held = record.hold if record.state is State.HELD else None
    return {
        **({"held_until": held.until} if held else {}),
        "state": record.state.value,
        "command": record.command,
        "account": record.account,
        "sealed_by": record.sealed_by,
        "fence": record.fence,
        "tries": progress.tries,
        "sent": progress.sent,
        "tainted": progress.tainted,
        "first_sent_at": progress.first_sent_at,
        "last_signed_at": progress.last_signed_at,
        "report": record.report.to_json() if record.report else None,
    }


def _enqueued(command_id: str, stored: str) -> dict[str, Any] | None:
    """An enqueued command that has no record yet, in the form of a record."""
    try:
        intent = read_intent(command_id, stored)
    except (ValueError, KeyError, TypeError):
        return None
    nothing_yet: dict[str, Any] = dict.fromkeys(("first_sent_at", "last_signed_at", "report"))
    counts = dict.fromkeys(("fence", "tries", "sent"), 0)
    named = {"command": intent.task.removeprefix("orders."), "account": intent.kwargs.get("account"), "tainted": ""}
    named["sealed_by"] = ""  # nobody has verified its seal yet
    return {"state": "ENQUEUED", **named, **counts, **nothing_yet}
