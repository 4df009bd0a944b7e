"""What a person can see, and text that is safe on one line."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.printable import first_invisible, is_command_id, printable

DEFAULT_IGNORABLE = (
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0, *range(0x180B, 0x1810)),
    *(*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFE00, 0xFE10)),
    *(*range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)),
)
"""DerivedCoreProperties.txt of Unicode 14.0."""


def test_what_can_not_be_seen_is_what_unicode_says() -> None:
    """Z* and C* of the standard library, the ignorable ones, and three that are drawn as nothing. What a newer Unicode
    has assigned since is refused by every Python alike."""
    expected = {*DEFAULT_IGNORABLE, 0x2800, 0x16FE4, 0x1D159}
    expected |= {code for code in range(0x110000) if unicodedata.category(chr(code))[0] in "ZC"}
    unseen = {code for code in range(0x110000) if first_invisible(chr(code)) is not None}
    assert expected <= unseen
    assert unicodedata.unidata_version != "14.0.0" or unseen == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("as it is, ü 日本 \U0001f600", "as it is, ü 日本 \U0001f600"),
        ("two\r\n\n lines\t ", "two lines"),
        ("\x1b[2J\x9b31m\x07", r"\x1b[2J\x9b31m\x07"),
        ("pay \u202e cba \u2066\u200b", r"pay \u202e cba \u2066\u200b"),
        ("\ud800\U000e0041\u3164", r"\ud800\U000e0041\u3164"),
        ("x\x85\u2028y\u3000z", "x y z"),
        (7, "7"),
    ],
)
def test_a_text_is_shown_on_one_line(text: object, shown: str) -> None:
    """Nothing in it moves a cursor, forges a line or turns the direction of writing."""
    assert printable(text) == shown


@given(st.text(), st.integers(1, 50))
def test_whatever_it_is_it_is_short_and_printable(text: str, limit: int) -> None:
    """And showing it again changes nothing."""
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert first_invisible(shown.replace(" ", "")) is None
    assert printable(shown) == shown


def test_what_is_long_is_not_walked_through() -> None:
    """Megabytes of escapes would become eight times as many."""
    assert printable("\x00" * 100_000_000, 20) == r"\x00\x00\x00\x00\x0" + "…"


@pytest.mark.parametrize("value", ["1", "a b", "ü" * 255, "7d2f-…"])
def test_a_command_id_is_1_to_255_characters_that_can_be_seen(value: str) -> None:
    """Blanks between them too."""
    assert is_command_id(value)


@pytest.mark.parametrize(
    "value", ["", " ", "x" * 256, "a\u200b", "a\u3164", "a\n", "\ud800", 7, None, True, ["a"], b"a"]
)
def test_what_is_no_command_id(value: object) -> None:
    """No report could be stored under it, or no two of them be told apart."""
    assert not is_command_id(value)
