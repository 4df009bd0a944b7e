"""Looks broken on purpose, one thing at a time. The judge must find each of them at a venue with client order ids."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tests.model.simulated_lookups import WithLookups
from tests.model.simulation_breaks import Break, Change
from tests.support import memory_ledger
from worker.execution import attempt, looking
from worker.execution.backoff import Attempt
from worker.execution.looking import Looker
from worker.execution.retry_policy import Decision
from worker.venues.base import Plan, Proof, Verdict
from worker.venues.lookups import Lookup, Sight

LookBreak = partial(Break, looks=True)
TWICE, NOT_SENT, REJECTED = "executed 2 times", "untrue: not_sent", "untrue: rejected"


def _is(answer: Callable[[Any], Any]) -> Change:
    """Change a property, or a function of one argument."""
    return lambda _: property(answer)


def _sent_again(decide: Any) -> Callable[..., Decision]:
    def careless(*asked: Any, **named: Any) -> Decision:
        decision: Decision = decide(*asked, **named)
        return Decision.RETRY if decision is Decision.LOOK else decision

    return careless


def _any_account_will_do(can_be_looked_for: Any) -> Callable[..., bool]:
    def careless(claim: Any, entry: Any) -> bool:
        here = replace(claim, account_digest=entry.record.account_digest)
        return bool(can_be_looked_for(here, entry))

    return careless


def _never_executed(absent: Any) -> Callable[..., Attempt]:
    """Also of a withdrawal, and where nothing makes the venue refuse the request."""

    def careless(self: Looker, run: Any, seen: Any) -> Attempt:
        attempt: Attempt = absent(self, run, seen)
        if attempt.decision.may_retry:
            return attempt
        run.lease.progress = replace(run.progress, tainted="")
        return Attempt(Verdict(Proof.NOT_EXECUTED, "absent"), Decision.RETRY)

    return careless


def _among_orders(look: Any) -> Callable[..., Any]:
    return lambda self, command, lookup, *more: look(self, command, replace(lookup, is_stop=False), *more)


def _absent_if_unreadable(look: Any) -> Callable[..., Any]:
    def careless(self: WithLookups, command: Any, lookup: Lookup, *more: Any) -> Any:
        found = look(self, command, lookup, *more)
        if found.sight is not Sight.UNREADABLE:
            return found
        return replace(found, sight=Sight.ABSENT, venue_time_ms=lookup.until_ms + looking.SETTLE_MS)

    return careless


def _another_id_each_time(until: Any) -> Callable[..., Plan]:
    def careless(self: Plan, until_ms: int) -> Plan:
        plan: Plan = until(self, until_ms)
        assert plan.lookup is not None
        return replace(plan, lookup=replace(plan.lookup, handle=f"{plan.lookup.handle[:24]}{until_ms % 10**8:08}"))

    return careless


def _kept_from_the_first(stored: Any) -> Callable[..., str]:
    return lambda claim, known, progress: known.record.lookup if known else stored(claim, known, progress)


def _refusal(judge: Any) -> Callable[..., Verdict]:
    def careless(self: WithLookups, plan: Any, answer: Any) -> Verdict:
        verdict: Verdict = judge(self, plan, answer)
        return replace(verdict, proof=Proof.REFUSED) if verdict.proof is Proof.SEEN else verdict

    return careless


def _decides_at_once(found: Any) -> Callable[..., Any]:
    def careless(run: Any, seen: Any) -> Any:
        return found(run, replace(seen, asked_ms=10**15, sighting=replace(seen.sighting, venue_time_ms=10**15)))

    return careless


LOOK_BREAKS = {
    "absence counts before the venue refuses the request": LookBreak(
        "executed", looking._Seen, "is_past", _is(lambda _: True)
    ),
    "the own clock alone is looked at": LookBreak(
        "executed",
        looking._Seen,
        "is_past",
        _is(lambda seen: seen.asked_ms >= seen.lookup.until_ms + looking.SETTLE_MS),
    ),
    "what is listed late is absent": LookBreak("untrue", looking, "SETTLE_MS", lambda _: 0),
    "one absence is enough": LookBreak("untrue", looking, "ENOUGH_ABSENCES", lambda _: 1),
    "a command in doubt is sent again without a look": LookBreak(TWICE, attempt, "decide", _sent_again),
    "an account is taken for another": LookBreak("untrue", memory_ledger, "_can_be_looked_for", _any_account_will_do),
    "a withdrawal is sent again when it is absent": LookBreak("untrue", Looker, "_absent", _never_executed),
    "stops are looked for among orders": LookBreak("untrue", WithLookups, "look", _among_orders),
    "what can't be read is absent": LookBreak("untrue", WithLookups, "look", _absent_if_unreadable),
    "each attempt has another client order id": LookBreak(
        "several client order ids", Plan, "until", _another_id_each_time
    ),
    "a begin does not store its lookup": LookBreak("untrue", memory_ledger, "_lookup", _kept_from_the_first),
    "a begin in doubt forgets until when earlier requests are taken": LookBreak(
        "untrue", memory_ledger, "_lookup", lambda _: lambda claim, *_more: claim.lookup
    ),
    "a client order id that was used is a refusal": LookBreak(REJECTED, WithLookups, "judge", _refusal),
    "a record that says no decides while another request is on its way": LookBreak(
        REJECTED, looking, "_found", _decides_at_once
    ),
}
