"""The real code broken on purpose, one thing at a time: what the judge must find."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from producers.report import Outcome
from worker.execution import executor, reports
from worker.execution.executor import Executor
from worker.execution.lease import Lease, LeaseManager
from worker.execution.retry_policy import Decision, decide
from worker.ledger.base import Busy, Claim, Ended
from worker.ledger.memory import MemoryLedger
from worker.reconciliation import matching as evidence
from worker.venues.base import Proof, Verdict
from worker.venues.everstrike.adapter import Everstrike

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Break:
    """What is done to the code, and a part of the sentence that the judge finds."""

    apply: Callable[[Patch], None]
    finds: str
    people: str = ""
    """Who settles unknowns then: see :class:`tests.model.sim_world.World`."""


def _begin_again_says_nothing(patch: Patch) -> None:
    def begin_again(_: LeaseManager, held: Lease, attempt: int) -> None:
        held.paused = False

    patch.setattr(LeaseManager, "begin_again", begin_again)


def _ledger_is_not_asked(patch: Patch) -> None:
    def hold(self: LeaseManager, claim: Claim, **_: Any) -> Lease:
        return Lease(claim, executor.Progress(tries=1), recorded=True)

    patch.setattr(LeaseManager, "hold", hold)


def _matrix(proof: str, decision: Decision) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        patch.setattr(executor, "decide", lambda command, said: decision if said == proof else decide(command, said))

    return apply


def _judged(believes: Callable[[Verdict, Any], bool], proof: Proof) -> Callable[[Patch], None]:
    """What proves nothing is taken for this proof, where ``believes`` says so of the verdict and its result."""

    def apply(patch: Patch) -> None:
        judge = Everstrike.judge

        def credulous(self: Everstrike, command: Any, answer: Any) -> Verdict:
            verdict = judge(self, command, answer)
            wrong = verdict.proof is Proof.UNKNOWN and believes(verdict, verdict.result)
            return replace(verdict, proof=proof) if wrong else verdict

        patch.setattr(Everstrike, "judge", credulous)

    return apply


def _own_words(verdict: Verdict, result: Any) -> bool:
    return verdict.http_status == 503 and verdict.venue_code == 503


def _a_page(verdict: Verdict, result: Any) -> bool:
    return verdict.http_status in (400, 401, 403, 404, 422) and verdict.venue_code is None


def _a_yes(verdict: Verdict, result: Any) -> bool:
    return verdict.http_status == 200 and verdict.venue_code == 200


def _age_is_not_looked_at(patch: Patch) -> None:
    patch.setattr("worker.venues.everstrike.client.staleness", lambda _: "")


def _status_of_a_record_is_not_looked_at(patch: Patch) -> None:
    patch.setattr(evidence, "_not_taken", lambda *_: "")
    patch.setattr(evidence, "failure_within", lambda _: None)


def _any_token_will_do(patch: Patch) -> None:
    def owned(self: MemoryLedger, claim: Claim) -> Any:
        entry = self._entries.get(claim.command_id)
        return entry if entry is not None and entry.record.report is None else None

    patch.setattr(MemoryLedger, "_owned", owned)


def _nobody_is_busy(patch: Patch) -> None:
    stands = MemoryLedger._stands

    def careless(self: MemoryLedger, claim: Claim, entry: Any) -> Any:
        answer = stands(self, claim, entry)
        return None if isinstance(answer, Busy) else answer

    patch.setattr(MemoryLedger, "_stands", careless)


def _an_end_is_no_end(patch: Patch) -> None:
    stands = MemoryLedger._stands

    def careless(self: MemoryLedger, claim: Claim, entry: Any) -> Any:
        answer = stands(self, claim, entry)
        return None if isinstance(answer, Ended) else answer

    patch.setattr(MemoryLedger, "_stands", careless)


def _everything_may_be_taken_over(patch: Patch) -> None:
    begin = MemoryLedger.begin
    patch.setattr(
        MemoryLedger, "begin", lambda self, claim, attempt: begin(self, replace(claim, repeatable=True), attempt)
    )


def _settle_compares_nothing(patch: Patch) -> None:
    settle = MemoryLedger.settle

    def careless(self: MemoryLedger, claim: Claim, report: Any) -> Any:
        entry = self._entries.get(claim.command_id)
        if entry is not None:
            entry.token, entry.record = claim.token, replace(entry.record, report=None)
        return settle(self, claim, report)

    patch.setattr(MemoryLedger, "settle", careless)


def _doubt_is_forgotten(patch: Patch) -> None:
    remember = Executor._record_attempt

    def forgetful(self: Executor, run: Any, *more: Any, **named: Any) -> None:
        remember(self, run, *more, **named)
        run.held.progress = replace(run.held.progress, tainted="")

    patch.setattr(Executor, "_remember", forgetful)


def _orphans_were_not_sent(patch: Patch) -> None:
    patch.setattr(reports, "orphaned", lambda _orphan, refused: refused)


def _deadline_is_not_looked_at(patch: Patch) -> None:
    sign = Executor._sign

    def careless(self: Executor, run: Any) -> Any:
        command = run.command
        run.command = command.model_copy(update={"deadline": None})
        try:
            return sign(self, run)
        finally:
            run.command = command

    patch.setattr(Executor, "_sign", careless)


def _clock_is_read_once(patch: Patch) -> None:
    request = Everstrike.request

    def stale(self: Everstrike, command: Any, account: Any, now_ms: int) -> Any:
        first = seen.setdefault(id(command), (now_ms, command))[0]
        return request(self, command, account, first)

    seen: dict[int, tuple[int, object]] = {}
    patch.setattr(Everstrike, "request", stale)


def _lease_is_not_looked_at(patch: Patch) -> None:
    patch.setattr(LeaseManager, "lease_lasts", lambda *_args, **_named: True)


def _own_report_over_any_other(patch: Patch) -> None:
    settle = LeaseManager.settle

    def proud(self: LeaseManager, held: Lease, report: Any) -> Any:
        settle(self, held, report)
        return report

    patch.setattr(LeaseManager, "settle", proud)


def _dying_worker_tidies_up(patch: Patch) -> None:
    send = Executor._send

    def tidy(self: Executor, run: Any) -> Any:
        try:
            return send(self, run)
        except BaseException as error:
            if not isinstance(error, Exception):
                report = self._report(run, Outcome.NOT_SENT, executor.Reason.UNAVAILABLE, "cut short")
                self._holder.settle(run.held, report)
            raise

    patch.setattr(Executor, "_send", tidy)


BREAKS = {
    "a second attempt is not begun in the ledger": Break(_begin_again_says_nothing, "left before"),
    "the ledger is not asked": Break(_ledger_is_not_asked, "left before"),
    "a lost reply is sent again": Break(_matrix("unknown", Decision.RETRY), "executed 2 times"),
    "a lost reply is called rejected": Break(_matrix("unknown", Decision.REJECT), "untrue: rejected"),
    "an unlisted refusal is sent again": Break(_judged(_own_words, Proof.NOT_EXECUTED), "executed 2 times"),
    "an unlisted refusal is called not sent": Break(_judged(_own_words, Proof.NOT_EXECUTED), "untrue: not_sent"),
    "an unlisted refusal is believed": Break(_judged(_own_words, Proof.REFUSED), "untrue: rejected"),
    "a page of something in front is believed": Break(_judged(_a_page, Proof.REFUSED), "untrue: rejected"),
    "a yes that contradicts is believed": Break(_judged(_a_yes, Proof.EXECUTED), "untrue: accepted"),
    "a list out of a cache is evidence": Break(_age_is_not_looked_at, "untrue: not_sent", people="reconcile"),
    "a record that says no is a yes": Break(
        _status_of_a_record_is_not_looked_at, "untrue: accepted by a record", people="reconcile"
    ),
    "any token moves a record": Break(_any_token_will_do, "by one that does not own it"),
    "a living owner keeps nobody out": Break(_nobody_is_busy, "lease lasts"),
    "an ended command begins again": Break(_an_end_is_no_end, "begin after the end"),
    "a withdrawal is taken over in mid-send": Break(_everything_may_be_taken_over, "executed 2 times"),
    "settle compares nothing": Break(_settle_compares_nothing, "journal: settle"),
    "a doubt is forgotten": Break(_doubt_is_forgotten, "untrue"),
    "an orphaned send is called not sent": Break(_orphans_were_not_sent, "untrue: not_sent"),
    "the deadline is not looked at": Break(_deadline_is_not_looked_at, "after its deadline"),
    "the clock is read once": Break(_clock_is_read_once, "time that was not read for it"),
    "the lease is not looked at before signing": Break(_lease_is_not_looked_at, "untrue: not_sent", people="operator"),
    "a worker hands over its own report whatever stands": Break(_own_report_over_any_other, "untrue"),
    "a dying worker tidies up": Break(_dying_worker_tidies_up, "moved after its death"),
}
