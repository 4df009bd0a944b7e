"""A withdrawal policy is valid as a whole or not at all."""

import json

import pytest

from producers.commands import Withdraw
from tests.support.policies import APPROVERS, KEYS, LIMIT, TREASURY, policy
from worker.execution.policy.document import Destination, parse_tables, parse_toml
from worker.execution.policy.rules import Policy
from worker.watched_file import FileUnusable

HEAD = "[withdrawals.main]\n"
OTHER = TREASURY.replace("treasury", "other")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("withdrawals = [", "it is not TOML"),
        ('withdrawals = {}\nwithdrawals = "x"', "it is not TOML"),
        ("a = " + "[" * 5000, "it is not TOML"),
        (f"count = {'9' * 5000}", "it is not TOML"),
        ('withdrawals = "x"', "withdrawals must be a valid dictionary"),
        ("[withdrawal.main]", "withdrawal is not known here"),
        ("[withdrawals.'a b']", "withdrawals.a b can't be a name"),
        (HEAD + "unlisted = true", "withdrawals.main.unlisted must be 'deny' or 'approve'"),
        (HEAD + 'unlisted = "allow"', "withdrawals.main.unlisted must be 'deny' or 'approve'"),
        (HEAD + TREASURY + "maximum = 1", "withdrawals.main.to[1].maximum is not known here"),
        (HEAD + TREASURY.replace('"5"', "5"), 'to[1].max must be a text in quotes, such as "0.5"'),
        (HEAD + TREASURY.replace('"5"', "5.0"), 'to[1].max must be a text in quotes, such as "0.5"'),
        (HEAD + TREASURY.replace('"5"', '"0"'), "to[1].max must be greater than zero"),
        (HEAD + TREASURY.replace('"5"', '"inf"'), "to[1].max must be finite"),
        (HEAD + TREASURY.replace('"5"', '"1e999999"'), "to[1].max has more than 40 digits"),
        (HEAD + TREASURY.replace('"1"', '"-1"'), "to[1].approve_above must be greater than zero"),
        (HEAD + TREASURY.replace('address = "0xabc"', ""), "to[1].address is missing"),
        (HEAD + TREASURY.replace("0xabc", "0xabc\\u200b"), "to[1].address contains the invisible character U+200B"),
        (HEAD + TREASURY + TREASURY + APPROVERS, "the name in withdrawals.main.to treasury is there more than once"),
        (HEAD + TREASURY + OTHER + APPROVERS, "to treasury and other are one destination"),
        ("[withdrawals.main]\n[withdrawals.MAIN]", "the account main is there more than once"),
        (HEAD + TREASURY, "to treasury needs 1 approvals, and there are 0 approvers"),
        (HEAD + "approvals = 4" + TREASURY + APPROVERS, "needs 4 approvals, and there are 3 approvers"),
        (HEAD + 'unlisted = "approve"', "unlisted needs 1 approvals, and there are 0 approvers"),
        (HEAD + TREASURY.replace('approve_above = "1"', 'hold = "1h"'), "approvals or hold without approve_above"),
        (HEAD + 'hold = "8d"', "withdrawals.main.hold is longer than 7 days"),
        (HEAD + 'hold = "2 hours"', "withdrawals.main.hold is not a duration"),
        (HEAD + LIMIT.replace("24h", "32d"), "limit[1].window is longer than 31 days"),
        (HEAD + LIMIT.replace("24h", "0h"), "limit[1].window is not a duration"),
        *(
            (HEAD + LIMIT.replace("20", total), "limit[1].total is more than 9 * 10^15, or has more than 9 decimals")
            for total in ("0.0000000001", "9000000000000001", "1234567890123456789012345678901234567.1")
        ),
        (HEAD + LIMIT.replace("10", "0"), "limit[1].count must be greater than or equal to 1"),
        (HEAD + LIMIT.replace("10", "1.5"), "limit[1].count must be a valid integer"),
        (HEAD + LIMIT.replace('total = "20"\ncount = 10', ""), "limit[1] limits nothing"),
        (
            HEAD + LIMIT + LIMIT.replace("ETH", "eth").replace("24h", "1d"),
            "the limit in withdrawals.main is there more",
        ),
        (HEAD + LIMIT * 51, "withdrawals.main.limit"),
        ('[approvers]\nanna = "ed25519:AAAA"', "approvers.anna"),
        ('[approvers]\n"An Na" = "x"', "approvers.An Na can't be a name"),
        (
            f'[approvers]\nx = "{KEYS["anna"].public().to_text()}"\n' + APPROVERS[12:],
            "the approver's key is there more",
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_place(text: str, problem: str) -> None:
    with pytest.raises(FileUnusable) as refused:
        policy(text)
    assert problem in str(refused.value)
    assert "ed25519:" not in str(refused.value).replace("begins with ed25519:", "")


def test_no_problem_writes_to_a_terminal_what_is_in_the_file() -> None:
    with pytest.raises(FileUnusable) as refused:
        policy('[withdrawals."\\u001b[31m\\nx"]\n' + "".join(f"[withdrawals.main{n}]\nx = 1\n" for n in range(30)))
    assert str(refused.value).isprintable()
    assert str(refused.value).endswith("and 21 more")


def test_what_is_no_text_is_refused() -> None:
    for content, problem in ((b"\xff", "it is not UTF-8"), (b"a = 1\x00", "it is not TOML")):
        with pytest.raises(FileUnusable, match=problem):
            parse_toml(content)


def test_comments_order_and_form_do_not_change_the_policy() -> None:
    """It is named by what it means, and what is on record is read as it was written."""
    written = "# a comment\n" + APPROVERS + HEAD + 'hold = "2h"\n' + LIMIT.replace('"20"', '"20.00"') + TREASURY
    assert policy(written).sha256 == policy().sha256
    recorded = Policy(parse_tables(json.loads(policy().text)))
    assert (recorded.text, recorded.document) == (policy().text, policy().document)


def test_a_policy_compares_all_that_says_where_a_withdrawal_goes() -> None:
    """An argument that it ignored, once withdrawals have one more, would send it to somebody else."""
    compared = {"asset", "address", "network", "tag"}
    assert set(Withdraw.model_fields) - {"account", "qty", "deadline"} <= compared
    assert compared <= set(Destination.model_fields)
