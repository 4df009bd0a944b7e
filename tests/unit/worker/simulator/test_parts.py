"""Parts of the simulator without a server: exact JSON, forms, ages, snapshots and bounds."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.simulator import accounts as accounts_module
from worker.simulator.accounts import Accounts, ages_of
from worker.simulator.messages import read_fields, to_json
from worker.simulator.records import Arrival, Change, Position

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_json_is_exact(value: object) -> None:
    """Every value reads back as the same value, decimals with all their digits and without an exponent."""
    text = to_json(value).decode()
    assert json.loads(text, parse_float=Decimal) == value


@pytest.mark.parametrize(("value", "text"), [("0.00000001", b"0.00000001"), ("1E+3", b"1000"), ("1.50", b"1.50")])
def test_decimals_are_written_without_an_exponent(value: str, text: bytes) -> None:
    """Trailing zeros stay."""
    assert to_json(Decimal(value)) == text


def test_json_refuses_binary_floats() -> None:
    """An amount must not be one."""
    with pytest.raises(TypeError, match="float"):
        to_json({"price": 0.1})


@pytest.mark.parametrize(
    ("raw", "fields", "clean"),
    [
        (b"", {}, True),
        (b"a=1&b=", {"a": "1", "b": ""}, True),
        (b"a=x+y%26z", {"a": "x y&z"}, True),
        (b"a=1&a=1", {"a": "1"}, False),
        (b"a", {}, False),
        (b"a=%ff", {}, False),
        ("a=\u00e9".encode(), {}, False),
    ],
)
def test_a_form_is_clean_if_it_can_be_read_in_one_way(raw: bytes, fields: dict[str, str], clean: bool) -> None:
    """Otherwise it is not."""
    assert read_fields(raw) == (fields, clean)


def arrival(age_ms: int | None) -> Arrival:
    """An arrival of this age."""
    return Arrival(0, 0, "POST", "/", None, None, age_ms, None, 0)


@given(st.lists(st.integers(), min_size=1))
def test_percentiles_of_ages_are_nearest_ranks(ages: list[int]) -> None:
    """Each is one of the ages, and the right share of them is not older."""
    found = ages_of([arrival(None), *map(arrival, ages)])
    for name, share in (("p50", 50), ("p99", 99), ("max", 100)):
        bound = found[name]
        assert bound in ages
        assert bound is not None
        assert sum(age <= bound for age in ages) * 100 >= share * len(ages)
        assert sum(age < bound for age in ages) * 100 < share * len(ages)
    assert found["count"] == len(ages)


def test_a_delayed_read_sees_effects_that_are_old_enough() -> None:
    """And no later ones."""
    now = 0
    accounts = Accounts(lambda: now)
    account = accounts.add_account("everstrike", "k", "s")
    accounts.set_delay("/position", 100)
    for size in (1, 2, 3):
        now += 50
        accounts.holdings_to_change(account).apply(
            Change(api_key="k", positions=(Position(pair="P", size=Decimal(size)),))
        )

    def seen(at: int) -> int:
        nonlocal now
        now = at
        position = accounts.visible(account, "/position").positions.get("P")
        return int(position.size) if position else 0

    assert [seen(at) for at in (149, 150, 199, 200, 249, 250)] == [0, 1, 1, 2, 2, 3]
    assert int(accounts.visible(account, "/orders").positions["P"].size) == 3


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest arrivals and finished records are dropped first; the numbers go on."""
    monkeypatch.setattr(accounts_module, "MAX_RECORDS", 3)
    monkeypatch.setattr(accounts_module, "MAX_FINISHED", 2)
    accounts = Accounts(lambda: 0)
    for _ in range(5):
        accounts.add_arrival(arrival(0))
    assert [kept.seq for kept in accounts.arrivals] == [3, 4, 5]
    records: dict[str, int] = {}
    for number in range(5):
        accounts_module.put_bounded(records, str(number), number)
    assert records == {"3": 3, "4": 4}
