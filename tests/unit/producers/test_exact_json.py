"""JSON whose numbers keep every digit, on the way in and on the way out."""

import json
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from producers import message_json
from producers.commands import Withdraw, parse_command
from producers.errors import InvalidCommand
from producers.exact_json import MAX_DIGITS, ConflictingValues, check_bounds
from producers.intents import Intent, read_intent
from producers.message_json import dumps, loads
from producers.report import Report
from producers.results import read_result
from worker.execution.intake import fingerprint_of

DIGITS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?", fullmatch=True)


def _containers(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """JSON texts of lists and objects, of which some have a name twice, or are what kombu wraps."""
    names = st.sampled_from(["a", "b", "__type__", "__value__"])
    members = st.lists(st.tuples(names, values | st.just('"decimal"')), max_size=4)
    return st.lists(values, max_size=3).map(lambda items: f"[{', '.join(items)}]") | members.map(
        lambda pairs: "{" + ", ".join(f'"{name}": {value}' for name, value in pairs) + "}"
    )


@given(DIGITS)
def test_a_number_keeps_its_digits_in_and_out(text: str) -> None:
    """It is the same number for whoever reads it next, a program that reads floats or one that does not."""
    read = loads(text)
    assert Decimal(str(read)) == Decimal(text)
    assert Decimal(dumps(read)) == Decimal(text)
    assert loads(dumps({"a": [read]})) == {"a": [read]}
    # Whoever takes a float takes it for what was written.
    assert not isinstance(read, float) or Decimal(repr(read)) == Decimal(text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0.1", 0.1),
        ("1.50", 1.5),
        ("284578000.00000004", Decimal("284578000.00000004")),
        ("0.30000000000000004", 0.30000000000000004),
        ("1764119545.1234567", 1764119545.1234567),
        ("0.1000000000000000055", Decimal("0.1000000000000000055")),
        ("1e400", Decimal("1e400")),
        ("1e99999999999999999999", Decimal("Infinity")),
        ("1e4300", Decimal("1e4300")),
        ("1e4301", Decimal("Infinity")),
        ("1e999999999", Decimal("Infinity")),
        ("9" * 4300, int("9" * 4300)),
        ("9" * 4301, Decimal("Infinity")),
        ('{"__type__": "decimal", "__value__": "1e999999999"}', Decimal("Infinity")),
        ('{"__type__": "decimal", "__value__": "1.5"}', Decimal("1.5")),
        ('{"__type__": "decimal", "__value__": "x"}', {"__type__": "decimal", "__value__": "x"}),
        ('{"__type__": "uuid", "__value__": 7}', {"__type__": "uuid", "__value__": 7}),
        ('{"__type__": ["x"], "__value__": 7}', {"__type__": ["x"], "__value__": 7}),
        ('{"__type__": "none", "__value__": 7}', {"__type__": "none", "__value__": 7}),
        ('{"a": 1, "a": 2}', {"a": [1, 2]}),
        ('{"a": 1, "a": true}', {"a": [1, True]}),
        ('{"a": 1, "b": 2, "a": 1}', {"a": 1, "b": 2}),
    ],
)
def test_what_is_read_of_a_text(text: str, read: Any) -> None:
    """Of the same type, too."""
    value = loads(text.encode())
    assert value == read
    assert type(value) is type(read) or isinstance(value, ConflictingValues)


@pytest.mark.parametrize("text", ["9" * 60_000, "0." + "9" * 60_000, "1" + "0" * 60_000, "1e-999999999999999999"])
def test_a_long_number_costs_nothing(text: str) -> None:
    """Python refuses, or takes seconds for, an integer of so many digits; refused it is by its command."""
    assert isinstance(loads(text), Decimal)
    arguments = loads(f'{{"account": "main", "order_id": {text}, "deadline": {text}}}')
    with pytest.raises(InvalidCommand, match="order_id must be a valid string"):
        parse_command("orders.cancel", arguments)


