"""The ledger on a Redis-compatible server: each move is one call of ``transitions.lua``, one round trip.

Its keys are those of :mod:`worker.ledger.keys` and :mod:`producers.intents`. The server must persist and must not
evict.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from producers.intents import EARLIER_OUTBOX_KEY, OUTBOX_KEYS
from producers.redis.direct import DirectClient
from producers.report import Outcome, Report
from worker.ledger.base import (
    NOT_SIGNED,
    Admitted,
    BeginAnswer,
    Begun,
    Busy,
    Claim,
    Ended,
    Halted,
    LedgerUnavailable,
    Orphaned,
    Progress,
    Record,
    Reused,
    State,
    TooLate,
)
from worker.ledger.connection import guarded, never_waits
from worker.ledger.halts import halt_of
from worker.ledger.holds import Held, HoldOver, hold_record
from worker.ledger.journal_writer import journal_script
from worker.ledger.keys import (
    DUE_KEYS,
    HALTS_KEY,
    HELD_KEY,
    JOURNAL_HEAD_KEY,
    JOURNAL_KEY,
    RECORD_KEY,
    UNKNOWN_KEY,
    WITHDRAWN_KEY,
)
from worker.ledger.limits import Denied, Excess, limits_argument
from worker.ledger.pacing import CoolDown, Throttled

DISK_RETRY_SECONDS = 30.0
"""After how long a server that could not confirm that a record is on its disk is asked to confirm again."""

logger = logging.getLogger("orders.ledger")


class RedisLedger:
    """See :class:`worker.ledger.base.Ledger` for what each method promises."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        keep_ms: int = 7 * 86_400_000,
        journal_lines: int = 1_000_000,
        disk_ms: int = 4000,
        need_disk: bool = False,
        replicas: Mapping[str, int] | None = None,
        replicas_ms: int = 4000,
    ) -> None:
        """Unknowns, and withdrawals that are or were in doubt or accepted, are kept until an operator removes them;
        everything else for ``keep_ms``.

        A withdrawal's begin waits up to ``disk_ms`` until it is on the server's disk; 0 does not wait. Where the server
        can't confirm that, the withdrawal goes on, or with ``need_disk`` fails until the server can. ``replicas`` says
        by command how many replicas a begin waits for, up to ``replicas_ms``, when the command can't be repeated: a
        withdrawal's until it is on their disks, where the server can confirm that; a close's until they have received
        it.
        """
        self._client = client
        self._keep_ms = keep_ms
        self._journal_lines = journal_lines
        self._disk_ms, self._need_disk = disk_ms, need_disk
        self._replicas, self._replicas_ms = dict(replicas or {}), replicas_ms
        self._no_disk_until = 0.0
        self._script = client.register_script(journal_script("counters.lua", "transitions.lua"))
        self._direct = DirectClient(client)

    def begin(self, claim: Claim, attempt: int) -> BeginAnswer:
        """One round trip. For a command that can't be repeated it ends when the record is on disk (``WAITAOF``) or on
        replicas (``WAIT``: for closes, and where the server does not have ``WAITAOF``)."""
        repeatable = "1" if claim.repeatable else "0"
        hold = claim.hold.to_json() if claim.hold else ""
        more = (
            claim.account_digest,
            limits_argument(claim.amount, claim.limits),
            hold,
            claim.sealed_by,
            claim.begin_by,
        )
        arguments = (*_command_fields(claim), repeatable, claim.lease_ms, attempt, *more)
        replicas = 0 if claim.repeatable else self._replicas.get(claim.command, 0)
        if claim.command == "withdraw" and self._disk_ms > 0 and time.monotonic() >= self._no_disk_until:
            return self._begin_on_disk(claim, arguments, replicas)
        if replicas:
            return self._begin_on_replicas(claim, arguments, replicas)
        return _begin_answer(self._move("begin", claim, *arguments), claim)

    def _begin_on_disk(self, claim: Claim, arguments: Sequence[object], replicas: int) -> BeginAnswer:
        answer, on_disk = self._begin_and_wait("WAITAOF", 1, replicas, self._disk_ms, claim=claim, begin=arguments)
        if not isinstance(answer, Begun | Held):  # the message of what is held is kept nowhere else
            return answer
        if isinstance(on_disk, Exception):
            if self._need_disk or not never_waits(on_disk):
                # A wait that was interrupted, for example by a failover, confirms nothing.
                guarded(_raise_if_error, on_disk)
            # Too old (Redis before 7.2), not appending, or not permitted: the server is asked again in a while.
            self._no_disk_until = time.monotonic() + DISK_RETRY_SECONDS
            logger.warning(
                "withdrawals don't wait for the ledger's disk (%s): what its server has not written yet is lost with "
                "its machine. Use appendonly on Redis 7.2 or later, or Valkey.",
                str(on_disk)[:80],
            )
            return self._begin_on_replicas(claim, arguments, replicas) if replicas else answer
        if int(on_disk[0]) < 1:
            raise LedgerUnavailable(f"the ledger's disk did not confirm within {self._disk_ms} ms")
        _require_replicas(claim, int(on_disk[1]), replicas, self._disk_ms)
        return answer

    def _begin_on_replicas(self, claim: Claim, arguments: Sequence[object], replicas: int) -> BeginAnswer:
        answer, reached = self._begin_and_wait("WAIT", replicas, self._replicas_ms, claim=claim, begin=arguments)
        if isinstance(answer, Begun | Held):
            _require_replicas(claim, int(guarded(_raise_if_error, reached)), replicas, self._replicas_ms)
        return answer

    def _begin_and_wait(self, *wait: object, claim: Claim, begin: Sequence[object]) -> tuple[BeginAnswer, Any]:
        """Send a begin and the command that waits for its confirmation on one connection, in one round trip. Returns
        the answers to both; the second may be an error."""
        keys, args = self._call("begin", claim.command, claim.command_id, claim.token, begin)
        while True:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.evalsha(self._script.sha, len(keys), *keys, *args)
                pipe.execute_command(*wait)  # type: ignore[no-untyped-call] # redis-py's gap
                reply, confirmed = guarded(pipe.execute, False)
            if not isinstance(reply, redis.exceptions.NoScriptError):
                return _begin_answer(guarded(_raise_if_error, reply), claim), confirmed
            guarded(self._client.script_load, self._script.script)

    def renew(self, claim: Claim) -> bool:
        """One round trip."""
        return self._move("renew", claim, claim.lease_ms)[0] == "done"

    def pause(self, claim: Claim, progress: Progress, lease_ms: int, cool_down: CoolDown | None = None) -> bool:  # noqa: ARG002
        """One round trip."""
        times = ("" if at is None else at for at in (progress.first_sent_at, progress.last_signed_at))
        reply = self._move("pause", claim, lease_ms, progress.tries, progress.sent, progress.tainted, *times)
        return reply[0] == "done"

    def park(
        self,
        claim: Claim,
        progress: Progress,
        wait_ms: int,
        doubt: str = "",  # noqa: ARG002
        cool_down: CoolDown | None = None,
    ) -> bool:
        """One round trip."""
        return self.pause(claim, progress, wait_ms, cool_down)

    def settle(self, claim: Claim, report: Report, cool_down: CoolDown | None = None) -> Report | None:  # noqa: ARG002
        """One round trip."""
        ending = self._ending(claim.command, report)
        more = claim.account_digest, limits_argument(claim.amount, claim.limits)
        reply = self._move("settle", claim, *_command_fields(claim), *ending, *more)
        if reply[0] == "done":
            return report
        return Report.model_validate_json(reply[1]) if reply[1] else None

    def refuse(self, claim: Claim, report: Report) -> BeginAnswer | None:
        """One round trip."""
        ending = self._ending(claim.command, report)
        more = claim.account_digest, limits_argument(claim.amount, claim.limits), claim.begin_by
        reply = self._move("refuse", claim, *_command_fields(claim), *ending, *more)
        return None if reply[0] == "done" else _begin_answer(reply, claim)

    def abandon(self, claim: Claim, orphan: Orphaned, report: Report) -> bool:
        """One round trip."""
        expected = (orphan.token, "1" if orphan.sending else "0", orphan.progress.tries)
        return self._move("abandon", claim, *expected, *self._ending(claim.command, report))[0] == "done"

    def resolve(self, report: Report, *, who: str, why: str, signed: Mapping[str, str] = NOT_SIGNED) -> Report | None:
        """One round trip."""
        more = [part for field in signed.items() for part in field]
        ending = self._ending(report.command, report)
        reply = self._run("resolve", report.command, report.command_id, "", *ending, who, why, *more)
        if reply[0] == "done":
            return report
        return Report.model_validate_json(reply[1]) if reply[0] == "ended" else None

    def _ending(self, command: str, report: Report) -> tuple[str, str, str, int]:
        """State, outcome, report and lifetime, as the script's moves take them."""
        state = State.UNKNOWN if report.outcome is Outcome.UNKNOWN else State.SETTLED
        keep_ms = 0 if command == "withdraw" and report.outcome is Outcome.ACCEPTED else self._keep_ms
        return state.value, report.outcome.value, report.model_dump_json(), keep_ms

    def decide(self, command_id: str, fingerprint: str, *, who: str, kid: str, event: str, signed: str) -> bool:
        """Store a person's signed decision (``event``: ``approved`` or ``denied``) with a command that is held, so that
        its message is published again; a later one under the same key (``kid``) replaces it. One round trip.

        False when no command with this fingerprint is held under this id.
        """
        return self._run("decide", "", command_id, "", fingerprint, who, event, signed, kid)[0] == "done"

    def read(self, command_id: str) -> Record | None:
        """One round trip."""
        fields: dict[str, str] = guarded(self._client.hgetall, RECORD_KEY.format(command_id))
        if not fields:
            return None
        return Record(
            command_id=command_id,
            state=State(fields["state"]),
            fingerprint=fields["fingerprint"],
            command=fields["command"],
            account=fields["account"],
            fence=int(fields["fence"]),
            progress=_progress(
                [fields.get(name, "") for name in ("tries", "sent", "tainted", "first_sent_at", "last_signed_at")]
            ),
            report=Report.model_validate_json(fields["report"]) if "report" in fields else None,
            arguments=fields.get("arguments", ""),
            first_begun_at=int(fields.get("first_begun_at", 0)),
            lease_until=int(fields["lease_until"]),
            account_digest=fields.get("place", ""),
            sealed_by=fields.get("sealed_by", ""),
            hold=hold_record(fields),
        )

    def admit_query(self, claim: Claim) -> Admitted | Halted | Throttled:
        """One round trip."""
        fields = f"{claim.account}/{claim.command}", f"*/{claim.command}"
        found: list[str | None] = guarded(self._direct.call, "HMGET", HALTS_KEY, *fields)
        return next((halt_of(text) for text in found if text), Admitted())

    def cool_down(self, claim: Claim, cool_down: CoolDown | None) -> None:
        """One round trip."""

    def _move(self, move: str, claim: Claim, *arguments: object) -> list[str]:
        return self._run(move, claim.command, claim.command_id, claim.token, *arguments)

    def _run(self, move: str, command: str, command_id: str, token: str, *arguments: object) -> list[str]:
        script, call = self._script, self._call(move, command, command_id, token, arguments)
        reply: list[str] = guarded(self._direct.script, script.script, script.sha, *call)
        return reply

    def _call(
        self, move: str, command: str, command_id: str, token: str, arguments: Sequence[object]
    ) -> tuple[list[str], list[Any]]:
        """KEYS and ARGV of a move."""
        outbox = OUTBOX_KEYS.get(f"orders.{command}", EARLIER_OUTBOX_KEY)
        keys = [RECORD_KEY.format(command_id), JOURNAL_KEY, UNKNOWN_KEY, HALTS_KEY, DUE_KEYS[outbox], outbox]
        keys += [JOURNAL_HEAD_KEY, WITHDRAWN_KEY, HELD_KEY, DUE_KEYS[EARLIER_OUTBOX_KEY], EARLIER_OUTBOX_KEY]
        return keys, [move, command_id, token, self._journal_lines, *arguments]


