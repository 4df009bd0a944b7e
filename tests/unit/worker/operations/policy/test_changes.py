"""What a policy changes is said in words, with whether it loosens."""

import pytest

from tests.support.policies import APPROVERS, KEYS, LIMIT, POLICY, TREASURY, policy
from worker.account_settings import AccountSettings
from worker.operations.policy.advice import advice, unchecked
from worker.operations.policy.changes import changes
from worker.venues.everstrike.adapter import Everstrike

NEW = TREASURY.replace("treasury", "new").replace("0xabc", "0xnew")
BEN = f'ben = "{KEYS["ben"].public().to_text()}"\n'
WEEK = LIMIT.replace("24h", "7d")


def changed(old: str, new: str, text: str = POLICY) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("after", "words", "loosens"),
    [
        (changed('max = "5"', 'max = "6"'), "main: to treasury: max 5 -> 6", True),
        (changed('max = "5"', 'max = "4"'), "main: to treasury: max 5 -> 4", False),
        (changed('max = "5"\n', ""), "main: to treasury: max 5 -> none", True),
        (changed('approve_above = "1"', 'approve_above = "0"'), "main: to treasury: approve_above 1 -> 0", False),
        (changed("0xabc", "0xnew"), "main: to treasury: address 0xabc -> 0xnew", True),
        (changed('total = "20"', 'total = "19"'), "main: limit ETH 24h: total 20 -> 19", False),
        (changed("count = 10\n", ""), "main: limit ETH 24h: count 10 -> none", True),
        (changed("count = 10", "count = 11"), "main: limit ETH 24h: count 10 -> 11", True),
        (changed(LIMIT, ""), "removed main: limit ETH 24h (total 20, count 10)", True),
        (changed(LIMIT, LIMIT + WEEK), "added main: limit ETH 7d (total 20, count 10)", False),
        (
            changed(APPROVERS, NEW + APPROVERS),
            "added main: to new (approvals 1, hold 2h, asset ETH, address 0xnew",
            True,
        ),
        (changed(BEN, ""), "removed approver ben (key ed25519:", False),
        (changed("[withdrawals.main]", '[withdrawals.main]\nunlisted = "approve"'), "unlisted deny -> approve", True),
        (changed(APPROVERS, "[withdrawals.b]\n" + APPROVERS), "added account b (unlisted deny, approvals 1", True),
    ],
)
def test_a_change_is_told_with_its_direction(after: str, words: str, loosens: bool) -> None:
    (found,) = changes(policy(POLICY), policy(after))
    assert words in found.words
    assert found.loosens == loosens
    back = changes(policy(after), policy(POLICY))
    assert [each.loosens for each in back] == [not loosens or words.startswith("main: to treasury: address")]


def test_more_approvals_are_told_at_each_entry_that_asks_for_them() -> None:
    found = changes(policy(POLICY), policy(changed("[withdrawals.main]", "[withdrawals.main]\napprovals = 2")))
    assert [(each.words, each.loosens) for each in found] == [
        ("account main: approvals 1 -> 2", False),
        ("main: to treasury: approvals 1 -> 2", False),
    ]


ACCOUNT = {"venue": "everstrike", "api_key": "key-of-main", "secret_key": "secret"}


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (POLICY, None),
        (changed(LIMIT, ""), "main: there is no limit: any number of withdrawals may follow one another"),
        (changed("[approvers]", NEW.replace("ETH", "BTC") + APPROVERS[:11]), "main: there is no limit for BTC"),
        (changed(LIMIT, LIMIT + LIMIT.replace("ETH", "XRP")), "main: the limit for XRP limits nothing: no entry"),
        (changed('max = "5"', 'max = "1"'), "main: to treasury: approve_above is not below max"),
        (changed('max = "5"', 'max = "21"'), "main: to treasury: max is more than the limit for the asset"),
        (
            changed('max = "5"', 'network = "x"'),
            "main: to treasury: nothing that can be sent matches it: network is an argument",
        ),
        (changed("withdrawals.main", "withdrawals.mian"), "mian: the account is not configured here"),
        (changed("withdrawals.main", "withdrawals.mian"), "main: there is no section for this account"),
        (changed("[withdrawals.main]", '[withdrawals.main]\nunlisted = "approve"'), "main: a destination that is not"),
    ],
)
def test_what_a_valid_policy_probably_does_not_mean(text: str, warning: str | None) -> None:
    found = advice(policy(text), {"main": AccountSettings.model_validate(ACCOUNT)})
    assert warning is None or any(each.startswith(warning) for each in found), found
    assert warning is not None or found == []


def test_network_and_tag_are_checked_where_the_venue_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everstrike takes neither: it chooses the network, and a policy that names one matches nothing."""
    account = {"main": AccountSettings.model_validate(ACCOUNT)}
    found = policy(changed('max = "5"', 'network = "x"\ntag = "7"'))
    told = "main: withdrawals have no network and no tag: the venue chooses, and no policy can check it"
    assert (unchecked(found, account), unchecked(found, {}), len(advice(found, account))) == ([told], [], 1)
    monkeypatch.setattr(Everstrike, "unsupported", lambda *_: None)
    assert (unchecked(found, account), advice(found, account)) == ([], [])


def test_two_aliases_of_one_account_are_found() -> None:
    """Each would have limits of its own."""
    account = AccountSettings.model_validate(ACCOUNT)
    both = POLICY + "".join(changed("main", "b").partition("[approvers]")[:1])
    (found,) = advice(policy(both), {"main": account, "b": account})
    assert found.startswith("b and main: they have one key")
