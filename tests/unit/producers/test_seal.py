"""Seals: what they cover, and what is no seal."""

import json
import unicodedata
from importlib.resources import files
from typing import Any

import pytest
from amqp import serialization as amqp
from jsonschema import ValidationError, validate

from producers import message_json
from producers.json_schemas import shipped
from producers.seal import Seal, SealError, seal, verify
from producers.seal_vectors import vectors
from producers.signing import PrivateKey, PublicKey
from tests.support.signing_keys import fixed_key

KEY = fixed_key("payroll")
TASK, ID = "orders.withdraw", "payroll.7"
KWARGS = {"account": "main", "asset": "ETH", "qty": "0.10", "address": unicodedata.normalize("NFC", "café"), "n": 2}
AT, UNTIL = 1_700_000_000_000, 1_700_086_400_000
HEADER = seal(KEY, TASK, ID, KWARGS, AT, UNTIL)


def flaw_of(
    header: object = None,
    *,
    key: PublicKey | None = None,
    task: object = TASK,
    command_id: object = ID,
    kwargs: object = None,
) -> str:
    """Why a seal is refused; empty when it verifies."""
    try:
        found = Seal.from_header(HEADER if header is None else header)
        verify(found, key or KEY.public(), task, command_id, KWARGS if kwargs is None else kwargs)
    except SealError as error:
        return error.flaw
    return ""


def test_a_seal_verifies_in_whatever_order_its_keys_come() -> None:
    assert flaw_of() == ""
    assert flaw_of(dict(reversed(HEADER.items())), kwargs=dict(reversed(KWARGS.items()))) == ""
    assert Seal.from_header(HEADER).to_header() == HEADER


@pytest.mark.parametrize(
    "change",
    [
        {"kid": "2026-12"},
        {"at": AT + 1},
        {"until": UNTIL - 1},
        {"sig": seal(KEY, TASK, "payroll.8", KWARGS, AT, UNTIL)["sig"]},
        {"sig": "A" * 88},
        {"sig": "é" * 88},
    ],
    ids=str,
)
def test_no_field_of_a_seal_can_be_changed(change: dict[str, Any]) -> None:
    assert flaw_of({**HEADER, **change}) == "signature"


def test_a_seal_is_for_one_command_under_one_id_with_one_key() -> None:
    assert flaw_of(task="orders.cancel") == "signature"
    assert flaw_of(command_id="payroll.8") == "signature"
    assert flaw_of(key=PrivateKey.generate("payroll", "2026-11").public()) == "signature"
    assert flaw_of({**HEADER, "by": "pay"}) == flaw_of({**HEADER, "by": "desk"}) == "foreign_id"
    for other in ("7", "payroll", "payroll.", "payrolls.7", "Payroll.7", 7, None, ["payroll.7"]):
        assert flaw_of(command_id=other) == "foreign_id"


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({"qty": "0.1"}, "signature"),
        ({"qty": "1.0e-1"}, "signature"),
        ({"qty": 0.10}, "arguments"),
        ({"qty": 1}, "signature"),
        ({"n": 2.0}, "arguments"),
        ({"n": "2"}, "signature"),
        ({"n": True}, "signature"),
        ({"n": 2**53}, "arguments"),
        ({"account": "MAIN"}, "signature"),
        ({"address": unicodedata.normalize("NFD", "café")}, "signature"),
        ({"address": "caf\u200bé"}, "signature"),
        ({"address": "\ud800"}, "arguments"),
        ({"memo": None}, "signature"),
        ({"mémo": "1"}, "arguments"),
    ],
    ids=str,
)
def test_no_argument_can_be_changed(change: dict[str, Any], flaw: str) -> None:
    assert flaw_of(kwargs={**KWARGS, **change}) == flaw


