"""The real code broken on purpose, one thing at a time. The judge must find each of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from producers.report import Outcome, Reason
from tests.support.memory_counters import Counters
from tests.support.memory_ledger import MemoryLedger
from tests.support.memory_pacing import Pacing
from worker.execution import admission, attempt, reports
from worker.execution.attempt import AttemptRunner
from worker.execution.claims import Claims, Lease
from worker.execution.lease import LeaseManager
from worker.execution.retry_policy import Decision
from worker.ledger.base import Begun, Busy, Ended, Progress, State
from worker.reconciliation import matching as evidence
from worker.venues.base import Proof, Verdict
from worker.venues.everstrike import client as everstrike_client
from worker.venues.everstrike.adapter import Everstrike

Change = Callable[[Any], Callable[..., Any]]
"""Takes the real function and returns its replacement."""


@dataclass(frozen=True)
class Break:
    """A change of the code, and a part of the sentence by which the judge must find it."""

    finds: str
    owner: Any
    name: str
    change: Change
    people: str = ""  # who settles unknowns then: see :class:`tests.model.simulated_world.World`
    also: str = ""  # another function of the same owner that is changed alike
    looks: bool = False  # whether the venue knows client order ids
    first_seed: int = 0  # where the search begins, so that what is rare is found soon

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        for name in filter(None, (self.name, self.also)):
            patch.setattr(self.owner, name, self.change(getattr(self.owner, name)))


def _says(answer: Any) -> Change:
    return lambda _: lambda *_args, **_named: answer


def _decides(unknown: Decision) -> Change:
    def change(decide: Any) -> Callable[..., Decision]:
        return lambda _, proof, **more: unknown if proof is Proof.UNKNOWN else decide(_, proof, **more)

    return change


def _takes_for(proof: Proof, believes: Callable[[Verdict], bool]) -> Change:
    """Take a verdict of unknown fate for this proof where ``believes`` is true of it."""

    def change(judge: Any) -> Callable[..., Verdict]:
        def credulous(self: Everstrike, plan: Any, answer: Any) -> Verdict:
            verdict: Verdict = judge(self, plan, answer)
            return replace(verdict, proof=proof) if verdict.proof is Proof.UNKNOWN and believes(verdict) else verdict

        return credulous

    return change


def _own_words(verdict: Verdict) -> bool:
    return verdict.http_status == verdict.venue_code == 503


def _a_page(verdict: Verdict) -> bool:
    return verdict.http_status in (400, 401, 403, 404, 422) and verdict.venue_code is None


def _a_yes(verdict: Verdict) -> bool:
    return verdict.http_status == verdict.venue_code == 200


def _ignores(kept_out: type) -> Change:
    """Let a claim pass where the ledger would answer with this type."""

    def change(stands: Any) -> Callable[..., Any]:
        return lambda *asked: None if isinstance(answer := stands(*asked), kept_out) else answer

    return change


def _any_token_will_do(_: Any) -> Callable[..., Any]:
    def owned(self: MemoryLedger, claim: Any) -> Any:
        entry = self._entries.get(claim.command_id)
        return entry if entry is not None and entry.record.report is None else None

    return owned


def _follows_whatever_stands(settle: Any) -> Callable[..., Any]:
    def careless(self: MemoryLedger, claim: Any, report: Any, cool_down: Any = None, following: Any = None) -> Any:
        stands = settle(self, claim, report, cool_down, following)
        if following is not None and not following.stored:
            self._follow(following, report)
        return stands

    return careless


def _acknowledges_what_is_not_stored(follow: Any) -> Callable[..., Any]:
    def careless(self: MemoryLedger, following: Any, report: Any) -> None:
        follow(self, following, report)
        self.unacked.discard(following.ack(report)[4])

    return careless


def _settles_whatever_stands(settle: Any) -> Callable[..., Any]:
    def careless(self: MemoryLedger, claim: Any, report: Any, *more: Any) -> Any:
        entry = self._entries.get(claim.command_id)
        if entry is not None:
            entry.token, entry.record = claim.token, replace(entry.record, report=None)
        return settle(self, claim, report, *more)

    return careless


def _forgets_doubt(remember: Any) -> Callable[..., Any]:
    def forgetful(self: AttemptRunner, run: Any, *more: Any, **named: Any) -> None:
        remember(self, run, *more, **named)
        run.lease.progress = replace(run.lease.progress, tainted="")

    return forgetful


def _without_deadline(sign: Any) -> Callable[..., Any]:
    def careless(self: AttemptRunner, run: Any) -> Any:
        command, run.command = run.command, run.command.model_copy(update={"deadline": None})
        try:
            return sign(self, run)
        finally:
            run.command = command

    return careless


def _at_the_first_time(request: Any) -> Callable[..., Any]:
    seen: dict[int, tuple[int, object]] = {}

    def stale(self: Everstrike, plan: Any, now_ms: int) -> Any:
        return request(self, plan, seen.setdefault(id(plan.command), (now_ms, plan.command))[0])

    return stale


def _own_report(settle: Any) -> Callable[..., Any]:
    return lambda self, held, report, *more: (settle(self, held, report, *more), report)[1]


def _tidies_up_when_killed(send: Any) -> Callable[..., Any]:
    def tidy(self: AttemptRunner, run: Any) -> Any:
        try:
            return send(self, run)
        except Exception:
            raise
        except BaseException:
            cut_short = reports.Conclusion(Outcome.NOT_SENT, Reason.UNAVAILABLE, "cut short")
            self._leases.settle(run.lease, reports.of_run(run, cut_short, self._clock.now_ms()))
            raise

    return tidy


def _looks_at_the_lease_first(_: Any) -> Callable[..., Any]:
    def sign(self: AttemptRunner, run: Any) -> Any:
        seconds = self._transport.limits.read_timeout + 1
        while not self._leases.has_time_left(run.lease, self._clock.now_ms(), seconds=seconds):
            self._leases.renew(run.lease)
        return self._signed(run)[0]

    return sign


def _forgets_doubt_when_parking(park: Any) -> Callable[..., Any]:
    return lambda self, claim, progress, *rest: park(self, claim, replace(progress, tainted=""), *rest)


def _parks_for_anybody(park: Any) -> Callable[..., Any]:
    def careless(self: MemoryLedger, claim: Any, *rest: Any) -> Any:
        entry = self._entries.get(claim.command_id)
        return park(self, replace(claim, token=entry.token) if entry else claim, *rest)

    return careless


def _due_at_once(stands: Any) -> Callable[..., Any]:
    def careless(self: MemoryLedger, claim: Any, entry: Any) -> Any:
        answer = stands(self, claim, entry)
        return None if isinstance(answer, Busy) and entry.record.state is State.PARKED else answer

    return careless


def _new_budget(begin: Any) -> Callable[..., Any]:
    def begins(self: MemoryLedger, claim: Any, attempt: int) -> Any:
        answer = begin(self, claim, attempt)
        return replace(answer, since_ms=0) if isinstance(answer, Begun) else answer

    return begins


def _waits_for_nobody(begin_next: Any) -> Callable[..., Any]:
    return lambda self, lease, attempt: begin_next(self, lease, attempt) and None


def _forgets_outdated_probes(is_probe: Any) -> Callable[..., bool]:
    return lambda self, claim: (
        is_probe(self, claim) and all(each.probe == claim.token for each in self._found(claim.pace))
    )


def _any_answer_will_do(record_fate: Any) -> Callable[..., Any]:
    def careless(self: Pacing, claim: Any, told: Any, now: int) -> None:
        for key in () if told or claim.pace is None else (claim.pace.bucket, claim.pace.host):
            self.cool_downs.pop(key, None)
        record_fate(self, claim, told, now)

    return careless


def _begins_nothing(_: Any) -> Callable[..., Any]:
    return lambda _self, held, _attempt: setattr(held, "paused", False)


def _holds_at_once(_: Any) -> Callable[..., Any]:
    return lambda _self, claim, plan, **_named: Lease(claim, Progress(tries=1), True, 0.0, plan)


def _repeats_everything(begin: Any) -> Callable[..., Any]:
    return lambda self, claim, attempt: begin(self, replace(claim, repeatable=True), attempt)


def _judge(finds: str, proof: Proof, believes: Callable[[Verdict], bool], first_seed: int = 0) -> Break:
    return Break(finds, Everstrike, "judge", _takes_for(proof, believes), first_seed=first_seed)


BREAKS = {
    "a second attempt is not begun in the ledger": Break(
        "left before", LeaseManager, "begin_next_attempt", _begins_nothing
    ),
    "the ledger is not asked": Break("left before", Claims, "acquire", _holds_at_once),
    "a lost reply is sent again": Break("executed 2 times", attempt, "decide", _decides(Decision.RETRY), first_seed=90),
    "a lost reply is called rejected": Break("untrue: rejected", attempt, "decide", _decides(Decision.REJECT)),
    "an unlisted refusal is sent again": _judge("executed 2 times", Proof.NOT_EXECUTED, _own_words, 310),
    "an unlisted refusal is called not sent": _judge("untrue: not_sent", Proof.NOT_EXECUTED, _own_words, 220),
    "an unlisted refusal is believed": _judge("untrue: rejected", Proof.REFUSED, _own_words),
    "a page of something in front is believed": _judge("untrue: rejected", Proof.REFUSED, _a_page),
    "a yes that contradicts is believed": _judge("untrue: accepted", Proof.EXECUTED, _a_yes),
    "a list out of a cache is evidence": Break(
        "untrue: not_sent", everstrike_client, "staleness", _says(""), "reconcile"
    ),
    "a record that says no is a yes": Break(
        "untrue: accepted by a record",
        evidence,
        "not_taken",
        _says(""),
        "reconcile",
        also="failure_within",
        first_seed=110,
    ),
    "any token moves a record": Break(
        "by one that does not own it", MemoryLedger, "_owned", _any_token_will_do, first_seed=320
    ),
    "a living owner keeps nobody out": Break("lease lasts", MemoryLedger, "_stands", _ignores(Busy)),
    "an ended command begins again": Break("begin after the end", MemoryLedger, "_stands", _ignores(Ended)),
    "a withdrawal is taken over in mid-send": Break("begin by another", MemoryLedger, "begin", _repeats_everything),
    "settle compares nothing": Break("journal: settle", MemoryLedger, "settle", _settles_whatever_stands),
    "what follows does so whatever stands": Break("untrue", MemoryLedger, "settle", _follows_whatever_stands),
    "what is not stored is acknowledged": Break(
        "no report reached", MemoryLedger, "_follow", _acknowledges_what_is_not_stored
    ),
    "a doubt is forgotten": Break("untrue", AttemptRunner, "_record_attempt", _forgets_doubt),
    "an orphaned send is called not sent": Break(
        "untrue: not_sent", reports, "orphaned", lambda _: lambda _orphan, refused: refused
    ),
    "the deadline is not looked at": Break("after its deadline", AttemptRunner, "_sign", _without_deadline),
    "the clock is read once": Break("time that was not read for it", Everstrike, "request", _at_the_first_time),
    "the lease is not looked at before signing": Break(
        "untrue: not_sent", LeaseManager, "has_time_left", _says(True), "operator", first_seed=330
    ),
    "the lease is looked at before the clock is read": Break(
        "untrue: not_sent", AttemptRunner, "_sign", _looks_at_the_lease_first, "operator", first_seed=10_600
    ),
    "a worker hands over its own report whatever stands": Break("untrue", LeaseManager, "settle", _own_report),
    "a withdrawal is not counted": Break("limit:", MemoryLedger, "_count", _says(None)),
    "limits are not checked": Break("withdrawals were executed", Counters, "over_limit", _says(None), first_seed=330),
    "nobody is asked for approval": Break("approval:", admission, "require_approval", _says(None)),
    "nothing is given back": Break("limit:", Counters, "give_back", _says(None)),
    "parking forgets a doubt": Break("untrue", MemoryLedger, "park", _forgets_doubt_when_parking),
    "park compares no token": Break("park", MemoryLedger, "park", _parks_for_anybody, first_seed=1_240),
    "what is parked begins before it is due": Break("and is parked until", MemoryLedger, "_stands", _due_at_once),
    "the time for retries begins anew after each park": Break(
        "time for retries is over", MemoryLedger, "begin", _new_budget, first_seed=280
    ),
    "a begin that has to wait is taken for a begin": Break(
        "left before", LeaseManager, "begin_next_attempt", _waits_for_nobody
    ),
    "rate limits are not kept": Break("pace: more than", Pacing, "_heed_limits", _says(None)),
    "cool-downs are not kept": Break("in a cool-down", Pacing, "_heed_cool_downs", _says(None)),
    "any answer ends a cool-down": Break("pace: a begin", Pacing, "record_fate", _any_answer_will_do),
    "a probe without an answer ends a cool-down": Break(
        "before a probe has shown", attempt, "NO_ANSWER", lambda _: None
    ),
    "a probe that asks again is not told so once its answer does not count any more": Break(
        "does not know that it was one", Pacing, "is_probe", _forgets_outdated_probes, "reconcile", first_seed=8_100
    ),
    "a dying worker tidies up": Break("moved after its death", AttemptRunner, "last_attempt", _tidies_up_when_killed),
}
