"""The commands: what is taken, what is refused in which words, and the fingerprint."""

import hashlib
import json
import re
import shutil
import subprocess
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from producers.commands import (
    COMMANDS,
    Cancel,
    Close,
    Positions,
    Submit,
    Withdraw,
    fingerprint,
    parse_command,
    plain_notation,
)
from producers.errors import InvalidCommand
from producers.json_schemas import schemas, shipped
from producers.printable import first_invisible


class Float64(float):
    """As NumPy's, whose representation is a call."""

    def __repr__(self) -> str:
        """How it is made."""
        return f"np.float64({super().__repr__()})"


CLOSE = {"account": "main", "pair": "USD_BTC_PERP"}
SUBMIT = {**CLOSE, "side": "buy", "qty": "0.5"}


@pytest.mark.parametrize(
    ("taken", "sent"),
    [
        ("0.001", ["0.001"]),
        ("1.5", ["1.50"]),
        ("100", ["100"]),
        ("0.00001", [0.00001, "1e-5"]),
        ("10000000000000000000000", [1e22]),
        ("284578000.00000004", [Decimal("284578000.00000004")]),
        ("123456789012345", [123456789012345.0]),
        ("0.1", [Float64(0.1), 0.1]),
        ("3", [3]),
        ("2", ["+2"]),
        ("0.1234567890123456789012345678901234", ["0.1234567890123456789012345678901234"]),
    ],
)
def test_amounts_become_plain_decimals(sent: list[object], taken: str) -> None:
    """A string, or a JSON number by its shortest decimal form; never an exponent, never a binary float's tail."""
    commands = [parse_command("orders.close", {**CLOSE, "qty": each}) for each in sent]
    assert {command.arguments()["qty"] for command in commands} == {taken}


@pytest.mark.parametrize(
    ("words", "amounts"),
    [
        ("must be greater than zero", ["-1", 0, "0.000"]),
        ("must be finite, not NaN or infinity", [float("inf"), "NaN", "sNaN", "-Infinity"]),
        ("has more than 40 digits", ["1e400000", "1e-400000", "1e99999999999999999999", 10**5000, "1" * 41]),
        ("is not a decimal number", ["1" * 100_000, "0x1", "1_0", " 1", "\u0661", "", "1\n", "1\u200b"]),
        ("is a binary float of more than 15 digits: write it as a string", [284578000.00000004]),
        ("must be a decimal: a string like '0.001', or a number", [True, [1]]),
    ],
)
def test_what_is_no_amount_is_refused_in_words(words: str, amounts: list[object]) -> None:
    """A person reads what is wrong with which argument."""
    for amount in amounts:
        with pytest.raises(InvalidCommand) as refused:
            parse_command("orders.close", {**CLOSE, "qty": amount})
        assert refused.value.problems == (f"qty {words}",), repr(amount)[:50]


@pytest.mark.parametrize(
    ("task", "arguments", "problems"),
    [
        ("orders.withdraw", {}, ["account is missing", "asset is missing", "qty is missing", "address is missing"]),
        ("orders.cancel", {"account": "main"}, ["order_id is missing"]),
        ("orders.cancel", {"account": "main", "order_id": "a b"}, ["order_id must be one word without blanks"]),
        (
            "orders.cancel",
            {"account": "main", "order_id": "1", "secret": "x"},
            ["secret is not an argument of this command"],
        ),
        (
            "orders.withdraw",
            {"account": "main", "asset": "E\x9bTH", "qty": "1", "address": "0xabc\u200b"},
            ["asset contains the invisible character U+009B", "address contains the invisible character U+200B"],
        ),
        ("orders.cancel", {"account": "ma in", "order_id": "1"}, ["account must consist of letters, digits, - and _"]),
        ("orders.cancel", {"account": 7, "order_id": "1"}, ["account must be a valid string"]),
        ("orders.cancel", {"account": "main", "order_id": "1", "deadline": "5"}, ["deadline must be a valid integer"]),
        ("orders.cancel", {"account": "main", "order_id": "1", "deadline": 1.5}, ["deadline must be a valid integer"]),
        ("orders.close", {**CLOSE, "recv_window": 15001}, ["recv_window must be less than or equal to 15000"]),
        ("orders.close", {**CLOSE, "close_on_trigger": "yes"}, ["close_on_trigger must be a valid boolean"]),
        ("orders.close", {**CLOSE, "direction": "buy"}, ["direction must be 'long' or 'short'"]),
        ("orders.submit", CLOSE, ["side is missing", "qty is missing"]),
        ("orders.submit", {**SUBMIT, "side": "long"}, ["side must be 'buy' or 'sell'"]),
        ("orders.submit", {**SUBMIT, "time_in_force": "GTD"}, ["time_in_force must be 'GTC', 'IOC' or 'FOK'"]),
        ("orders.positions", {"account": "main", "contract_id": "101"}, ["contract_id must be a valid integer"]),
    ],
)
def test_every_problem_is_named(task: str, arguments: dict[str, Any], problems: list[str]) -> None:
    """All at once, so that nobody mends one to meet the next."""
    with pytest.raises(InvalidCommand) as refused:
        parse_command(task, arguments)
    assert list(refused.value.problems) == problems


