"""How policies rule withdrawals, one by itself and several together."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.commands import Withdraw
from tests.support.policies import APPROVERS, LIMIT, POLICY, TREASURY, policy, withdraw
from worker.execution.policy.rules import Policy
from worker.execution.policy.rulings import Ruling, unite

OTHERS = 'unlisted = "approve"\napprovals = 2\nhold = "30m"\n'
TIGHTER_TOTAL = LIMIT.replace('"20"', '"3"').replace("count = 10", "count = 11")
PERMITTED, DENIED, HELD = "permitted", "denied", "held"


def verdict(ruling: Ruling) -> str:
    return DENIED if ruling.denied else HELD if ruling.approvals else PERMITTED


@pytest.mark.parametrize(
    ("text", "command", "expected", "rule"),
    [
        (POLICY, withdraw("1"), PERMITTED, "treasury"),
        (POLICY, withdraw("1.000000000000000001"), HELD, "treasury"),
        (POLICY, withdraw("5"), HELD, "treasury"),
        (POLICY, withdraw("5.0000000000000000000000000001"), DENIED, "treasury"),
        (POLICY, withdraw("0.1", address="0xABC"), DENIED, "unlisted"),
        (POLICY, withdraw("0.1", address="0xabcd"), DENIED, "unlisted"),
        (POLICY, withdraw("0.1", asset="eth"), DENIED, "unlisted"),
        (POLICY, withdraw("0.1", asset="BTC"), DENIED, "unlisted"),
        (POLICY, withdraw("0.1", account="other"), DENIED, "[withdrawals.other]"),
        (POLICY, withdraw("0.1", account="MAIN"), PERMITTED, "treasury"),
        (POLICY.replace('"1"', '"0"'), withdraw("0.000001"), HELD, "treasury"),
        (POLICY.replace('max = "5"\n', ""), withdraw("100000"), HELD, "treasury"),
        (POLICY, withdraw(network="ethereum"), DENIED, "unlisted"),
        (POLICY, withdraw(tag="7"), DENIED, "unlisted"),
        *(
            (POLICY.replace('max = "5"', f'{name} = "7"'), withdraw(**{name: given}), expected, rule)
            for name in ("network", "tag")
            for given, expected, rule in (
                (None, DENIED, "unlisted"),
                ("8", DENIED, "unlisted"),
                ("7", PERMITTED, "treasury"),
            )
        ),
        (f"[withdrawals.main]\n{OTHERS}{TREASURY}{APPROVERS}", withdraw(address="0xother"), HELD, "unlisted"),
        (f"[withdrawals.main]\n{OTHERS}{TREASURY}{APPROVERS}", withdraw("6"), DENIED, "treasury"),
        ("", withdraw("0.1"), DENIED, "[withdrawals.main]"),
    ],
)
def test_the_destination_decides(text: str, command: Withdraw, expected: str, rule: str) -> None:
    found = policy(text)
    ruling = found.ruling(command)
    assert verdict(ruling) == expected
    assert rule == found.rule_of(command) or rule in ruling.denied
    assert [each.rule for each in ruling.approvals] == ([rule] if expected == HELD else [])
    assert command.address not in ruling.denied
    assert str(command.qty) not in ruling.denied


def test_approvals_are_those_of_the_entry_else_of_the_account() -> None:
    entry = TREASURY + 'approvals = 3\nhold = "1d"\n'
    found = policy(f"[withdrawals.main]\n{OTHERS}{entry}{APPROVERS}")
    (of_entry,) = found.ruling(withdraw("2")).approvals
    (of_others,) = found.ruling(withdraw("2", address="0xother")).approvals
    assert (of_entry.rule, of_entry.needed, of_entry.hold_ms) == ("treasury", 3, 86_400_000)
    assert (of_others.rule, of_others.needed, of_others.hold_ms) == ("unlisted", 2, 1_800_000)
    assert sorted(of_entry.approvers) == ["anna", "ben", "carl"]


def test_limits_count_whichever_rule_permits_the_withdrawal() -> None:
    """Also an asset in other letters, which a venue may take for the same: the counter is one."""
    weekly = LIMIT.replace("24h", "7d").replace('total = "20"\n', "")
    bitcoin = LIMIT.replace("ETH", "BTC")
    found = policy(f"[withdrawals.main]\n{OTHERS}{TREASURY}{LIMIT}{weekly}{bitcoin}{APPROVERS}")
    expected = [
        ("ETH 24h", "main/ETH/86400000", 86_400_000, Decimal(20), 10),
        ("ETH 7d", "main/ETH/604800000", 604_800_000, None, 10),
    ]
    for command in (withdraw(), withdraw(address="0xother"), withdraw(asset="eth")):
        limits = found.ruling(command).limits
        assert [(each.name, each.key, each.window_ms, each.total, each.count) for each in limits] == expected


def test_of_two_limits_of_one_counter_the_tighter_parts_count() -> None:
    """The counter is one, so that the ledger counts a withdrawal in it once."""
    one, other = (policy(f"[withdrawals.main]\n{OTHERS}{each}{APPROVERS}") for each in (LIMIT, TIGHTER_TOTAL))
    for first, second in ((one, other), (other, one)):
        (limit,) = unite([first.ruling(withdraw()), second.ruling(withdraw())]).limits
        assert (limit.key, limit.total, limit.count) == ("main/ETH/86400000", Decimal(3), 10)


# -- several policies --------------------------------------------------------------------------------------------------

AMOUNTS = st.sampled_from(["1", "2", "3"])


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policies over few values, so that several of them contradict one another about one withdrawal."""
    lines = ["[withdrawals.main]", f'unlisted = "{draw(st.sampled_from(["deny", "approve", "approve", "approve"]))}"']
    lines.append(f"approvals = {draw(st.integers(1, 3))}")
    for address in draw(st.sets(st.sampled_from(["0xa", "0xb"]))):
        lines += ["[[withdrawals.main.to]]", f'name = "to-{address}"', f'address = "{address}"']
        lines.append('asset = "ETH"')
        lines += [f'{name} = "{draw(AMOUNTS)}"' for name in ("max", "approve_above") if draw(st.booleans())]
    for window in ["24h", *draw(st.sets(st.just("1h")))]:
        lines += ["[[withdrawals.main.limit]]", 'asset = "ETH"', f'window = "{window}"', f'total = "{draw(AMOUNTS)}"']
        lines += [f"count = {draw(st.integers(1, 3))}"] if draw(st.booleans()) else []
    return policy("\n".join(lines) + "\n" + APPROVERS)


