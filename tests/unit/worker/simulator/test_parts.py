"""The simulator's parts without a server: exact JSON, form reading, ages, snapshots, bounds."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.simulator import accounts as book_module
from worker.simulator.accounts import Accounts, ages_of
from worker.simulator.messages import read_fields, to_json
from worker.simulator.records import Arrival, Change, Position

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_json_is_exact(value: object) -> None:
    """Whatever is written reads back as the same, decimals to the last digit and never with an exponent."""
    text = to_json(value).decode()
    assert json.loads(text, parse_float=Decimal) == value


@pytest.mark.parametrize(("value", "text"), [("0.00000001", b"0.00000001"), ("1E+3", b"1000"), ("1.50", b"1.50")])
def test_json_decimals(value: str, text: bytes) -> None:
    """Plain notation; zeros at the end stay."""
    assert to_json(Decimal(value)) == text


def test_json_refuses_binary_floats() -> None:
    """Money is never one."""
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
def test_forms(raw: bytes, fields: dict[str, str], clean: bool) -> None:
    """Only what can be read in one way is clean."""
    assert read_fields(raw) == (fields, clean)


def arrival(age_ms: int | None) -> Arrival:
    """An arrival of this age."""
    return Arrival(0, 0, "POST", "/", None, None, age_ms, None, 0)


@given(st.lists(st.integers(), min_size=1))
def test_ages(ages: list[int]) -> None:
    """By nearest rank: half and 99 in 100 are no older than the percentile, and it is one of the ages."""
    found = ages_of([arrival(None), *map(arrival, ages)])
    for name, share in (("p50", 50), ("p99", 99), ("max", 100)):
        bound = found[name]
        assert bound in ages
        assert bound is not None
        assert sum(age <= bound for age in ages) * 100 >= share * len(ages)
        assert sum(age < bound for age in ages) * 100 < share * len(ages)
    assert found["count"] == len(ages)


def test_snapshots_follow_the_clock() -> None:
    """A delayed read sees each effect once it is old enough, and not before."""
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
    """The oldest arrivals and finished records go first; the numbers go on."""
    monkeypatch.setattr(book_module, "MAX_RECORDS", 3)
    monkeypatch.setattr(book_module, "MAX_FINISHED", 2)
    accounts = Accounts(lambda: 0)
    for _ in range(5):
        accounts.add_arrival(arrival(0))
    assert [kept.seq for kept in accounts.arrivals] == [3, 4, 5]
    records: dict[str, int] = {}
    for number in range(5):
        book_module.put_bounded(records, str(number), number)
    assert records == {"3": 3, "4": 4}
