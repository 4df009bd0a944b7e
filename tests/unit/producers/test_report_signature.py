"""Signatures of reports: every field and every digit is covered, and only known keys count."""

import json
from decimal import Decimal
from typing import Any

import pytest

from producers import exact_json, message_json
from producers.report import Report, report_from_result
from producers.report_signature import ReportKeys, sign_report
from producers.signing import PrivateKey, SigningError
from tests.support.signing_keys import fixed_key

KEY, NEXT = fixed_key("worker"), fixed_key("worker", "2026-12")
KEYS = ReportKeys(", ".join(f"worker/{key.kid}={key.public().to_text()}" for key in (KEY, NEXT)))
RESULT = {
    "id": 2**70,
    "filled": Decimal("284578000.00000004"),
    "price": 0.1,
    "text": "é\u2028\ud800",
    "deep": [[1.5e-7]],
}
REPORT = Report(
    command_id="payroll.1",
    command="withdraw",
    account="main",
    outcome="unknown",
    reason="lost_reply",
    message="no answer",
    fingerprint="f" * 64,
    finished_at=1_700_000_000_000,
).to_json()
REPORT["result"] = RESULT


def stored(report: dict[str, Any]) -> Any:
    """The report as it is read in the result that Celery stores."""
    return exact_json.loads(message_json.dumps(report))


def verifies(report: Any, keys: ReportKeys = KEYS) -> bool:
    try:
        keys.verified(report)
    except SigningError:
        return False
    return True


@pytest.mark.parametrize("key", [KEY, NEXT], ids=["this key", "the next"])
def test_a_signed_report_verifies_once_it_was_stored(key: PrivateKey) -> None:
    signed = stored(sign_report(REPORT, key))
    read = KEYS.verified(dict(reversed(signed.items())))
    assert read == {**json.loads(message_json.dumps(REPORT)), "signature": signed["signature"]}
    assert Report.model_validate(read).signature is not None


def test_every_field_is_covered() -> None:
    """Also ``replayed``, a field that this package does not know, and one that is left out."""
    signed = stored(sign_report({**REPORT, "of_a_newer_worker": 1}, KEY))
    assert verifies(signed)
    for name in signed:
        assert not verifies({**signed, name: "changed"}), name
        assert not verifies({other: signed[other] for other in signed if other != name}), name
    assert not verifies({**signed, "replayed": True})
    assert not verifies({**signed, "more": None})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("284578000.00000004", "284578000.00000006"),
        ("284578000.00000004", "284578000.000000040"),
        ("284578000.00000004", "284578000.00000003"),
        (": 0.1", ": 0.10000000000000001"),
        (": 0.1", ': "0.1"'),
        (": 0.1", ": 1"),
        (str(2**70), str(2**70 + 1)),
        (str(2**70), f"{2**70}.0"),
        ("1.5e-07", "1.5e-08"),
        ("\\u00e9", "e\\u0301"),
        ('"replayed": false', '"replayed": true'),
        ('"replayed": false', '"replayed": 0'),
        ('"outcome": "unknown"', '"outcome": "accepted", "outcome": "unknown"'),
        ('"outcome": "unknown"', '"outcome": "unknown", "outcome": "accepted"'),
    ],
)
def test_no_digit_can_change(old: str, new: str) -> None:
    text = message_json.dumps(sign_report(REPORT, KEY))
    assert text.count(old) == 1
    assert verifies(exact_json.loads(text))
    assert not verifies(exact_json.loads(text.replace(old, new)))


def test_a_name_with_two_values_is_read_as_it_was_signed() -> None:
    """Their list is not what was signed, or it was, and then no reader takes one of them for the value."""
    text = message_json.dumps(sign_report({**REPORT, "result": [1, 2]}, KEY))
    twice = exact_json.loads(text.replace('"result": [1, 2]', '"result": 1, "result": 2'))
    assert KEYS.verified(twice)["result"] == [1, 2]


SIGNED = sign_report({"command_id": "1"}, KEY)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        [],
        {},
        SIGNED["signature"]["sig"],
        {**SIGNED["signature"], "alg": "none"},
        {**SIGNED["signature"], "kid": "2026-12"},
        {**SIGNED["signature"], "kid": ["2026-11"]},
        {**SIGNED["signature"], "by": "desk"},
        {**SIGNED["signature"], "sig": KEY.sign("orders-command-v1", {"command_id": "1"})},
        {**SIGNED["signature"], "sig": None},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_signature_of_a_known_key_is_refused_without_quoting_it(signature: object) -> None:
    assert verifies(SIGNED)
    with pytest.raises(SigningError) as refused:
        KEYS.verified({**SIGNED, "signature": signature})
    assert "desk" not in str(refused.value)


def test_a_report_cannot_be_signed_that_json_cannot_hold() -> None:
    for value in (b"x", Decimal("NaN"), {1, 2}):
        with pytest.raises(SigningError):
            sign_report({**REPORT, "result": value}, KEY)


def test_a_replay_loses_the_signature_of_the_first_report() -> None:
    first = Report.model_validate(sign_report({**REPORT, "result": None}, KEY))
    assert first.as_replay().signature is None


def test_the_outcome_must_still_be_the_one_that_it_is_stored_with() -> None:
    """Celery's state and the exception around a report are not signed: they may not say more than it does."""
    signed = sign_report({**REPORT, "result": None}, KEY)
    failure = {"status": "FAILURE", "result": {"exc_type": "OrderUnknown", "exc_message": [signed]}}
    assert report_from_result(failure, KEYS.verified) is not None
    failure["result"]["exc_type"] = "OrderNotSent"  # type: ignore[index]
    assert report_from_result(failure, KEYS.verified) is None
    assert report_from_result({"status": "SUCCESS", "result": signed}, KEYS.verified) is None


PUBLIC = KEY.public().to_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "entry 1 does not look like"),
        (PUBLIC, "entry 1 does not look like"),
        (f"worker={PUBLIC}", "entry 1 does not look like"),
        (f"worker/1={PUBLIC},", "entry 2 does not look like"),
        (f"worker/1={PUBLIC},worker/2=ed25519:AAAA", "entry 2: it is not base64 of 32 bytes"),
        (f"worker/1={PUBLIC},worker/1={PUBLIC}", "entry 2 is a second key"),
        (f"Worker/1={PUBLIC}", "entry 1 does not look like"),
    ],
)
def test_keys_that_cannot_be_read_are_named_by_their_place(text: str, reason: str) -> None:
    with pytest.raises(SigningError, match=reason):
        ReportKeys(text)
