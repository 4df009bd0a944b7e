"""Signatures: what they cover, and what is refused."""

import base64
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import pytest

from producers.signing import PrivateKey, PublicKey, SigningError, signed_bytes

CONTEXT = "orders-test-v1"
FIELDS = {"id": "payroll.1", "at": 1, "kwargs": {"qty": "0.10", "address": "é\u2028\x1f"}, "none": None, "yes": True}


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return PrivateKey.generate("payroll", "2026-11")


def test_what_is_signed_is_the_context_and_canonical_json() -> None:
    assert signed_bytes(CONTEXT, {"b": [1, "\n"], "a": {"d": None, "c": "é"}}) == (
        b'orders-test-v1\n{"a":{"c":"\xc3\xa9","d":null},"b":[1,"\\n"]}'
    )


def test_a_signature_verifies_whatever_the_order_of_keys(key: PrivateKey) -> None:
    signature = key.sign(CONTEXT, FIELDS)
    assert key.public().verifies(signature, CONTEXT, dict(reversed(FIELDS.items())))


@pytest.mark.parametrize(
    "changed",
    [
        {**FIELDS, "id": "payroll.2"},
        {**FIELDS, "at": "1"},
        {**FIELDS, "at": True},
        {**FIELDS, "kwargs": {**FIELDS["kwargs"], "qty": "0.1"}},  # type: ignore[dict-item]
        {**FIELDS, "kwargs": {**FIELDS["kwargs"], "address": "e\u0301\u2028\x1f"}},  # type: ignore[dict-item]
        {**FIELDS, "more": 1},
        {name: value for name, value in FIELDS.items() if name != "none"},
        {**FIELDS, "at": 1.0},
    ],
)
def test_any_change_breaks_it(key: PrivateKey, changed: dict[str, object]) -> None:
    assert not key.public().verifies(key.sign(CONTEXT, FIELDS), CONTEXT, changed)


def test_another_context_another_key_or_another_form_of_it_does_not_verify(key: PrivateKey) -> None:
    signature, public = key.sign(CONTEXT, FIELDS), key.public()
    other = PrivateKey.generate("payroll", "2026-11").public()
    assert not public.verifies(signature, "orders-other-v1", FIELDS)
    assert not other.verifies(signature, CONTEXT, FIELDS)
    unpadded = signature.rstrip("=")
    # The last character before the padding carries unused bits: another text of the same bytes.
    again = unpadded[:-1] + chr(ord(unpadded[-1]) + 1) + "=="
    for odd in (None, 1, "", unpadded, again, signature + "\n", base64.urlsafe_b64encode(b"\xff" * 64).decode()):
        assert not public.verifies(odd, CONTEXT, FIELDS)


@pytest.mark.parametrize(
    "value", [1.5, float("nan"), Decimal("1.5"), 2**53, -(2**53), "\ud800", b"x", {1}, {"é": 1}, MappingProxyType({})]
)
def test_what_not_every_language_writes_alike_is_not_signed(key: PrivateKey, value: object) -> None:
    with pytest.raises(SigningError):
        key.sign(CONTEXT, {"value": value})


def test_what_is_nested_too_deeply_is_not_signed(key: PrivateKey) -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(SigningError):
        key.sign(CONTEXT, {"value": value})


def test_a_key_file_holds_a_key_and_repr_shows_none(key: PrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "payroll.key"
    path.write_text(key.to_file_text(), encoding="utf-8")
    read = PrivateKey.from_file(path)
    assert (read.by, read.kid) == ("payroll", "2026-11")
    assert PublicKey.from_text(key.public().to_text()).verifies(read.sign(CONTEXT, FIELDS), CONTEXT, FIELDS)
    private = key.to_file_text().partition("ed25519:")[2].strip('"\n')
    assert private not in repr(read)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "by =",
        'by = "payroll"\nkid = "1"\n',
        'by = "Payroll"\nkid = "1"\nprivate = "ed25519:AAAA"\n',
        "\x00",
        "é" * 9,
    ],
)
def test_a_file_without_a_key_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "payroll.key"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(SigningError) as refused:
        PrivateKey.from_file(path)
    assert "AAAA" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match=r"no\.key can't be read"):
        PrivateKey.from_file(tmp_path / "no.key")


@pytest.mark.parametrize("text", [None, "", "ed25519:", "ed25519:AAAA", "rsa:" + "A" * 44, "ed25519:" + "A" * 43])
def test_what_is_no_public_key_is_refused(text: object) -> None:
    with pytest.raises(SigningError):
        PublicKey.from_text(text)
