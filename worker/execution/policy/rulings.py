"""What a withdrawal policy says about one withdrawal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from producers.signing import PublicKey
from worker.ledger.limits import Limit


@dataclass(frozen=True, slots=True)
class Approval:
    """The persons who must agree before a withdrawal is sent."""

    rule: str
    """The name of the rule that asks for it."""
    approvers: Mapping[str, PublicKey]
    """Who may approve, by name."""
    needed: int = 1
    """How many different persons, none of whom sealed the command."""
    hold_ms: int = 2 * 3_600_000
    """How long the command is held; then it ends as ``not_sent/expired``."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a withdrawal may be sent, and under which limits and approvals."""

    denied: str = ""
    """Why it must not be sent, with the rule's name; empty when it may."""
    limits: tuple[Limit, ...] = ()
    approvals: tuple[Approval, ...] = ()
    """Each of them is needed."""
    warning: str = ""
    """What the policy would have done, where it only warns: the withdrawal is sent all the same."""


PERMITTED = Ruling()


def unite(rulings: Iterable[Ruling]) -> Ruling:
    """One ruling that is as tight as all of these together: denied if any denies, and under the limits and approvals of
    each."""
    denied = ""
    limits: dict[str, Limit] = {}
    approvals: list[Approval] = []
    for ruling in rulings:
        denied = denied or ruling.denied
        for limit in ruling.limits:
            limits[limit.key] = _tighter(limits[limit.key], limit) if limit.key in limits else limit
        approvals += [each for each in ruling.approvals if each not in approvals]
    hold_ms = min((each.hold_ms for each in approvals), default=0)
    return Ruling(denied, tuple(limits.values()), tuple(replace(each, hold_ms=hold_ms) for each in approvals))


def _tighter(one: Limit, other: Limit) -> Limit:
    """Two limits of one counter as one."""
    totals = [each.total for each in (one, other) if each.total is not None]
    counts = [each.count for each in (one, other) if each.count is not None]
    return replace(one, total=min(totals, default=None), count=min(counts, default=None))
