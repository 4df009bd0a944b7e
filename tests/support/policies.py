"""Withdrawal policies of the tests, and the keys of those who approve."""

from producers.commands import Withdraw
from tests.support.signing_keys import fixed_key
from worker.execution.policy.rules import Policy
from worker.execution.policy.withdrawals import policy_of_file

KEYS = {name: fixed_key(name) for name in ("anna", "ben", "carl")}
APPROVERS = "[approvers]\n" + "".join(f'{name} = "{key.public().to_text()}"\n' for name, key in KEYS.items())

TREASURY = """
[[withdrawals.main.to]]
name = "treasury"
asset = "ETH"
address = "0xabc"
max = "5"
approve_above = "1"
"""
LIMIT = """
[[withdrawals.main.limit]]
asset = "ETH"
window = "24h"
total = "20"
count = 10
"""
POLICY = f"[withdrawals.main]\n{TREASURY}{LIMIT}{APPROVERS}"


def policy(text: str = POLICY) -> Policy:
    """The policy of a text."""
    return policy_of_file(text.encode())


def withdraw(
    qty: str = "1", address: str = "0xabc", asset: str = "ETH", account: str = "main", **more: str | None
) -> Withdraw:
    """A withdrawal, to the treasury unless said otherwise."""
    return Withdraw.model_validate({"account": account, "asset": asset, "qty": qty, "address": address, **more})
