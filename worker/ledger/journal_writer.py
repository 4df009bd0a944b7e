"""The one way to write to the journal: scripts that begin with ``journal.lua``, which chains the entries."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import redis
from redis.exceptions import NoScriptError

from worker.ledger.connection import guarded
from worker.ledger.keys import JOURNAL_HEAD_KEY, JOURNAL_KEY


def journal_script(*names: str) -> str:
    """The text of a script of this package that calls ``add_entry``, put together from these files."""
    return "\n".join(
        files("worker.ledger").joinpath(each).read_text(encoding="utf-8") for each in ("journal.lua", *names)
    )


class JournalWriter:
    """Writes entries that are no move of a command's record. May raise
    :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._text = journal_script("entries.lua")
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    def write(self, event: str, command_id: str = "", **more: str) -> None:
        """Add one entry. ``more`` are the fields that the event adds."""
        self.write_all([entry_fields(event, command_id, **more)])

    def write_all(self, entries: Sequence[Mapping[str, str]], hash_key: str = "", *change: str) -> int:
        """Add entries, and change a hash in the same step: ``change`` is ``HSET``, ``HSETNX`` or ``HDEL`` with its
        arguments, or ``REMOVE`` with a field and the value that it must still have.

        Returns how many of the hash's fields were added or removed; where a removal finds none, or an ``HSETNX`` finds
        one, nothing is written.
        """
        flat = [[part for field in fields.items() for part in field] for fields in entries]
        keys = [JOURNAL_KEY, JOURNAL_HEAD_KEY, *([hash_key] if change else [])]
        arguments = [json.dumps(flat, ensure_ascii=False), *(change or ("",))]
        return int(guarded(self._run, keys, arguments))

    def _run(self, keys: Sequence[str], arguments: Sequence[str]) -> Any:
        # Not by a DirectClient, which repeats what was lost: a word would be on record twice.
        try:
            return self._client.evalsha(self._sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return self._client.eval(self._text, len(keys), *keys, *arguments)


def entry_fields(
    event: str, command_id: str = "", *, token: str = "", outcome: str = "", **more: str
) -> dict[str, str]:
    """The fields of an entry, in the order in which every entry has them."""
    return {"event": event, "id": command_id, "token": token, "outcome": outcome, **more}