NO_PRICE = "post_only needs price: an order at market is executed at once"
NO_TRIGGER = "trigger_event needs trigger_price"
NO_LIMIT = "time_in_force needs price: an order at market is executed at once"
NO_REST = "post_only excludes time_in_force {}: such an order never rests"


@pytest.mark.parametrize(
    ("more", "problems"),
    [
        ({}, []),
        ({"post_only": True, "price": "1", "time_in_force": "GTC"}, []),
        ({"post_only": True, "price": "1", "time_in_force": None, "trigger_event": None}, []),
        ({"post_only": False, "price": "1", "time_in_force": "IOC", "reduce_only": True}, []),
        ({"post_only": False, "reduce_only": False}, []),
        ({"post_only": None, "time_in_force": "FOK", "price": "1"}, []),
        ({"trigger_event": "LAST_PRICE", "trigger_price": 1, "price": "1"}, []),
        ({"trigger_price": "1"}, []),
        ({"trigger_event": "LAST_PRICE"}, [NO_TRIGGER]),
        ({"trigger_event": "LAST_PRICE", "trigger_price": None}, [NO_TRIGGER]),
        ({"post_only": True}, [NO_PRICE]),
        ({"post_only": True, "price": None}, [NO_PRICE]),
        ({"post_only": True, "price": "1", "time_in_force": "IOC"}, [NO_REST.format("IOC")]),
        (
            {"post_only": True, "time_in_force": "FOK", "trigger_event": "MARK_PRICE"},
            [NO_TRIGGER, NO_PRICE, NO_REST.format("FOK"), NO_LIMIT],
        ),
        ({"time_in_force": "GTC"}, [NO_LIMIT]),
    ],
)
def test_what_belongs_together_in_a_new_order(more: dict[str, Any], problems: list[str]) -> None:
    """By the model and by its schema. A close takes what it always took."""
    arguments = {**SUBMIT, **more}
    assert jsonschema.Draft202012Validator(shipped("orders.submit.json")).is_valid(arguments) == (not problems)
    if problems:
        with pytest.raises(InvalidCommand) as refused:
            parse_command("orders.submit", arguments)
        assert list(refused.value.problems) == problems
    else:
        given = {name: str(each) if name.endswith("price") else each for name, each in arguments.items()}
        expected = {name: each for name, each in given.items() if arguments[name] is not None}
        assert parse_command("orders.submit", arguments).arguments() == expected
    assert parse_command("orders.close", {**CLOSE, "trigger_event": "LAST_PRICE"})


