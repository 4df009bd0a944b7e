"""The ledger on a Redis-compatible server: each move is one call of ``transitions.lua``, one round trip.

Its keys are those of :mod:`worker.ledger.keys` and :mod:`producers.intents`. The server must persist and must not
evict.
"""

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

import redis

from producers.redis.direct import DirectClient
from producers.report import Outcome, Report
from worker.ledger.base import (
    MAX_DOUBT_CHARACTERS,
    NOT_SIGNED,
    Admitted,
    BeginAnswer,
    Claim,
    Following,
    Known,
    LedgerUnavailable,
    LookAnswer,
    Orphaned,
    Progress,
    QueryAnswer,
    Record,
    State,
)
from worker.ledger.beside import NO_LOOK, STORED, StoredResults
from worker.ledger.confirmed_begin import ConfirmedBegin
from worker.ledger.connection import guarded
from worker.ledger.halts import halt_of
from worker.ledger.keys import HALTS_KEY, RECORD_KEY
from worker.ledger.limits import limits_argument
from worker.ledger.move_script import MoveScript
from worker.ledger.pacing import CoolDown, fate_argument, pace_argument
from worker.ledger.replies import admission, begin_answer, look_answer, progress_fields, record_of

A = TypeVar("A", BeginAnswer, QueryAnswer)
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
        results: StoredResults | None = None,
    ) -> None:
        """Unknowns, and withdrawals that are or were in doubt or accepted, are kept until an operator removes them;
        everything else for ``keep_ms``.

        A withdrawal's begin waits up to ``disk_ms`` until it is on the server's disk; 0 does not wait. Where the server
        can't confirm that, the withdrawal goes on, or with ``need_disk`` fails until the server can. ``replicas`` says
        by command how many replicas a begin waits for, up to ``replicas_ms``, when the command can't be repeated: a
        withdrawal's until it is on their disks, where the server can confirm that; a close's until they have received
        it. ``results`` are those that claims heed.
        """
        self._client = client
        self._results = results
        self._one_server = results.one_server if results else None
        self._keep_ms = keep_ms
        self._script = MoveScript(client, journal_lines, self._one_server.following_script if self._one_server else "")
        waits = {"disk_ms": disk_ms, "replicas_ms": replicas_ms}
        self._begins = ConfirmedBegin(self._script, need_disk=need_disk, replicas=replicas or {}, **waits)
        self._direct = DirectClient(client)

    def begin(self, claim: Claim, attempt: int) -> BeginAnswer:
        """One round trip. For a command that can't be repeated it ends when the record is on disk (``WAITAOF``) or on
        replicas (``WAIT``: for closes, and where the server does not have ``WAITAOF``)."""
        repeatable = "1" if claim.repeatable else "0"
        hold = claim.hold.to_json() if claim.hold else ""
        limits = limits_argument(claim.amount, claim.limits)
        pace = pace_argument(claim.pace) if claim.pace else ""
        more = claim.account_digest, limits, hold, claim.sealed_by, claim.begin_by, pace, claim.lookup
        asked = *_command_fields(claim), repeatable, claim.lease_ms, attempt, *more
        if attempt > 1:
            return self._begins.begin(claim, asked)
        return self._heeding(claim, lambda look: self._begins.begin(claim, (*asked, *look)))

    def _heeding(self, claim: Claim, ask: Callable[[tuple[object, ...]], A]) -> A | Known:
        """The answer to a claim, which is asked with where to look for a result. What is known is read by another call,
        because replies of the ledger are texts, and a result may be anything."""
        if self._results is None or not claim.heeds_result:
            return ask(NO_LOOK)
        look, result = self._results.look(claim.command_id)
        try:
            answer = ask(look)
        except LedgerUnavailable:
            if self._one_server:
                self._one_server.probe_again()  # the refusal may be the look's
            raise
        if not isinstance(answer, Known):
            return answer
        result = result or self._results.read(claim.command_id)
        return Known(result) if result else ask(NO_LOOK)

    def take_to_look(self, claim: Claim) -> LookAnswer | None:
        """One round trip."""
        return look_answer(
            self._script.run("take_to_look", claim, claim.fingerprint, claim.lease_ms, claim.account_digest)
        )

    def renew(self, claim: Claim) -> bool:
        """One round trip."""
        return self._script.run("renew", claim, claim.lease_ms)[0] == "done"

    def pause(self, claim: Claim, progress: Progress, lease_ms: int, cool_down: CoolDown | None = None) -> bool:
        """One round trip."""
        fate = fate_argument(claim.pace, cool_down, probe=claim.probe)
        return self._script.run("pause", claim, fate, lease_ms, *progress_fields(progress))[0] == "done"

    def park(
        self, claim: Claim, progress: Progress, wait_ms: int, doubt: str = "", cool_down: CoolDown | None = None
    ) -> bool:
        """One round trip."""
        fate = fate_argument(claim.pace, cool_down, probe=claim.probe)
        fields = fate, doubt[:MAX_DOUBT_CHARACTERS], wait_ms, *progress_fields(progress)
        return self._script.run("park", claim, *fields)[0] == "done"

    def settle(
        self, claim: Claim, report: Report, cool_down: CoolDown | None = None, following: Following | None = None
    ) -> Report | None:
        """One round trip, with what follows or without it."""
        ending = self._ending(claim.command, report)
        fate = fate_argument(claim.pace, cool_down, probe=claim.probe)
        more = claim.account_digest, limits_argument(claim.amount, claim.limits), fate, claim.lookup
        follows = self._following_fields(following, report) if following else ()
        reply = self._script.run("settle", claim, *_command_fields(claim), *ending, *more, *follows)
        if reply[0] == "done":
            if following and follows:
                following.stored, following.acked = (each == "1" for each in reply[1:])
                if self._one_server and not following.stored:
                    self._one_server.probe_again()
            return report
        return Report.model_validate_json(reply[1]) if reply[1] else None

    def _following_fields(self, following: Following, report: Report) -> tuple[object, ...]:
        """What the script needs to do what follows; empty where it can't."""
        here = self._one_server
        if here is None or not here.follows():
            return ()
        try:
            return here.ledger, here.results, *following.store(report), *following.ack(report)
        except Exception as error:  # noqa: BLE001 - nothing keeps a command from its end; whoever stores it then says why
            logger.warning("id=%s is stored by a call of its own (%s)", report.command_id, type(error).__name__)
            return ()

    def refuse(self, claim: Claim, report: Report) -> BeginAnswer | None:
        """One round trip."""
        ending = self._ending(claim.command, report)
        more = claim.account_digest, limits_argument(claim.amount, claim.limits), claim.begin_by
        reply = self._script.run("refuse", claim, *_command_fields(claim), *ending, *more)
        return None if reply[0] == "done" else begin_answer(reply, claim)

    def abandon(self, claim: Claim, orphan: Orphaned, report: Report) -> bool:
        """One round trip."""
        expected = (orphan.token, "1" if orphan.sending else "0", orphan.progress.tries)
        return self._script.run("abandon", claim, *expected, *self._ending(claim.command, report))[0] == "done"

    def resolve(self, report: Report, *, who: str, why: str, signed: Mapping[str, str] = NOT_SIGNED) -> Report | None:
        """One round trip."""
        more = [part for field in signed.items() for part in field]
        ending = self._ending(report.command, report)
        reply = self._script.run_unowned("resolve", report.command, report.command_id, *ending, who, why, *more)
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
        return self._script.run_unowned("decide", "", command_id, fingerprint, who, event, signed, kid)[0] == "done"

    def read(self, command_id: str) -> Record | None:
        """One round trip."""
        fields: dict[str, str] = guarded(self._client.hgetall, RECORD_KEY.format(command_id))
        return record_of(command_id, fields) if fields else None

    def stored_result(self, command_id: str) -> bytes | None:
        """One round trip."""
        return self._results.read(command_id) if self._results else None

    def admit_query(self, claim: Claim) -> QueryAnswer:
        """One round trip."""
        return self._heeding(claim, lambda look: self._admit(claim, look))

    def _admit(self, claim: Claim, look: tuple[object, ...]) -> QueryAnswer:
        if look == STORED:
            return Known(b"")
        if claim.pace or look:
            pace = pace_argument(claim.pace) if claim.pace else ""
            asked = claim.command, claim.account, claim.lease_ms, pace, *look
            return admission(self._script.run("admit", claim, *asked), claim)
        fields = f"{claim.account}/{claim.command}", f"*/{claim.command}"
        found: list[str | None] = guarded(self._direct.call, "HMGET", HALTS_KEY, *fields)
        return next((halt_of(text) for text in found if text), Admitted())

    def cool_down(self, claim: Claim, cool_down: CoolDown | None) -> None:
        """One round trip, or none where there is nothing to say."""
        fate = fate_argument(claim.pace, cool_down, probe=claim.probe)
        if fate:
            self._script.run("cool_down", claim, fate)


def _command_fields(claim: Claim) -> tuple[str, str, str, str]:
    return claim.fingerprint, claim.command, claim.account, claim.arguments
