"""Seals over whatever a message may hold."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from producers import message_json
from producers.seal import Seal, SealError, seal, verify
from producers.seal_vectors import published_key

KEY = published_key()
TASK, ID, AT, UNTIL = "orders.cancel", "payroll.1", 1, 2

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
arguments = st.dictionaries(st.sampled_from("abc"), anything, max_size=3)


def verifies(header: Any, kwargs: Any) -> bool:
    try:
        verify(Seal.from_header(header), KEY.public(), TASK, ID, kwargs)
    except SealError:
        return False
    return True


@given(arguments, arguments)
def test_a_seal_is_for_its_arguments_in_every_json_text_of_them_and_for_no_others(
    sealed: dict[str, Any], other: dict[str, Any]
) -> None:
    try:
        header = seal(KEY, TASK, ID, sealed, AT, UNTIL)
    except SealError:  # a number with a fraction, for example
        return
    for ascii_only in (True, False):
        assert verifies(header, message_json.loads(json.dumps(sealed, ensure_ascii=ascii_only)))
    same = json.dumps(sealed, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert verifies(header, message_json.loads(json.dumps(other))) is same


@given(st.dictionaries(st.sampled_from(["v", "by", "kid", "at", "until", "sig", "x"]), anything) | anything, anything)
def test_no_message_is_anything_but_refused(header: Any, kwargs: Any) -> None:
    assert not verifies(header, kwargs)


@given(st.sampled_from(["v", "by", "kid", "at", "until", "sig", "x"]), anything)
def test_no_other_value_of_a_field_verifies(name: str, value: Any) -> None:
    header = seal(KEY, TASK, ID, {"order_id": "1"}, AT, UNTIL)
    if not (type(header.get(name)) is type(value) and header.get(name) == value):
        assert not verifies({**header, name: value}, {"order_id": "1"})