def test_arguments_cannot_be_left_out_or_be_no_object() -> None:
    assert flaw_of(kwargs={name: KWARGS[name] for name in KWARGS if name != "qty"}) == "signature"
    assert flaw_of(kwargs=list(KWARGS.items())) == flaw_of(kwargs=[]) == "arguments"


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ('{"order_id": "1", "account": "main"}', ""),
        ('{"account": "m\\u0061in", "order_id": "\\u0031"}', ""),
        ('{"account": "main", "order_id": "1", "order_id": "1"}', ""),
        ('{"account": "main", "order_id": "2", "order_id": "1"}', "arguments"),
        ('{"account": "main", "order_id": "1", "order_id": "2"}', "arguments"),
        ('{"account": "main", "order_id": "1", "order_id": 1}', "arguments"),
        ('{"account": "main", "order_id": 1}', "signature"),
        ('{"account": "main", "order_id": 1.0}', "arguments"),
        ('{"account": "main", "order_id": 1e0}', "arguments"),
        ('{"account": "main", "order_id": 1.00000000000000000001}', "arguments"),
        ('{"account": "main", "order_id": {"__type__": "decimal", "__value__": "1"}}', "arguments"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_verified_is_what_the_message_can_only_mean(text: str, flaw: str) -> None:
    header = seal(KEY, "orders.cancel", ID, {"account": "main", "order_id": "1"}, AT, UNTIL)
    assert flaw_of(header, task="orders.cancel", kwargs=message_json.loads(text)) == flaw


@pytest.mark.parametrize(
    "header",
    [
        *({name: HEADER[name] for name in HEADER if name != missing} for missing in HEADER),
        {**HEADER, "alg": "none"},
        {**HEADER, 1: 1},
        *({**HEADER, "v": v} for v in (2, 0, True, 1.0, "1", None)),
        *({**HEADER, "by": by} for by in ("", "Payroll", "payroll.x", "payroll\n", "a" * 65, 1, None, ["payroll"])),
        *({**HEADER, "kid": kid} for kid in ("", "2026/11", 202611, None)),
        *({**HEADER, "at": at} for at in (0, -1, True, 1.7e12, str(AT), None, UNTIL, UNTIL + 1)),
        *({**HEADER, "until": until} for until in (AT, AT - 1, UNTIL + 1, 10**15, float(UNTIL), str(UNTIL), None)),
        {**HEADER, "at": True, "until": 2},
        *({**HEADER, "sig": sig} for sig in ("", HEADER["sig"][:-1], HEADER["sig"] + "=", b"x" * 88, None, 1)),
        *(None, "", [], [HEADER], 1, str(HEADER)),
    ],
    ids=lambda header: str(header)[:100],
)
def test_what_is_no_seal_is_refused_before_any_key_is_looked_up(header: object) -> None:
    with pytest.raises(SealError) as refused:
        Seal.from_header(header)
    assert refused.value.flaw == "malformed"


def test_a_seal_survives_the_headers_of_amqp() -> None:
    """RabbitMQ's messages have tables instead of JSON."""
    ((headers,), _) = amqp.loads("F", amqp.dumps("F", [{"orders_seal": HEADER}]), 0)
    assert flaw_of(headers["orders_seal"]) == ""


def test_a_refusal_quotes_nothing_of_the_message() -> None:
    hostile = "sk-LEAK\n\x1b[31m"
    told = []
    for header, kwargs in (
        ({**HEADER, "by": hostile}, KWARGS),
        ({**HEADER, hostile: 1}, KWARGS),
        (HEADER, {hostile: 1.5}),
        (HEADER, {hostile: hostile}),
    ):
        with pytest.raises(SealError) as refused:
            verify(Seal.from_header(header), KEY.public(), TASK, ID, kwargs)
        told.append(str(refused.value))
    assert not any("LEAK" in text or "\n" in text for text in told)


@pytest.mark.parametrize(
    ("command_id", "kwargs", "until", "reason"),
    [
        ("7", KWARGS, UNTIL, "begins with"),
        ("payroll.", KWARGS, UNTIL, "begins with"),
        (ID, {"qty": 0.1}, UNTIL, "write amounts as texts"),
        (ID, KWARGS, AT, "until after at"),
        (ID, KWARGS, UNTIL + 1, "24 h"),
    ],
)
def test_what_no_worker_would_take_is_not_sealed(
    command_id: str, kwargs: dict[str, Any], until: int, reason: str
) -> None:
    with pytest.raises(SealError, match=reason):
        seal(KEY, TASK, command_id, kwargs, AT, until)


VECTORS = json.loads(files("producers").joinpath("schemas", "seal-vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_the_shipped_vectors_verify_or_do_not_as_they_say(case: dict[str, Any]) -> None:
    kwargs = message_json.loads(case["kwargs"])
    public = PublicKey.from_text(VECTORS["key"]["public"])
    flaw = flaw_of(case["header"], key=public, task=case["task"], command_id=case["id"], kwargs=kwargs)
    assert flaw == case.get("flaw", "")
    if flaw == "malformed" and not case["name"].endswith(("24 h", "before at")):
        with pytest.raises(ValidationError):
            validate(case["header"], shipped("orders_seal.json"))
    elif flaw == "":
        validate(case["header"], shipped("orders_seal.json"))


def test_the_shipped_vectors_are_those_of_this_code() -> None:
    assert vectors() == VECTORS
