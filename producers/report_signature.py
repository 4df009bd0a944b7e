"""Signatures of reports: a producer that has the workers' public keys believes only what one of them has said.

The field ``signature`` of a report, ``{"by", "kid", "sig"}``, holds the Ed25519 signature (:mod:`producers.signing`) of
``{"by", "kid", "report"}``, where ``report`` is the SHA-256 (hex) of all other fields as JSON: keys sorted, no spaces,
UTF-8, and numbers with the digits that they have in the message. So it covers what the venue has answered, whose
numbers are no texts.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from producers import exact_json
from producers.signing import NAME, PrivateKey, PublicKey, SigningError

CONTEXT = "orders-report-v1"
"""What the signature of a report is about, see :mod:`producers.signing`."""
FIELD = "signature"
"""The report's field that holds its signature, the only one that is not signed."""


def sign_report(report: Mapping[str, Any], private_key: PrivateKey) -> dict[str, Any]:
    """The same report, signed. It must not be changed afterwards, in any field.

    Raises:
        SigningError: it holds what JSON has no type for, or is nested too deeply.
    """
    fields = _signed_fields(private_key.by, private_key.kid, _text(report))
    sig = private_key.sign(CONTEXT, fields)
    return {**report, FIELD: {"by": private_key.by, "kid": private_key.kid, "sig": sig}}


class ReportKeys:
    """The public keys of the workers whose reports are believed."""

    def __init__(self, text: str) -> None:
        """Keys as ``ORDERS_REPORT_KEYS`` holds them: ``worker/2026-11=ed25519:…``, separated by commas.

        Raises:
            SigningError: an entry is not such a key, or two have one name.
        """
        self._keys: dict[tuple[str, str], PublicKey] = {}
        for number, entry in enumerate(text.split(","), 1):
            parts = re.fullmatch(rf"\s*({NAME})/({NAME})=(\S+)\s*", entry)
            if parts is None:
                raise SigningError(f"entry {number} does not look like worker/2026-11=ed25519:…")
            if (parts[1], parts[2]) in self._keys:
                raise SigningError(f"entry {number} is a second key of the name {parts[1]}/{parts[2]}")
            try:
                self._keys[parts[1], parts[2]] = PublicKey.from_text(parts[3])
            except SigningError as error:
                raise SigningError(f"entry {number}: {error}") from None

    def verified(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """The report, read from the very text that is signed.

        ``report`` is as :mod:`producers.exact_json` reads it. A name that occurs twice in it with different values was
        not signed so, and does not verify.

        Raises:
            SigningError: none of the keys has signed this report; the text says why, and quotes nothing of it.
        """
        signature = report.get(FIELD)
        if signature is None:
            raise SigningError("it is not signed")
        if not isinstance(signature, dict) or signature.keys() != {"by", "kid", "sig"}:
            raise SigningError("its signature is not an object with exactly by, kid and sig")
        by, kid = signature["by"], signature["kid"]
        key = self._keys.get((by, kid)) if isinstance(by, str) and isinstance(kid, str) else None
        if key is None:
            raise SigningError("it is signed with a key that ORDERS_REPORT_KEYS does not have")
        text = _text(report)
        if not key.verifies(signature["sig"], CONTEXT, _signed_fields(by, kid, text)):
            raise SigningError("its signature is not the one of this report")
        read: dict[str, Any] = json.loads(text)
        return {**read, FIELD: signature}


def _signed_fields(by: str, kid: str, text: str) -> dict[str, Any]:
    return {"by": by, "kid": kid, "report": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()}


def _text(report: Mapping[str, Any]) -> str:
    unsigned = {name: value for name, value in report.items() if name != FIELD}
    try:
        return exact_json.dumps(unsigned, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        raise SigningError("it holds what JSON has no type for, or is nested too deeply") from None