def _require_replicas(claim: Claim, reached: int, replicas: int, within_ms: int) -> None:
    """Raise LedgerUnavailable unless enough replicas have confirmed a begin."""
    if reached < replicas:
        raise LedgerUnavailable(
            f"{reached} of {replicas} replicas of the ledger confirmed a {claim.command} within {within_ms} ms"
        )


def _raise_if_error(reply: Any) -> Any:
    """A reply out of a pipeline, raised when it is an error."""
    if isinstance(reply, Exception):
        raise reply
    return reply


def _command_fields(claim: Claim) -> tuple[str, str, str, str]:
    return claim.fingerprint, claim.command, claim.account, claim.arguments


def _begin_answer(reply: Sequence[str], claim: Claim) -> BeginAnswer:
    kind, *rest = reply
    if kind == "begun":
        return Begun(int(rest[0]), _progress(rest[1:]))
    if kind == "busy":
        return Busy(int(rest[0]))
    if kind == "ended":
        return Ended(Report.model_validate_json(rest[0]))
    if kind == "reused":
        return Reused(Report.model_validate_json(rest[0]) if rest[0] else None)
    if kind == "halted":
        return halt_of(rest[0])
    if kind == "too_late":
        return TooLate(claim.begin_by)
    if kind == "held":
        return Held(int(rest[0]), rest[1], rest[2], tuple(rest[3:]))
    if kind == "hold_over":
        return HoldOver(int(rest[0]))
    if kind == "denied":
        limit = claim.limits[int(rest[0])]
        return Denied(limit, Excess(rest[1]), int(rest[2]) if rest[2] else None)
    return Orphaned(rest[0], int(rest[1]), rest[2] == "1", _progress(rest[3:]))


def _progress(values: Sequence[str]) -> Progress:
    tries, sent, tainted, first_sent_at, last_signed_at = values
    return Progress(
        int(tries),
        int(sent),
        tainted,
        int(first_sent_at) if first_sent_at else None,
        int(last_signed_at) if last_signed_at else None,
    )
