"""Test vectors of seals, for senders in other languages: ``producers/schemas/seal-vectors.json``.

Each case is a command with the header that seals it. ``kwargs`` is the JSON text of the arguments as the message holds
it. A valid case has the bytes that are ``signed``, as text; one that does not verify has the ``flaw``
(:data:`producers.seal.Flaw`) that a worker finds.
:mod:`producers.json_schemas` writes the file.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

from producers import message_json
from producers.seal import CONTEXT, MAX_VALID_MS, Seal, SealError, seal, verify
from producers.signing import PrivateKey, signed_bytes

AT = 1_700_000_000_000
UNTIL = AT + MAX_VALID_MS
TASK, ID = "orders.withdraw", "payroll.7d2f"
ARGUMENTS = {"account": "main", "asset": "ETH", "qty": "0.10", "address": "caf\u00e9", "deadline": AT}
ORDER_OF_THE_GROUP = 2**252 + 27742317777372353535851937790883648493
"""Of Ed25519 (RFC 8032, section 5.1)."""

Case = dict[str, Any]


def published_key(kid: str = "2026-11") -> PrivateKey:
    """The key of the vectors: its secret is public, so it must be in no file of keys."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return PrivateKey("payroll", kid, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def vectors() -> dict[str, Any]:
    """The content of the file."""
    key = published_key()
    private = key.to_file_text().rpartition("private = ")[2].strip().strip('"')
    about = "The private key is published here. Never let a worker trust it."
    published = {"by": key.by, "kid": key.kid, "private": private, "public": key.public().to_text()}
    return {"about": about, "key": published, "cases": [*_valid_cases(), *_invalid_cases()]}


def _valid_cases() -> Iterator[Case]:
    for name, arguments in {
        "a withdrawal": ARGUMENTS,
        "arguments in another order": dict(reversed(ARGUMENTS.items())),
        "decomposed letters, which are another text": {**ARGUMENTS, "address": "cafe\u0301"},
        "characters that some encoders escape": {**ARGUMENTS, "address": '<&>/"\\\u00fc\u4e2d\U0001f600'},
        "true and null": {"account": "main", "close_on_trigger": True, "pair": None},
        "no arguments": {},
    }.items():
        yield _case(name, arguments)


def _case(name: str, arguments: dict[str, Any], **changes: Any) -> Case:
    """A valid case; or an invalid one, whose header, task, id or arguments were changed after it was sealed."""
    key = published_key()
    header = seal(key, TASK, ID, arguments, AT, UNTIL)
    fields = {name: value for name, value in header.items() if name != "sig"}
    signed = signed_bytes(CONTEXT, {**fields, "task": TASK, "id": ID, "kwargs": arguments}).decode()
    case: Case = {"name": name, "header": header, "task": TASK, "id": ID, "kwargs": json.dumps(arguments), **changes}
    return {**case, "flaw": _flaw(case)} if changes else {**case, "signed": signed}


def _flaw(case: Case) -> str:
    try:
        kwargs = message_json.loads(case["kwargs"])
        verify(Seal.from_header(case["header"]), published_key().public(), case["task"], case["id"], kwargs)
    except SealError as error:
        return error.flaw
    raise AssertionError(f"{case['name']} verifies")


def _invalid_cases() -> Iterator[Case]:
    header = seal(published_key(), TASK, ID, ARGUMENTS, AT, UNTIL)
    for name, change in _changes_of_the_header(header).items():
        yield _case(f"the header: {name}", ARGUMENTS, header={**header, **change})
    yield _case("the header: a field is missing", ARGUMENTS, header={k: v for k, v in header.items() if k != "v"})
    yield _case("another task", ARGUMENTS, task="orders.cancel")
    yield _case("another id", ARGUMENTS, id="payroll.7d2e")
    yield _case("an id of another sender", ARGUMENTS, id="desk.7d2f")
    changes: dict[str, dict[str, Any]] = {
        "another amount": {"qty": "0.11"},
        "another form of the amount": {"qty": "0.1"},
        "the amount as a number": {"qty": 1},
        "another Unicode form": {"address": "cafe\u0301"},
        "a null more": {"memo": None},
        "an integer as a text": {"deadline": str(AT)},
    }
    for name, change in changes.items():
        yield _case(f"the arguments: {name}", ARGUMENTS, kwargs=json.dumps({**ARGUMENTS, **change}))
    text = json.dumps(ARGUMENTS)
    for name, old, new in (
        ("a name with two values", '"qty": "0.10"', '"qty": "9", "qty": "0.10"'),
        ("a name with two values, in the other order", '"qty": "0.10"', '"qty": "0.10", "qty": "9"'),
        ("a number with a fraction", str(AT), f"{AT}.0"),
        ("a number with an exponent", str(AT), "17e11"),
    ):
        yield _case(f"the arguments: {name}", ARGUMENTS, kwargs=text.replace(old, new))


def _changes_of_the_header(header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    raw = base64.b64decode(header["sig"])
    doubled = raw[:32] + (int.from_bytes(raw[32:], "little") + ORDER_OF_THE_GROUP).to_bytes(32, "little")
    of_report = published_key().sign("orders-report-v1", {**header, "task": TASK, "id": ID, "kwargs": ARGUMENTS})
    return {
        "another kid": {"kid": "2026-12"},
        "another at": {"at": AT + 1},
        "another until": {"until": UNTIL - 1},
        "valid for more than 24 h": {"until": UNTIL + 1},
        "until before at": {"until": AT - 1},
        "a text for a number": {"at": str(AT)},
        "true for 1": {"v": True},
        "another version": {"v": 2},
        "a field more": {"alg": "none"},
        "no signature": {"sig": ""},
        "base64 for URLs": {"sig": base64.urlsafe_b64encode(raw).decode()},
        "base64 without padding": {"sig": header["sig"].rstrip("=")},
        "another form of the signature": {"sig": base64.b64encode(doubled).decode()},
        "a signature of something else": {"sig": of_report},
    }
