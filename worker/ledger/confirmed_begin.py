"""Begins that end when their record is where it can't be lost: on the server's disk, or on replicas."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from worker.ledger.base import BeginAnswer, Begun, Claim, LedgerUnavailable
from worker.ledger.connection import guarded, never_waits
from worker.ledger.holds import Held
from worker.ledger.move_script import MoveScript, raise_if_error
from worker.ledger.replies import begin_answer

DISK_RETRY_SECONDS = 30.0
"""After how long a server that could not confirm that a record is on its disk is asked to confirm again."""

logger = logging.getLogger("orders.ledger")


class ConfirmedBegin:
    """Begins, each in one round trip: with ``WAITAOF`` for the disk, or ``WAIT`` for replicas of closes and new
    orders, and where the server does not have ``WAITAOF``. The settings are those of
    :class:`~worker.ledger.redis.RedisLedger`."""

    def __init__(
        self, script: MoveScript, *, disk_ms: int, need_disk: bool, replicas: Mapping[str, int], replicas_ms: int
    ) -> None:
        self._script = script
        self._disk_ms, self._need_disk = disk_ms, need_disk
        self._replicas, self._replicas_ms = dict(replicas), replicas_ms
        self._no_disk_until = 0.0

    def begin(self, claim: Claim, arguments: Sequence[object]) -> BeginAnswer:
        """The answer, once it is confirmed where the claim's command must be."""
        replicas = 0 if claim.repeatable else self._replicas.get(claim.command, 0)
        if claim.command == "withdraw" and self._disk_ms > 0 and time.monotonic() >= self._no_disk_until:
            return self._on_disk(claim, arguments, replicas)
        if replicas:
            return self._on_replicas(claim, arguments, replicas)
        return begin_answer(self._script.run("begin", claim, *arguments), claim)

    def _on_disk(self, claim: Claim, arguments: Sequence[object], replicas: int) -> BeginAnswer:
        answer, on_disk = self._begin_and_wait(("WAITAOF", 1, replicas, self._disk_ms), claim, arguments)
        if not isinstance(answer, Begun | Held):  # the message of what is held is kept nowhere else
            return answer
        if isinstance(on_disk, Exception):
            if self._need_disk or not never_waits(on_disk):
                # A wait that was interrupted, for example by a failover, confirms nothing.
                guarded(raise_if_error, on_disk)
            # Too old (Redis before 7.2), not appending, or not permitted: the server is asked again in a while.
            self._no_disk_until = time.monotonic() + DISK_RETRY_SECONDS
            logger.warning(
                "withdrawals don't wait for the ledger's disk (%s): what its server has not written yet is lost with "
                "its machine. Use appendonly on Redis 7.2 or later, or Valkey.",
                str(on_disk)[:80],
            )
            return self._on_replicas(claim, arguments, replicas) if replicas else answer
        if int(on_disk[0]) < 1:
            raise LedgerUnavailable(f"the ledger's disk did not confirm within {self._disk_ms} ms")
        _require_replicas(claim, int(on_disk[1]), replicas, self._disk_ms)
        return answer

    def _on_replicas(self, claim: Claim, arguments: Sequence[object], replicas: int) -> BeginAnswer:
        answer, reached = self._begin_and_wait(("WAIT", replicas, self._replicas_ms), claim, arguments)
        if isinstance(answer, Begun | Held):
            _require_replicas(claim, int(guarded(raise_if_error, reached)), replicas, self._replicas_ms)
        return answer

    def _begin_and_wait(
        self, wait: Sequence[object], claim: Claim, arguments: Sequence[object]
    ) -> tuple[BeginAnswer, Any]:
        reply, confirmed = self._script.run_and_wait(wait, "begin", claim, *arguments)
        return begin_answer(reply, claim), confirmed


def _require_replicas(claim: Claim, reached: int, replicas: int, within_ms: int) -> None:
    """Raise LedgerUnavailable unless enough replicas have confirmed a begin."""
    if reached < replicas:
        raise LedgerUnavailable(
            f"{reached} of {replicas} replicas of the ledger confirmed a {claim.command} within {within_ms} ms"
        )
