"""No key and no signature remains in a response, in whatever encoding the venue repeats it."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from producers.commands import Positions, Withdraw
from worker.venues.accounts import Account, Credentials
from worker.venues.base import Plan
from worker.venues.bitz import Bitz
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import Response, SignedRequest
from worker.venues.json_values import UNREADABLE, read_json
from worker.venues.response_redaction import SHORTEST_SECRET, Secrets, redact_response, secrets_among, secrets_of
from worker.venues.secret_encodings import normalise, without_separators

KEY = "mZ4qT9/w+LpXc7RfKd2Hn8Vb3Ys6Jg1Ue0At5Oi=QkEwPz.M_Bx-"
SECRETS = secrets_among([KEY])

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "lower case": str.lower,
    "upper case": str.upper,
    "swapped case": str.swapcase,
    "per cent": lambda key: quote(key, safe=""),
    "per cent in lower case": lambda key: quote(key, safe="").lower(),
    "per cent twice": lambda key: quote(quote(key, safe=""), safe=""),
    "per cent for every letter": lambda key: "".join(f"%{ord(letter):02x}" for letter in key),
    "code points": lambda key: "".join(f"\\u{ord(letter):04X}" for letter in key),
    "code points in text": lambda key: "".join(f"\\\\u{ord(letter):04x}" for letter in key),
    "slashes": lambda key: key.replace("/", "\\/"),
    "numbers of HTML": lambda key: "".join(f"&#{ord(letter)};" for letter in key),
    "hexadecimal numbers of HTML": lambda key: "".join(f"&#x{ord(letter):X};" for letter in key),
    "names of HTML": lambda key: html.escape(key).replace("/", "&sol;").replace("+", "&plus;").replace("=", "&equals;"),
    "HTML in per cent": lambda key: quote("".join(f"&#{ord(letter)};" for letter in key), safe=""),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(key.encode()).decode(),
    "base64 behind one byte": lambda key: base64.b64encode(b":" + key.encode()).decode(),
    "base64 behind two bytes": lambda key: base64.b64encode(b"a:" + key.encode() + b":").decode(),
    "hex": lambda key: key.encode().hex(),
    "HEX": lambda key: key.encode().hex().upper(),
    "two lines": lambda key: f"{key[:20]}\r\n\t{key[20:]}",
    "a blank between two letters": " ".join,
    "nothing that is seen between two letters": "\u200b".join,
    "backwards": lambda key: key[::-1],
    "base64 backwards": lambda key: base64.b64encode(key.encode()).decode()[::-1],
    **{f"groups with {mark}": lambda key, mark=mark: re.sub("(.{4})", rf"\1{mark}", key) for mark in ("-", ":", ", ")},
    "octets": lambda key: key.encode().hex(":"),
    "letters alone": lambda key: re.sub("[^A-Za-z0-9]", "", key),
    "halves": lambda key: f'"{key[:26]}", "{key[26:]}"',
}


@pytest.mark.parametrize("way", ENCODINGS)
def test_a_secret_is_redacted_in_every_encoding(way: str) -> None:
    """A venue may repeat a key in an encoding of its own."""
    shown = SECRETS.redact_text(f"unknown key {ENCODINGS[way](KEY)} of yours")
    assert shown.startswith("unknown key ")
    assert shown.endswith(" of yours")
    assert "***" in shown
    assert len(shown) < len("unknown key  of yours") + 20, shown


@given(st.text(st.characters(categories=("L", "N", "P", "S"), max_codepoint=0x2FF), max_size=30), st.integers(0, 40))
def test_a_part_of_a_secret_is_redacted(before: str, at: int) -> None:
    """Any twelve characters in a row, and eight where the text may have been cut."""
    assert KEY[at : at + 12] not in SECRETS.redact_text(f"{before}{KEY[at : at + 12]}{before}")
    for text in (f"{before} {KEY[:8]}", f"{KEY[-8:]} {before}", f"{before} {KEY[:8]}… {before}", f"no '{KEY[:8]}'"):
        shown = SECRETS.redact_text(text)
        assert KEY[:8] not in shown
        assert KEY[-8:] not in shown


@pytest.mark.parametrize("size", [8, 9, 11, 12, 20])
def test_a_secret_in_pieces_is_redacted(size: int) -> None:
    """As a list of parts that are too long to be equal by chance."""
    pieces = [KEY[at : at + size] for at in range(0, len(KEY) - len(KEY) % size, size)]
    assert SECRETS.redact_text(json.dumps(pieces)) == json.dumps(["***"] * len(pieces))
    assert SECRETS.redact_json(pieces) == ["***"] * len(pieces)
    response = redact_response(Response(200, json.dumps({"code": 200, "result": pieces}).encode()), SECRETS)
    assert read_json(response.body)["result"] == ["***"] * len(pieces)


@pytest.mark.parametrize(
    "text",
    [
        "The order was not found",
        "a" * 100,
        "",
        "%%%",
        "\\u12",
        "&;&#;&#x;",
        KEY[:7],
        f"a{KEY[20:31]}b",
        KEY.encode().hex()[20:28],
        "0" * 10_000,
        "…",
        "\\",
    ],
)
def test_text_without_a_secret_is_not_changed(text: str) -> None:
    """A response that is redacted needlessly would prove less."""
    assert SECRETS.redact_text(text) == text


@given(st.text(), st.text(min_size=SHORTEST_SECRET))
def test_any_key_is_redacted_without_an_error(text: str, key: str) -> None:
    """Whatever the text and the key are."""
    secrets = secrets_among([key])
    shown = secrets.redact_text(f"{text}|{key}|")
    assert isinstance(shown, str)
    if len("".join(key.split())) >= 40 and key.isascii() and key.isprintable():
        assert key not in shown


class Thorough(Secrets):
    """Searches every text, also those that can't have a secret."""

    def _may_be_in(self, text: str) -> bool:
        return True