WORDS = "close.pair cancel.order_id positions.pair close.account withdraw.asset withdraw.address close.trigger_event"
WORDS += " cancel.pair withdraw.network withdraw.tag close.direction submit.pair submit.side submit.time_in_force"
VALID = {
    "orders.close": {**CLOSE, "trigger_event": "MARK_PRICE", "direction": "long"},
    "orders.submit": {**SUBMIT, "price": "1", "time_in_force": "GTC"},
    "orders.cancel": {"account": "main", "order_id": "7", "pair": "P"},
    "orders.positions": {"account": "main", "pair": "P"},
    "orders.withdraw": {
        "account": "main",
        "asset": "ETH",
        "qty": "1",
        "address": "0xabc",
        "network": "TRX",
        "tag": "7",
    },
}
INVISIBLE = (
    "\n \x00\x1b\x7f\x85\x9b\xa0\xad\u034f\u0378\u115f\u200b\u200d\u2028\u202e\u2066\u2800\u3000"
    "\u3164\ue000\ufe0f\ufeff\uffa0\uffff\U000e0041\U000e0100\U000f0000\U0010ffff\U0001d173"
)


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
@pytest.mark.parametrize("word_of", WORDS.split())
def test_an_invisible_character_is_refused_in_every_word(word_of: str, character: str) -> None:
    """By the commands and by their schemas; wherever it stands in the word."""
    task, _, name = f"orders.{word_of}".rpartition(".")
    schema = jsonschema.Draft202012Validator(shipped(f"{task}.json"))
    assert schema.is_valid(VALID[task])
    word = VALID[task][name]
    for spoilt in (word + character, character + word, word[0] + character + word[1:]):
        arguments = {**VALID[task], name: spoilt}
        with pytest.raises(InvalidCommand, match=f"^{task}: {name} ") as refused:
            parse_command(task, arguments)
        assert str(refused.value).isprintable()
        assert not schema.is_valid(arguments)


@pytest.mark.parametrize(
    "word", ["USD_BTC_PERP", "0xaBc", "ü", "日本", "नि", "e\u0301", "\U0001f600", "€", "½", "…", "]^-\\"]
)
def test_a_word_of_characters_that_a_person_can_see_is_taken(word: str) -> None:
    """In any script."""
    arguments = {**VALID["orders.withdraw"], "address": word}
    assert parse_command("orders.withdraw", arguments).arguments()["address"] == word
    assert jsonschema.Draft202012Validator(shipped("orders.withdraw.json")).is_valid(arguments)


NODE = shutil.which("node") or ""


