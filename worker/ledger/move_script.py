"""Calls of ``transitions.lua``: one round trip for each move of the ledger."""

from collections.abc import Sequence
from typing import Any

import redis

from producers.intents import EARLIER_OUTBOX_KEY, OUTBOX_KEYS
from producers.redis.direct import DirectClient
from worker.ledger.base import Claim
from worker.ledger.connection import guarded
from worker.ledger.journal_writer import journal_script
from worker.ledger.keys import (
    BEGINS_KEY,
    COOL_DOWNS_KEY,
    DUE_KEYS,
    HALTS_KEY,
    HELD_KEY,
    JOURNAL_HEAD_KEY,
    JOURNAL_KEY,
    RECORD_KEY,
    UNKNOWN_KEY,
    WITHDRAWN_KEY,
)


class MoveScript:
    """The script at one server. Every method may raise :class:`~worker.ledger.base.LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, journal_lines: int, before: str = "") -> None:
        """``before`` is put in front of the script."""
        self._client = client
        self._journal_lines = journal_lines
        self._script = client.register_script(before + journal_script("counters.lua", "pacing.lua", "transitions.lua"))
        self._direct = DirectClient(client)

    def run(self, move: str, claim: Claim, *arguments: object) -> list[str]:
        """The reply to a move of a claim."""
        return self._run(self._claimed(move, claim, arguments))

    def run_unowned(self, move: str, command: str, command_id: str, *arguments: object) -> list[str]:
        """The reply to a move that no run makes: an operator's, or a person's who approves."""
        return self._run(self._call(move, command, command_id, "", arguments))

    def _run(self, call: tuple[list[str], list[Any]]) -> list[str]:
        script = self._script
        reply: list[str] = guarded(self._direct.script, script.script, script.sha, *call)
        return reply

    def run_and_wait(
        self, wait: Sequence[object], move: str, claim: Claim, *arguments: object
    ) -> tuple[list[str], Any]:
        """Send a move and the command that waits for its confirmation on one connection, in one round trip. Returns the
        replies to both; the second may be an error."""
        keys, args = self._claimed(move, claim, arguments)
        while True:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.evalsha(self._script.sha, len(keys), *keys, *args)
                pipe.execute_command(*wait)  # type: ignore[no-untyped-call] # redis-py's gap
                reply, confirmed = guarded(pipe.execute, False)
            if not isinstance(reply, redis.exceptions.NoScriptError):
                return guarded(raise_if_error, reply), confirmed
            guarded(self._client.script_load, self._script.script)

    def _claimed(self, move: str, claim: Claim, arguments: Sequence[object]) -> tuple[list[str], list[Any]]:
        keys, args = self._call(move, claim.command, claim.command_id, claim.token, arguments)
        pace = claim.pace
        return [*keys, COOL_DOWNS_KEY, BEGINS_KEY.format(pace.bucket)] if pace else keys, args

    def _call(
        self, move: str, command: str, command_id: str, token: str, arguments: Sequence[object]
    ) -> tuple[list[str], list[Any]]:
        """KEYS and ARGV of a move."""
        outbox = OUTBOX_KEYS.get(f"orders.{command}", EARLIER_OUTBOX_KEY)
        keys = [RECORD_KEY.format(command_id), JOURNAL_KEY, UNKNOWN_KEY, HALTS_KEY, DUE_KEYS[outbox], outbox]
        keys += [JOURNAL_HEAD_KEY, WITHDRAWN_KEY, HELD_KEY, DUE_KEYS[EARLIER_OUTBOX_KEY], EARLIER_OUTBOX_KEY]
        return keys, [move, command_id, token, self._journal_lines, *arguments]


def raise_if_error(reply: Any) -> Any:
    """A reply out of a pipeline, raised when it is an error."""
    if isinstance(reply, Exception):
        raise reply
    return reply