def sent(ruling: Ruling, withdrawn: int, count: int, approved: set[str]) -> bool:
    """Whether a withdrawal of 1 is sent under a ruling, after others and with approvals of these persons."""
    within = all(
        (each.total is None or withdrawn + 1 <= each.total) and (each.count is None or count + 1 <= each.count)
        for each in ruling.limits
    )
    agreed = all(len(approved & set(each.approvers)) >= each.needed for each in ruling.approvals)
    return not ruling.denied and within and agreed


@settings(max_examples=300)
@given(
    st.lists(policies(), min_size=1, max_size=3),
    st.builds(withdraw, AMOUNTS, st.sampled_from(["0xa", "0xb", "0xc"])),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sets(st.sampled_from(["anna", "ben", "carl"])),
)
def test_united_rulings_send_exactly_what_each_of_them_sends(
    found: list[Policy], command: Withdraw, withdrawn: int, count: int, approved: set[str]
) -> None:
    """Never more, so that no policy loosens another; and never less, so that nothing is denied by nobody."""
    rulings = [each.ruling(command) for each in found]
    united = unite(rulings)
    assert sent(united, withdrawn, count, approved) == all(sent(each, withdrawn, count, approved) for each in rulings)
    assert len({each.key for each in united.limits}) == len(united.limits), "a counter would count twice"
    asked = {(each.rule, each.needed) for ruling in rulings for each in ruling.approvals}
    assert {(each.rule, each.needed) for each in united.approvals} == asked
    holds = [each.hold_ms for ruling in rulings for each in ruling.approvals]
    assert [each.hold_ms for each in united.approvals] == [min(holds, default=0)] * len(united.approvals)
