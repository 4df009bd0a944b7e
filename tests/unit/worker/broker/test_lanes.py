"""Which lanes can be kept, by the headers and what the take has made of them."""

from typing import Any

import pytest

from producers.intents import Intent, read_intent
from producers.lanes import Lane
from worker.broker.lanes import lane_of_tag, lane_refusal

ENTERED = ("main", "a/b")


@pytest.mark.parametrize(
    ("tag", "lane"),
    [
        ("lane:main/x 5f1c", ("main", "x")),
        ("lane:main/a/b:c tag with blanks", ("main", "a/b:c")),
        ("lane:?/x tag+", ("?", "x")),
        ("5f1c", None),
        ("lane:main", None),
        ("+lane:main/x 5f1c", None),
    ],
)
def test_a_tag_says_its_lane(tag: str, lane: tuple[str, str] | None) -> None:
    assert lane_of_tag(tag) == lane


@pytest.mark.parametrize(
    ("headers", "lane", "account", "words"),
    [
        ({}, None, "main", None),
        ({"orders_lane": None}, None, "main", None),
        ({"orders_lane": "a/b"}, ENTERED, "Main", None),
        ({"orders_lane": "a/b", "orders_lane_unknown": "pass"}, ENTERED, "main", None),
        ({"orders_lane": "a b"}, None, "main", "visible ASCII"),
        ({"orders_lane": True}, None, "main", "visible ASCII"),
        ({"orders_lane": "a/b", "orders_lane_unknown": True}, ENTERED, "main", "neither hold nor pass"),
        ({"orders_lane": "a/b"}, None, "main", "Redis broker"),
        ({"orders_lane": "a/b"}, ENTERED, "other", "account"),
        ({"orders_lane": "a/b"}, ("?", "a/b"), None, "account"),
        ({"orders_lane": "a"}, ENTERED, "main", "account"),
    ],
)
def test_a_lane_that_is_not_kept_is_refused(
    headers: dict[str, Any], lane: tuple[str, str] | None, account: str | None, words: str | None
) -> None:
    why = lane_refusal(headers, lane, account)
    assert (why is None) == (words is None)
    assert (words or "") in (why or "")


@pytest.mark.parametrize("lane", [None, Lane("x"), Lane("x", "pass")])
def test_an_intent_keeps_its_lane(lane: Lane | None) -> None:
    intent = Intent("1", "orders.close", {"account": "main"}, 1, None, lane)
    assert read_intent("1", intent.to_json()) == intent
    assert intent.headers() == {"enqueued_at": 1, **(lane.headers() if lane else {})}


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "ä", "\x7f"])
def test_a_lane_has_a_name_that_can_be_a_header(name: str) -> None:
    with pytest.raises(ValueError, match="visible ASCII"):
        Lane(name)