BODY = "pair=USD_BTC_PERP&qty=0.5"
SIGNATURE = base64.b64encode(hashlib.sha256(BODY.encode()).digest()).decode()
SEARCHED = [KEY, 'abc"def"ghi"jklm', "abc'def'ghi'jklm", "0123456789ab", "short-key", "x...y**z…0123456789", "a-key"]
BETWEEN = st.text("xyz", max_size=9)
MARKS = st.sampled_from(["", '"', "'", "...", "**", "…", "-", " ", "é", "%22", "\\n", "&quot;"])


@given(st.sampled_from(SEARCHED), st.data())
@settings(max_examples=1000)
def test_a_text_is_passed_over_only_if_no_search_finds_a_secret(key: str, data: st.DataObject) -> None:
    """Almost every text is passed over before it is searched. Here it has a part of a secret of any length, anywhere,
    mostly so short that it just counts."""
    secrets = secrets_among([key], [SIGNATURE], [BODY])
    thorough = Thorough(secrets.keys, secrets.parts, secrets.signatures, secrets.wholes)
    secret = data.draw(st.sampled_from([key, key.encode().hex(), SIGNATURE, BODY]))
    size = data.draw(st.sampled_from([7, 8, 9, 11, 12, 13, len(secret)]))
    start = data.draw(st.sampled_from([0, max(0, len(secret) - size)]) | st.integers(0, len(secret)))
    part = secret[start : start + size]
    text = "".join(data.draw(st.tuples(BETWEEN, MARKS, BETWEEN, MARKS, st.just(part), MARKS, BETWEEN, MARKS, BETWEEN)))
    assert secrets.occur_in(text) == thorough.occur_in(text)


@given(st.text(st.characters(max_codepoint=0x7F)))
@example("".join(map(chr, range(0x80))))
def test_ascii_is_normalised_as_every_other_text(text: str) -> None:
    """It has a faster way of its own."""
    assert normalise(text) + "é" == normalise(f"{text}é")
    assert without_separators(text) + "é" == without_separators(f"{text}é")


def test_names_and_numbers_are_redacted_as_well() -> None:
    """No field is lost if two names are equal after that."""
    secrets = secrets_among([KEY, "1234567890123456", "98765432"])
    value = {KEY: 1, KEY.lower(): [KEY], "n": 1234567890123456, "d": Decimal("12345678901234.5"), "m": 98765432}
    value |= {"id": 12345678, "at": 1234567890}
    shown = secrets.redact_json({**value, "code": 200, "yes": True, "no": None})
    assert shown == {
        "id": 12345678,
        "at": 1234567890,
        "***": 1,
        "****": ["***"],
        **dict.fromkeys(("n", "d", "m"), "***"),
        "code": 200,
        "yes": True,
        "no": None,
    }


def test_keys_of_fewer_than_eight_characters_are_not_redacted() -> None:
    """Redacting a key such as `key` would mutilate every response."""
    assert secrets_among(["key", "1234567", " k e y "]) == Secrets()


def test_secrets_are_in_no_representation() -> None:
    """So they are in no traceback with local variables."""
    assert repr(SECRETS) == "Secrets()"
    assert repr(SECRETS | secrets_among(["another-key"])) == "Secrets()"


ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials(KEY, "s3cr3t-of-main-0123456789"))
BITZ = Account("bz", "bitz", "https://venue.test", Credentials("a+key of Bit-Z!", "s3cr3t-of-bz-0123456789"))


def requests_made() -> list[tuple[SignedRequest, Account]]:
    """A request of each kind, with its account."""
    withdraw = Withdraw(account="main", asset="ETH", qty=Decimal(1), address="0xabc/é")
    return [
        (Everstrike().request(Plan(withdraw, ACCOUNT), 1), ACCOUNT),
        (Everstrike().request(Plan(Positions(account="main"), ACCOUNT), 1), ACCOUNT),
        (Bitz().request(Plan(Positions(account="bz", contract_id=101), BITZ), 1), BITZ),
    ]


