"""What a search shows of many commands: the main fields of their records, all read at once; and the intent of one."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import redis

from producers.intents import ALL_OUTBOXES, Intent, read_intent
from worker.ledger.connection import guarded
from worker.ledger.keys import RECORD_KEY
from worker.ledger.outbox import MAX_INTENT_BYTES

_FIELDS = ("state", "command", "account", "first_begun_at", "held_at", "tries", "report")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a record says. Times are UNIX ms, and 0 where there is none."""

    command: str
    account: str
    state: str
    entered_at: int
    """When it was held or first begun; 0 for a command that was neither."""
    tries: int
    outcome: str
    """Empty while it is open."""
    reason: str
    finished_at: int


def read_summaries(client: redis.Redis, command_ids: Iterable[str]) -> list[Summary | None]:
    """A summary for each id, None where there is no record. One round trip.

    Raises:
        LedgerUnavailable: the ledger can't be asked.
    """
    with client.pipeline(transaction=False) as pipe:
        for command_id in command_ids:
            pipe.hmget(RECORD_KEY.format(command_id), _FIELDS)
        return [_summary(*fields) for fields in guarded(pipe.execute)]


def _summary(
    state: str | None,
    command: str,
    account: str,
    begun_at: str | None,
    held_at: str | None,
    tries: str,
    report: str | None,
) -> Summary | None:
    if state is None:
        return None
    stored = json.loads(report) if report else {}
    return Summary(
        command=command,
        account=account,
        state=state,
        entered_at=min((int(each) for each in (begun_at, held_at) if each), default=0),
        tries=int(tries),
        outcome=stored.get("outcome", ""),
        reason=str(stored.get("reason", "")),
        finished_at=stored.get("finished_at") or 0,
    )


def intent_of(client: redis.Redis, command_id: str) -> Intent | None:
    """The intent of a command that has no end; None where there is none that can be read.

    Raises:
        LedgerUnavailable: the ledger can't be asked.
    """
    with client.pipeline(transaction=False) as pipe:
        for outbox in ALL_OUTBOXES:
            pipe.hstrlen(outbox, command_id)
        sizes = guarded(pipe.execute, False)
    for outbox, size in zip(ALL_OUTBOXES, sizes, strict=True):
        if isinstance(size, int) and 0 < size <= MAX_INTENT_BYTES:
            stored = guarded(client.hget, outbox, command_id)
            try:
                return read_intent(command_id, str(stored))
            except (ValueError, KeyError, TypeError, RecursionError):
                return None
    return None