@given(st.recursive(DIGITS | st.sampled_from(['"x"', "null", "NaN"]), _containers))
def test_a_short_text_is_read_as_a_long_one(text: str) -> None:
    """Which has a way of its own, because a number in it may be too long."""
    assert repr(loads(text)) == repr(loads(text + " " * MAX_DIGITS))


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_text_that_is_one_number_as_long_as_a_number_may_be(sign: str) -> None:
    digits = MAX_DIGITS - len(sign)
    assert loads(sign + "9" * digits) == int(sign + "9" * digits)
    assert loads(sign + "9" * (digits + 1)) == Decimal("Infinity")


def test_what_is_too_long_or_has_too_many_parts_is_not_parsed() -> None:
    """A list takes a hundred bytes of memory for two of a text."""
    check_bounds("[" * 50_000, 50_000)
    for text, length, containers in (("[" * 3, 2, 9), ("[{[", 9, 2), (b"[" * 50_001, 10**6, 50_000)):
        with pytest.raises(ValueError, match=r"it (is longer|has more) than"):
            check_bounds(text, length, containers)
    report = Report(command_id="a", command="positions", outcome="accepted", reason="ok", message="", fingerprint="f")
    fields = report.to_json()
    for count, found in ((100_000, True), (100_100, False)):
        raw = json.dumps({"status": "SUCCESS", "result": {**fields, "result": [[]] * count}})
        assert (read_result(raw, "a") is not None) is found


@pytest.mark.parametrize("text", ["{", "[01]", "[1.]", "[+1]", "[1_000]", "[.5]", "[٣]", '["\n"]', "", b"\xff"])
def test_what_is_no_json_is_none(text: str | bytes) -> None:
    """Its message is kept aside."""
    with pytest.raises(ValueError, match=r"."):
        loads(text)


def test_a_text_of_a_senders_is_never_taken_for_a_number() -> None:
    """The mark of a number is one that nobody can know."""
    texts = ["number--1number--", '"1"', "\\", "1"]
    assert json.loads(dumps({"q": Decimal("1.10"), "t": texts})) == {"q": 1.1, "t": texts}


def test_an_intent_keeps_its_digits() -> None:
    """Other languages write intents as well, and what is lost is published again from them."""
    stored = '{"task": "orders.close", "kwargs": {"qty": 284578000.00000004}, "enqueued_at": 1}'
    intent = read_intent("id", stored)
    assert intent == Intent("id", "orders.close", {"qty": Decimal("284578000.00000004")}, 1)
    assert json.loads(intent.to_json(), parse_float=str) == json.loads(stored, parse_float=str)


def test_celery_writes_and_reads_messages_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what a foreign service finds on its own queue."""
    from kombu import serialization

    registry = serialization.registry
    monkeypatch.setattr(registry, "_encoders", dict(registry._encoders))
    monkeypatch.setattr(registry, "_decoders", dict(registry._decoders))
    message_json.use()
    app = Celery("test", broker="memory://", set_as_current=False)
    with app.connection_for_write() as connection, connection.SimpleQueue("exact") as queue:
        app.send_task(
            "service.told", kwargs={"qty": Decimal("284578000.00000004")}, queue="exact", connection=connection
        )
        message = queue.get(timeout=5)
    assert b'"qty": 284578000.00000004}' in (message.body if isinstance(message.body, bytes) else message.body.encode())
    assert message.payload[1] == {"qty": Decimal("284578000.00000004")}


def test_a_number_of_seventeen_digits_makes_the_fingerprint_of_its_digits() -> None:
    """A message that comes again is known by it; as another command's, what is to follow it would be given up."""
    raw = '{"account": "main", "asset": "ETH", "qty": 0.12345678901234566, "address": "0xabc"}'
    same = Withdraw(account="main", asset="ETH", qty="0.12345678901234566", address="0xabc")
    assert fingerprint_of("orders.withdraw", loads(raw)) == same.fingerprint