@pytest.mark.parametrize(("request_", "account"), requests_made(), ids=["withdraw", "positions", "Bit-Z"])
@pytest.mark.parametrize("way", ["plain", "per cent", "code points", "hex", "halves"])
def test_every_secret_of_a_request_is_known(request_: SignedRequest, account: Account, way: str) -> None:
    """The keys, the signature in a header or in the form, and the signed body."""
    body = (request_.body or b"").decode()
    form = dict(each.split("=", 1) for each in body.split("&")) if body else {}
    secrets = [account.credentials.api_key, account.credentials.secret_key]
    secrets += [request_.headers.get("x-signature", ""), form.get("sign", "")]
    shown = secrets_of(request_, account)
    signature = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    for written in (signature, signature.replace("+", "-").replace("/", "_")):
        assert secrets_among([], [signature]).redact_text(f"expected {written}") == "expected ***"
    for secret in filter(None, [*secrets, body if way in ("plain", "per cent") else ""]):
        assert shown.redact_text(f"you said {ENCODINGS[way](secret)}").count("*") >= 3, secret


def test_every_secret_of_an_account_is_known() -> None:
    """Those of exchanges of ccxt as well; an order may be in the query of a POST; a time is no secret."""
    further = {name: f"a-secret-of-{name}" for name in ("passphrase", "uid", "wallet_address", "private_key")}
    account = Account("o", "ccxt:okx", "https://x", Credentials("the-api-key", "the-secret-key", **further))
    assert not [each for each in (*further.values(), "the-api-key", "the-secret-key") if each in repr(account)]
    times = {"OK-ACCESS-TIMESTAMP": "2026-11-26T14:42:01.123Z", "expTime": "1795700000000"}
    headers = {"OK-ACCESS-SIGN": "5ubU0b+V5wk6Ek3zUe6i", **times}
    request = SignedRequest("POST", "https://x/api/v3/sendorder?cliOrdId=0123456789ab&size=1", headers, b"")
    secrets = secrets_of(request, account)
    for secret in (*further.values(), headers["OK-ACCESS-SIGN"], "cliOrdId=0123456789ab&size=1"):
        assert secrets.redact_text(f"you said {secret}") == "you said ***"
    for shown in (*times.values(), "0123456789ab"):
        assert secrets.redact_text(f"at {shown}") == f"at {shown}"


def test_a_response_is_redacted_completely() -> None:
    """In its body, names, numbers and headers; all other digits stay as they are."""
    body = b'{"code":"%s","qty":284578000.00000004,"big":1E+400,"%s":[1]}' % (KEY.encode(), KEY.encode())
    response = redact_response(Response(200, body, {"Retry-After": KEY, KEY: "x", "Date": "now"}), SECRETS)
    expected = {"code": "***", "qty": Decimal("284578000.00000004"), "big": Decimal("1E+400"), "***": [1]}
    assert read_json(response.body) == expected
    assert dict(response.headers) == {"Retry-After": "***", "***": "x", "Date": "now"}


def test_a_response_without_a_secret_keeps_its_bytes() -> None:
    """They are the evidence."""
    body = b' {"code" : 200, "x": 1.50, "u": "\\ud83d"}'
    assert redact_response(Response(200, body), SECRETS).body is body


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_secret_is_redacted_in_every_character_encoding(encoding: str) -> None:
    """JSON parsers detect the encoding themselves."""
    response = redact_response(Response(200, json.dumps({"code": 200, "msg": KEY}).encode(encoding)), SECRETS)
    assert read_json(response.body) == {"code": 200, "msg": "***"}


@pytest.mark.parametrize(
    "body",
    [
        b"<html>%s</html>" % KEY.encode(),
        b'{"code":200,"msg":"%s","msg":"%s"}' % (KEY.encode(), KEY.lower().encode()),
        b'{"code":200,"msg":%s}' % KEY.encode(),
        b"\xff" + KEY.encode(),
    ],
)
def test_an_unreadable_body_stays_unreadable_and_is_redacted(body: bytes) -> None:
    """An object with two different values of a name must not become readable because both are redacted."""
    assert read_json(body) is UNREADABLE
    response = redact_response(Response(200, body), SECRETS)
    assert read_json(response.body) is UNREADABLE
    assert KEY.lower().encode() not in response.body.lower()


def test_of_a_long_body_with_a_secret_nothing_is_kept() -> None:
    """To redact a mebibyte takes seconds, and 300 MB; a venue that has the secret could ask for that with each
    response."""
    texts = ["x" * 40_000, "x" * 66_000]
    short, long = (redact_response(Response(200, json.dumps({"msg": [KEY, each]}).encode()), SECRETS) for each in texts)
    assert read_json(short.body) == {"msg": ["***", texts[0]]}
    assert read_json(long.body) is UNREADABLE
    assert len(long.body) < 100


def test_an_echo_of_the_signed_form_is_redacted() -> None:
    """It is redacted only as a whole."""
    request, account = requests_made()[0]
    assert isinstance(request.body, bytes)
    echo = json.dumps(
        {"code": 400, "msg": f"Bad request: {request.body.decode()}", "result": {"q": urlencode({"a": "b"})}}
    ).encode()
    assert read_json(redact_response(Response(400, echo), secrets_of(request, account)).body) == {
        "code": 400,
        "msg": "Bad request: ***",
        "result": {"q": "a=b"},
    }
