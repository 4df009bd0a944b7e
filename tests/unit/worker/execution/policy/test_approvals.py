"""Which stored decisions count: those that an approver has signed, about exactly this command, in time."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from producers.signing import PrivateKey
from tests.support.policies import KEYS
from tests.support.signing_keys import fixed_key
from worker.execution.policy.approvals import HeldCommand, standing
from worker.execution.policy.rulings import Approval
from worker.ledger.decisions import APPROVE, DENY, Decision

NOW = 1_000_000
COMMAND = HeldCommand("id", "f" * 64, senders=frozenset({"payroll"}))
PUBLIC = {name: key.public() for name, key in KEYS.items()}
ONE, TWO = Approval("treasury", PUBLIC), Approval("vault", PUBLIC, needed=2)
ROTATED = fixed_key("anna", "2026-12")
OLD_RULE = Approval("old", {"anna": KEYS["anna"].public()})
NEW_RULE = Approval("new", {"anna": ROTATED.public()})


def signed(name: str, key: PrivateKey | None = None, **changes: object) -> str:
    """An approval of the command by this person, changed before it was signed."""
    approval = Decision("id", "f" * 64, name, NOW + 1, APPROVE)
    return replace(approval, **changes).signed(key or KEYS[name])  # type: ignore[arg-type]


def forged(**changes: object) -> str:
    """Anna's approval, changed after it was signed."""
    return json.dumps({**json.loads(signed("anna")), **changes})


ANNA, BEN = signed("anna"), signed("ben")


@pytest.mark.parametrize(
    ("rules", "stored", "missing"),
    [
        ([ONE], [], ["rule treasury: 1 more of anna, ben, carl"]),
        ([ONE], [ANNA], []),
        ([TWO], [ANNA], ["rule vault: 1 more of ben, carl"]),
        ([TWO], [ANNA, BEN], []),
        ([TWO], [ANNA, ANNA, signed("anna", until=NOW + 9)], ["rule vault: 1 more of ben, carl"]),
        # One person with two names is one person.
        ([replace(TWO, approvers={**PUBLIC, "ann": PUBLIC["anna"]})], [ANNA, signed("ann", KEYS["anna"])], None),
        # Every rule must be met, each by its own approvers and keys.
        ([ONE, TWO], [ANNA], ["rule vault: 1 more of ben, carl"]),
        ([OLD_RULE, NEW_RULE], [ANNA], ["rule new: 1 more of anna"]),
        ([OLD_RULE, NEW_RULE], [ANNA, signed("anna", ROTATED)], []),
        ([replace(ONE, approvers={})], [ANNA], ["rule treasury: 1 more of nobody"]),
    ],
)
def test_who_is_missing(rules: Sequence[Approval], stored: Sequence[str], missing: Sequence[str] | None) -> None:
    found = standing(rules, stored, COMMAND, NOW)
    assert found.approved == (missing == [])
    assert missing is None or list(found.missing) == missing


UNCOUNTED = {
    "over": signed("anna", until=NOW),
    "of another command": signed("anna", command_id="other"),
    "of other arguments": signed("anna", fingerprint="e" * 64),
    "in another's name": signed("anna", KEYS["carl"]),
    "by nobody we know": signed("mallory", fixed_key("mallory", "1")),
    "with a later end": forged(until=NOW + 10**9),
    "with another reason": forged(reason="x"),
    "a denial made an approval": json.dumps({**json.loads(signed("anna", decision=DENY)), "decision": APPROVE}),
    "without a signature": forged(sig=None),
    "with a number for a name": forged(who=1),
    "with a fraction for a time": forged(until=NOW + 0.5),
    "with true for a time": forged(until=True),
    "of another kind": signed("anna", decision="maybe"),
    "no object": "[]",
    "no JSON": "{",
    "nested without end": "[" * 3000,
    "too long": forged(reason="x" * 5000),
}


@pytest.mark.parametrize("what", UNCOUNTED)
def test_what_does_not_count(what: str) -> None:
    """Neither as an approval nor as a denial."""
    found = standing([ONE], [UNCOUNTED[what]], COMMAND, NOW)
    assert (found.denied, len(found.missing)) == ("", 1)


def test_who_has_sealed_a_command_cannot_approve_it() -> None:
    """But may take it back by denying it."""
    own = replace(COMMAND, senders=frozenset({"anna", ""}))
    assert standing([ONE], [ANNA], own, NOW).missing
    assert standing([ONE], [ANNA, BEN], own, NOW).approved
    assert standing([ONE], [signed("anna", decision=DENY)], own, NOW).denied == "denied by anna"


def test_one_denial_is_enough() -> None:
    denial = signed("ben", decision=DENY, reason="not\nours")
    assert standing([ONE], [ANNA, denial], COMMAND, NOW).denied == "denied by ben: not ours"
