"""What `orders show` reads in the ledger, found through the entry point ``orders.ledger``."""

from dataclasses import asdict
from typing import Any

import redis

from producers.cli.settings import queue_settings
from producers.intents import ALL_OUTBOXES, read_intent, was_sent
from producers.redaction import redacted_url, server_error_text
from producers.redis.client import open_client
from producers.results import RECORD_KEY
from worker import settings as worker_settings
from worker.cli.options import known_keys
from worker.ledger.base import LedgerUnavailable, Record, State
from worker.ledger.redis import RedisLedger
from worker.operations.history import Filter, History
from worker.operations.signed_words import RECONCILE, entry_verdict
from worker.public_keys import PublicKeys
from worker.settings import SettingsError

_COMPLETED = 20
"""How many ids a shell offers."""


def ledger_record(command_id: str) -> dict[str, Any] | None:
    """The ledger's record of a command as a JSON object, or None; see :mod:`producers.cli.ledger`.

    Raises:
        SettingsError: the settings are invalid.
        PermissionError: the ledger has it, and this login may know no more than that.
        ConnectionError: the ledger cannot be reached, or refuses.
    """
    url = queue_settings().ledger_url
    try:
        # The client tries once, because a person waits.
        with open_client(url) as client:
            record, intent = _read(client, command_id)
            resolved = client.hmget(RECORD_KEY.format(command_id), _RESOLVED) if record else ()
    except (LedgerUnavailable, redis.RedisError) as error:
        raise ConnectionError(f"{redacted_url(url)}: {server_error_text(error.__cause__ or error)}") from None
    if record is None:
        return _enqueued(command_id, str(intent)) if intent else None
    progress = record.progress
    held = record.hold if record.state is State.HELD else None
    return {
        **({"held_until": held.until} if held else {}),
        **({"parked_until": record.lease_until} if record.state is State.PARKED else {}),
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
        "word": _word(record, *(text or "" for text in resolved)),
    }


def timeline(command_id: str) -> dict[str, Any] | None:
    """What happened to a command, as :func:`producers.cli.ledger.read_timeline` has it, or None.

    Raises:
        SettingsError, PermissionError, ConnectionError: as :func:`ledger_record`.
    """
    url = queue_settings().ledger_url
    try:
        with open_client(url) as client:
            found = History(client, RedisLedger(client), _keys()).of(command_id)
    except LedgerUnavailable as error:
        if isinstance(error.__cause__, redis.exceptions.NoPermissionError):
            raise PermissionError("this login may not read the journal") from None
        raise ConnectionError(f"{redacted_url(url)}: {server_error_text(error.__cause__ or error)}") from None
    except redis.RedisError as error:
        raise ConnectionError(f"{redacted_url(url)}: {server_error_text(error)}") from None
    return {"complete": found.complete, "moments": [asdict(each) for each in found.moments]} if found else None


def _keys() -> PublicKeys | None:
    try:
        return known_keys(worker_settings.load())
    except SettingsError:
        return None


def _read(client: redis.Redis, command_id: str) -> tuple[Record | None, Any]:
    """The record of a command, or else its intent; None where there is none."""
    try:
        record = RedisLedger(client).read(command_id)
        intents = () if record else (client.hget(outbox, command_id) for outbox in ALL_OUTBOXES)
        return record, next(filter(None, intents), None)
    except LedgerUnavailable as error:
        if not isinstance(error.__cause__, redis.exceptions.NoPermissionError):
            raise
        # A producer's login, which may ask whether there is one.
        if was_sent(client, command_id):
            raise PermissionError(
                "the ledger has it, enqueued, held or begun; this login may not read more, "
                "a worker's or an operator's may"
            ) from None
        return None, None


_RESOLVED = ("resolved_by", "resolved_why", "resolved_signed_at", "resolved_reference", "resolved_kid", "resolved_sig")


def _word(record: Record, who: str, why: str, at: str, reference: str, kid: str, sig: str) -> str:
    """Whose word settled the command, and whether it is signed; empty for one that nobody's word settled."""
    if not who or who == RECONCILE or record.report is None:
        return ""
    keys = _keys()
    outcome, finished_at = record.report.outcome.value, record.report.finished_at or 0
    entry = {"event": "resolve", "id": record.command_id, "outcome": outcome, "who": who, "why": why}
    proof = {"reference": reference, "signed_at": at, "kid": kid, "sig": sig}
    return f"by the word of {who}: {entry_verdict({**entry, **proof}, keys, finished_at)}"


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


def recent_ids(beginning: str, seconds: float) -> list[str]:
    """The ids of the commands that began or ended last, for completion.

    Raises:
        Exception: whatever keeps it from reading the ledger.
    """
    timeouts = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    with open_client(queue_settings().ledger_url, **timeouts) as client:
        found = History(client, RedisLedger(client)).search(Filter(id_prefix=beginning), limit=_COMPLETED)
    return [line.command_id for line in found.lines]
