"""What a stored decision is worth is told before a worker verifies it."""

import json
from dataclasses import replace

import pytest

from producers.commands import fingerprint
from producers.signing import PrivateKey
from tests.support.policies import KEYS
from tests.support.signing_keys import fixed_key
from worker.ledger.base import Progress, Record, State
from worker.ledger.decisions import APPROVE, DENY, Decision
from worker.ledger.holds import HoldRecord
from worker.operations.approvals import HeldCommand
from worker.operations.stored_decisions import Approvers, told

NOW = 1_790_000_000_000
GIVEN = {"account": "main", "asset": "ETH", "qty": "5", "address": "0xabc"}
SHA = fingerprint("orders.withdraw", GIVEN)
APPROVERS = Approvers({name: key.public() for name, key in KEYS.items()}, "the policy file of this machine")


def verdict(stored: str, approvers: Approvers | None = APPROVERS, sealed_by: str = "") -> str:
    hold = HoldRecord(NOW, NOW + 1000, "", sealed_by, (stored,))
    record = Record("w", State.HELD, SHA, "withdraw", "main", 0, Progress(), None, json.dumps(GIVEN), hold=hold)
    (found,) = told(HeldCommand(record, hold, GIVEN, (), ()), approvers, NOW)
    return found.verdict


def signed(key: PrivateKey = KEYS["anna"], **changes: object) -> str:
    return replace(Decision("w", SHA, key.by, NOW + 1, APPROVE), **changes).signed(key)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (signed(), "signed by anna"),
        (signed(decision=DENY), "signed by anna"),
        (signed(fixed_key("anna", variant=1)), "BAD SIGNATURE"),
        (signed(KEYS["ben"], who="anna"), "BAD SIGNATURE"),
        (signed(fixed_key("mallory")), "no approver of the policy file"),
        (signed(command_id="another"), "about another command"),
        (signed(fingerprint="0" * 64), "about another command, or other arguments"),
        (signed(until=NOW), "its time is over"),
        ("{", "it can't be read"),
    ],
)
def test_only_what_a_worker_would_count_is_told_to_be_signed(stored: str, words: str) -> None:
    assert words in verdict(stored)


def test_nobody_approves_their_own_command_and_without_a_policy_nothing_is_known() -> None:
    assert "its sender can't approve it" in verdict(signed(), sealed_by="anna")
    assert verdict(signed(decision=DENY), sealed_by="anna") == "signed by anna"
    assert "not checked" in verdict(signed(), approvers=None)
