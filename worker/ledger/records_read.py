"""Reading many records at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import redis
from pydantic import ValidationError

from worker.ledger.connection import guarded
from worker.ledger.keys import RECORD_KEY
from worker.ledger.records import Record
from worker.ledger.replies import record_of

PAGE = 200
"""How many records one round trip reads."""


def read_records(client: redis.Redis, ids: Sequence[str]) -> dict[str, Record | None]:
    """The records of these commands by id; None for one that is missing or that can't be read, because somebody has
    spoilt it. One round trip a page.

    Raises:
        LedgerUnavailable: the server can't be reached.
    """
    found: dict[str, Record | None] = {}
    for start in range(0, len(ids), PAGE):
        page = ids[start : start + PAGE]
        with client.pipeline(transaction=False) as pipe:
            for command_id in page:
                # As bytes: one that is no text must not hide the others.
                pipe.execute_command("HGETALL", RECORD_KEY.format(command_id), NEVER_DECODE=True)  # type: ignore[no-untyped-call] # redis-py's gap
            rows = guarded(pipe.execute, False)
        found.update((command_id, _record(command_id, row)) for command_id, row in zip(page, rows, strict=True))
    return found


def _record(command_id: str, row: Any) -> Record | None:
    if not isinstance(row, Mapping) or not row:
        return None
    try:
        return record_of(command_id, {name.decode(): value.decode() for name, value in row.items()})
    except (LookupError, ValueError, ValidationError):
        return None
