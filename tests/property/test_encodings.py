"""Properties of what is encoded, signed and judged: for any input, not for chosen ones."""

import base64
import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.commands import COMMANDS as TASKS
from producers.commands import Cancel, Close, Command, Positions, Withdraw, parse_command, plain_notation
from producers.errors import InvalidCommand
from producers.exact_json import loads
from producers.printable import first_invisible
from producers.report import Outcome, Reason, Report
from worker.clock import SystemClock
from worker.execution.context import Envelope
from worker.execution.intake import Intake, fingerprint_of_stored, stored_arguments
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Plan, Proof
from worker.venues.bitz import Bitz, sign
from worker.venues.everstrike.adapter import Everstrike, form
from worker.venues.http.base import Response
from worker.venues.json_values import read_json, to_report_json

amounts = st.decimals(min_value=Decimal("1e-18"), max_value=Decimal("1e18"), places=18, allow_nan=False)
# What a newer Python's Unicode has added is refused all the same, so that every Python and every schema agrees.
seen = st.characters(codec="utf-8", categories=("L", "N", "P", "S")).filter(
    lambda character: not first_invisible(character)
)
words = st.text(seen, min_size=1, max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([200, 503, "BUY", "1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["code", "msg", "result", "stats", "size", "status", "data"]) | st.text(), inner
        )
    ),
    max_leaves=20,
)
statuses = st.sampled_from([200, 200, 201, 204, 302, 400, 401, 418, 429, 500, 502, 503, 503, 504, 999])

ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials("key", "secret"))
COMMANDS: list[Command] = [
    Cancel(account="main", order_id="1"),
    Close(account="main", pair="P"),
    Close(account="main", pair="P", qty=Decimal(1)),
    Withdraw(account="main", asset="ETH", qty=Decimal(1), address="x"),
    Positions(account="main"),
    Positions(account="main", pair="P"),
    Positions(account="main", contract_id=101),
]


@given(amounts)
def test_an_amount_survives_its_writing_in_plain_notation(amount: Decimal) -> None:
    text = plain_notation(amount)
    assert Decimal(text) == amount
    assert "e" not in text.lower()
    assert Close(account="a", pair="P", qty=text).qty == amount


@given(st.lists(st.tuples(st.sampled_from(["pair", "qty", "address"]), words | st.text("a-._~&=+% é", max_size=5))))
def test_a_form_is_what_everybody_makes_of_it(fields: list[tuple[str, str]]) -> None:
    """The shorter way for values that need no quoting gives the same bytes."""
    assert form(fields) == urlencode(fields).encode("ascii")


@given(amounts | st.floats(min_value=1e-18, max_value=1e18).map(lambda number: Decimal(repr(number))), st.booleans())
def test_a_json_number_in_a_message_is_taken_digit_by_digit(amount: Decimal, exponent: bool) -> None:
    """What is sent to the venue is the very number that the sender wrote, in whatever language."""
    arguments = loads(f'{{"account": "a", "pair": "P", "qty": {amount if exponent else plain_notation(amount)}}}')
    sent = Intake({}, {}, SystemClock()).stored_arguments(Envelope("id", "orders.close", arguments))
    assert json.loads(sent)["qty"] == plain_notation(amount)


@given(amounts, st.text(min_size=1, max_size=20))
def test_the_stored_arguments_make_the_commands_fingerprint(amount: Decimal, address: str) -> None:
    """Which is made of the same text."""
    arguments = {"account": "a", "asset": "E", "qty": plain_notation(amount), "address": address}
    try:
        command = parse_command("orders.withdraw", arguments)
    except InvalidCommand:
        return
    assert fingerprint_of_stored(command.task, stored_arguments(command)) == command.fingerprint


@given(st.floats(min_value=1e-18, max_value=1e18))
def test_a_float_of_a_program_is_taken_for_what_was_written_or_refused(number: float) -> None:
    """Up to fifteen digits are what anybody wrote; of more, some are the float's own."""
    arguments = {"account": "a", "pair": "P", "qty": number}
    if len(Decimal(repr(number)).normalize().as_tuple().digits) > 15:
        with pytest.raises(InvalidCommand, match="qty is a binary float of more than 15 digits"):
            parse_command("orders.close", arguments)
    else:
        assert Decimal(parse_command("orders.close", arguments).arguments()["qty"]) == Decimal(repr(number))


@given(
    st.dictionaries(
        st.sampled_from(["account", "asset", "qty", "address", "deadline", "pair", "price", "side"])
        | st.text(max_size=5),
        json_values,
    )
)
def test_any_arguments_make_a_command_or_a_refusal(arguments: dict[str, Any]) -> None:
    """No other error is raised, and a command that is parsed again is the same."""
    for task in TASKS:
        try:
            command = parse_command(task, arguments)
        except InvalidCommand:
            continue
        again = parse_command(task, command.arguments())
        assert again == command
        assert again.fingerprint == command.fingerprint


@given(asset=words, address=words, amount=amounts, now=st.integers(0, 10**14))
def test_a_signature_is_over_the_bytes_that_are_sent_which_decode_to_the_command(
    asset: str, address: str, amount: Decimal, now: int
) -> None:
    command = Withdraw(account="main", asset=asset, qty=amount, address=address)
    request = Everstrike().request(Plan(command, ACCOUNT), now)
    assert isinstance(request.body, bytes)
    mac = hmac.new(b"secret", request.body, hashlib.sha256).digest()
    assert request.headers["x-signature"] == base64.b64encode(mac).decode()
    assert parse_qsl(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True) == [
        ("asset", asset),
        ("qty", plain_notation(amount)),
        ("address", address),
        ("timestamp", str(now)),
    ]


@given(st.permutations([("apiKey", "k"), ("contractId", "1"), ("nonce", "abcdef"), ("timeStamp", "2")]))
def test_the_order_of_fields_does_not_change_the_sign(fields: list[tuple[str, str]]) -> None:
    assert sign(fields, "s") == hashlib.md5(b"apiKey=k&contractId=1&nonce=abcdef&timeStamp=2s").hexdigest()  # noqa: S324


@given(statuses, st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()))
def test_judging_never_raises_and_proves_nothing_without_reason(status: int, body: bytes) -> None:
    """Whatever comes back there is a verdict that a report can hold, and a yes needs a 200."""
    for venue in (Everstrike(), Bitz()):
        for command in COMMANDS:
            verdict = venue.judge(Plan(command, ACCOUNT), Response(status, body, {"Retry-After": "x"}))
            if verdict.proof is Proof.EXECUTED:
                assert status == 200
                assert isinstance(read_json(body), dict)
            if isinstance(command, Positions):
                assert (verdict.positions is not None) == (verdict.proof is Proof.EXECUTED)
            told = ("message", "result", "venue_code", "venue_message", "positions")
            of = {"command_id": "x", "command": command.name, "fingerprint": command.fingerprint}
            verdicts = {name: getattr(verdict, name) for name in told}
            report = Report(outcome=Outcome.UNKNOWN, reason=Reason.LOST_REPLY, **of, **verdicts)
            assert Report.model_validate_json(report.model_dump_json()) == report
            assert "\n" not in verdict.message


@given(json_values)
def test_a_result_stays_as_it_is(value: Any) -> None:
    """Read, kept and written again, it says the same; a number that a float can't hold keeps its digits."""
    text = json.dumps(value).encode()
    read = read_json(text)
    if "NaN" in text.decode() or "Infinity" in text.decode():
        return
    assert json.loads(json.dumps(to_report_json(read))) == json.loads(text)