@pytest.mark.skipif(not NODE, reason="Node.js is not installed")
def test_the_schemas_patterns_mean_the_same_in_ecmascript() -> None:
    """JSON Schema's expressions are ECMA-262's, which most validators compile with the flag ``u``."""
    program = """
    const {pattern, words} = JSON.parse(require("fs").readFileSync(0, "utf8"));
    const unseen = new RegExp(pattern, "u");
    console.log(JSON.stringify(words.map(word => unseen.test(word))));
    """
    words = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    pattern = shipped("orders.cancel.json")["properties"]["order_id"]["not"]["pattern"]
    asked = json.dumps({"pattern": pattern, "words": words})
    node = subprocess.run([NODE, "-e", program], input=asked, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(node.stdout) == [first_invisible(word) is not None for word in words]


def test_unknown_arguments_are_counted_and_the_first_are_named() -> None:
    """Whatever a sender writes, its refusal is short; values stay out of it."""
    many = {f"{number}{'x' * 6_000_000 if number == 0 else ''}": 1 for number in range(10**5)}
    arguments = {**CLOSE, "qty": "-1", **many}
    with pytest.raises(InvalidCommand) as refused:
        parse_command("orders.close", arguments)
    assert refused.value.problems[0] == "qty must be greater than zero"
    assert refused.value.problems[2] == "1 is not an argument of this command"
    assert refused.value.problems[-1] == "and 99,995 more unknown arguments"
    assert len(str(refused.value)) < 500


def test_an_unknown_command_names_the_known() -> None:
    """The error says what there is."""
    known = "orders.cancel, orders.close, orders.positions, orders.submit, orders.withdraw"
    with pytest.raises(InvalidCommand, match=re.escape(known)):
        parse_command("orders.cancelall", {})


def test_null_is_absent() -> None:
    """A null argument is one that was not given, also in the fingerprint."""
    absent = parse_command("orders.close", CLOSE)
    null = parse_command("orders.close", {**CLOSE, "qty": None, "deadline": None})
    assert null == absent
    assert null.fingerprint == absent.fingerprint


def test_every_argument_has_a_fingerprint() -> None:
    """Also what no JSON can hold: a refusal needs one too."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    odd = [{"qty": float("nan")}, {"qty": 10**5000}, {"qty": {1, 2}}, {"qty": "\ud800"}, {"qty": deep}]
    assert all(len(fingerprint("orders.close", arguments)) == 64 for arguments in odd)


def test_the_fingerprint_is_as_written_down() -> None:
    """SHA-256 of the task and the normalised arguments as canonical JSON; equal commands have equal ones."""
    command = parse_command("orders.close", {"pair": "P", "account": "MAIN", "qty": 1.50})
    by_hand = hashlib.sha256(b'["orders.close",{"account":"main","pair":"P","qty":"1.5"}]').hexdigest()
    assert command.fingerprint == by_hand
    assert fingerprint("orders.close", {"account": "main", "pair": "P", "qty": "1.5"}) == by_hand
    assert fingerprint("orders.cancel", {"account": "main", "pair": "P", "qty": "1.5"}) != by_hand


@pytest.mark.parametrize(
    ("command", "repeatable", "mutating"),
    [
        (Cancel(account="a", order_id="1"), True, True),
        (Close(account="a", pair="P"), True, True),
        (Close(account="a", pair="P", qty=Decimal(1)), False, True),
        (Close(account="a", pair="P", price=Decimal(1)), False, True),
        (Close(account="a", pair="P", trigger_price=Decimal(1)), False, True),
        (Close(account="a", pair="P", trigger_event="LAST_PRICE"), True, True),
        (Close(account="a", pair="P", direction="short"), True, True),
        (Submit(account="a", pair="P", side="sell", qty=Decimal(1), reduce_only=True), False, True),
        (Withdraw(account="a", asset="ETH", qty=Decimal(1), address="x"), False, True),
        (Positions(account="a"), True, False),
    ],
)
def test_what_may_be_repeated(command: Any, repeatable: bool, mutating: bool) -> None:
    """The columns of the contract's matrix."""
    assert (command.repeatable, command.mutating) == (repeatable, mutating)


def test_plain_has_no_exponent() -> None:
    """Everstrike takes none, and equal amounts look equal."""
    plain = [plain_notation(Decimal(text)) for text in ("1E+3", "1.50e-5", "0E-8", "100", "-0.10")]
    assert plain == ["1000", "0.000015", "0", "100", "-0.1"]


def test_schemas_are_shipped_and_current() -> None:
    """What other languages read is what the models say."""
    assert {name: shipped(name) for name in schemas()} == json.loads(json.dumps(schemas()))
    assert {f"{task}.json" for task in COMMANDS} | {"report.json", "orders_seal.json"} == set(schemas())


AMOUNTS = "1|+1|-1|0|00|0.0|0e5|01|0.10|1.|.5|1e5|1E+5|1e-7|0.0e-3|1_000||1 |1\n|\uff11|\u0663|nan|Infinity|0x1"


@pytest.mark.parametrize(
    "amount",
    [
        *AMOUNTS.split("|"),
        *("9" * 40, "9" * 81, 1, 0, -1, 1.5, 1e-7, 0.0, 10**39, 10**40, 1e40, True, None, [], {}),
    ],
)
def test_the_schemas_take_the_amounts_that_the_models_take(amount: object) -> None:
    """Who checks by the schema is refused nothing that a worker takes, and told what it does not."""
    arguments = {"account": "main", "asset": "ETH", "qty": amount, "address": "0x"}
    taken = jsonschema.Draft202012Validator(shipped("orders.withdraw.json")).is_valid(arguments)
    try:
        parse_command("orders.withdraw", arguments)
    except InvalidCommand:
        assert not taken
    else:
        assert taken


def test_an_error_of_a_model_quotes_no_value() -> None:
    """An argument that does not exist came by mistake, and may be a secret; the error goes to the service's log."""
    arguments: dict[str, Any] = {**CLOSE, "secret_key": "hunter2"}
    with pytest.raises(ValidationError, match="secret_key") as refused:
        Close(**arguments)
    assert "hunter2" not in str(refused.value)
