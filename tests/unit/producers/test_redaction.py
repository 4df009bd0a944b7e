"""What is shown of arguments, of texts that repeat them, of URLs and of servers' errors."""

from typing import Any, get_args

import pytest
import redis

from producers.commands import COMMANDS
from producers.redaction import HIDDEN, client_error_text, hidden_values, redact_text, redacted_url, shown_arguments
from worker.settings import WorkerSettings


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({"account": "main", "asset": "ETH"}, "{'account': 'main', 'asset': 'ETH'}"),
        ({"qty": 1.5, "address": "0x1"}, "{'qty': '***', 'address': '***'}"),
        ({"account": "main", "api_key": "k"}, "{'account': 'main', 'api_key': '***'}"),
        ({"account": {"qty": "1"}}, "{'account': '***'}"),
        ({"account": "a" * 500}, "{'account': '***'}"),
        ({"deadline": None, "account": True}, "{'deadline': None, 'account': True}"),
        ({"x" * 500: 1}, "{'" + "x" * 40 + "': '***'}"),
        ([1, 2], "***"),
        (None, "***"),
    ],
)
def test_arguments_as_they_are_shown(arguments: Any, shown: str) -> None:
    """An amount, an address, or an argument that the command does not have would be in Flower and in logs."""
    assert shown_arguments("orders.withdraw", arguments) == shown


def test_a_message_with_many_arguments_is_shown_short() -> None:
    """An event as long as its message would let a sender fill the monitor's memory."""
    assert len(shown_arguments("orders.close", {f"name{n}": n for n in range(10_000)})) < 1000


def test_every_amount_and_address_of_every_command_is_hidden() -> None:
    """A command that gets a new argument of this kind must hide it as well."""
    for command in COMMANDS.values():
        for name, field in command.model_fields.items():
            kinds = str((field.annotation, get_args(field.annotation), field.metadata))
            assert ("Decimal" in kinds) <= (name in HIDDEN), (command, name)
    assert {"address", "tag"} <= HIDDEN


@pytest.mark.parametrize(
    ("text", "values", "left"),
    [
        ("can't send 1.5 to 0xabc", ["1.5", "0xabc"], "can't send *** to ***"),
        ("11.5 and 1.55 and 21.5", ["1.5"], "11.5 and 1.55 and 21.5"),
        ("have 1, not 10 or 1.5 or 0.1.", ["1"], "have ***, not 10 or 1.5 or 0.1."),
        ("(1).", ["1"], "(***)."),
        ("a+b", ["a+b"], "***"),
        ("(a.*", ["a.*", "("], "******"),
        ("11 1 1", ["1"], "11 *** ***"),
        ("can't send to 0xabcde…", ["0xabcdef01"], "can't send to ***…"),
        ("can't send to 0xa…", ["0xabcdef01"], "can't send to 0xa…"),
        ("can't send to 10xabc…", ["0xabcdef01"], "can't send to 10xabc…"),
        ("can't send 1.", ["1", ""], "can't send ***."),
        ("x" * 1000, ["x" * 100_000], "x" * 1000),
    ],
)
def test_hidden_values_are_struck_out_of_words(text: str, values: list[str], left: str) -> None:
    """The venue may repeat an amount or an address; but `1` must not eat every number."""
    assert redact_text(text, values) == left


@pytest.mark.parametrize(
    ("qty", "told"),
    [("0.0500", "0.05"), ("0.0500", "0.0500"), (1e-05, "0.00001"), ("5e-2", "0.05"), (3, "3"), ("many", "many")],
)
def test_an_amount_is_hidden_as_the_venue_repeats_it(qty: Any, told: str) -> None:
    """It was sent to the worker in one way of writing and to the venue in another."""
    values = hidden_values({"account": "main", "qty": qty, "address": ["x"]})
    assert redact_text(f"can't take {told} now", values) == "can't take *** now"


@pytest.mark.parametrize("qty", ["1e999999999", "nan", "-inf", "", "1" * 5000, True, None])
def test_what_is_no_amount_is_struck_out_as_it_is(qty: Any) -> None:
    """A sender may write anything, and the worker must not choke on it."""
    assert hidden_values({"qty": qty}) == ([str(qty)] if qty else [])


def test_nothing_is_hidden_when_that_is_asked_for() -> None:
    """An empty setting means what it says; arguments that a command does not have stay hidden."""
    hidden = WorkerSettings(hide_arguments="").hidden_arguments
    shown = shown_arguments("orders.withdraw", {"qty": "1", "secret": "s"}, hidden)
    assert shown == "{'qty': '1', 'secret': '***'}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ann:hunter2@host:6379/0?ssl_ca_certs=/ca", "an unusable URL"),
        ("redis://ann:hunter2@host:6379/0", "redis://***@host:6379/0"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:12#hunter2@host:6379/0", "an unusable URL"),
        ("amqp://ann:hunter2@host/vhost?x=y", "amqp://***@host/vhost"),
    ],
)
def test_a_url_is_shown_without_user_password_and_options(url: str, shown: str) -> None:
    """Of one that can't be used nothing is shown: what looks like its host may be a piece of the password."""
    assert redacted_url(url) == shown


def test_an_error_is_shown_without_the_command_that_redis_py_quotes() -> None:
    """A pipeline's error has the command before the server's words: addresses and amounts, and no room for the rest."""
    quoted = 'Command # 1 (HSETNX x \'{"address": "0xab"}\') of pipeline caused error: OOM command not allowed'
    assert client_error_text(redis.ResponseError(quoted)) == "OOM command not allowed"
