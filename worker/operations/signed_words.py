"""Operators' words, signed: who halted, resumed or resolved something is proven by their key, not by a name they give.

What is signed, in the context ``orders-operator-v1``, is ``{event, id, scope, who, why, at, outcome, reference}``:
texts that are empty where they do not apply, and ``at`` in UNIX ms. The journal keeps ``at`` (as ``signed_at``),
``kid`` and ``sig`` with the word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from producers.signing import PrivateKey
from worker.ledger.base import Halted
from worker.ledger.halts import HaltScope
from worker.public_keys import PublicKeys

CONTEXT = "orders-operator-v1"
EVENTS = ("halt", "resume", "resolve", "policy", "dead_resend", "dead_drop")
"""Events of the journal that are the word of a person."""
DECISIONS = ("approved", "denied")
"""Events of decisions on held commands: their signatures are in the command's record."""
SAME_TIME_MS = 600_000
"""A word is written within this time of its signature: a signature that was copied to a later word proves nothing."""


@dataclass(frozen=True, slots=True)
class Word:
    """What an operator said."""

    event: str
    who: str
    why: str
    at: int
    """UNIX ms, on the clock of the operator's machine."""
    id: str = ""
    """Of the command that it is about."""
    scope: str = ""
    """Of a halt, ``<account or *>/<command or *>``; of a dead letter, its queue."""
    outcome: str = ""
    reference: str = ""
    """The venue's id of the command that was executed; of a policy, its SHA-256; of a dead letter, its digest."""

    def fields(self) -> dict[str, Any]:
        """The object that is signed."""
        return {
            "event": self.event,
            "id": self.id,
            "scope": self.scope,
            "who": self.who,
            "why": self.why,
            "at": self.at,
            "outcome": self.outcome,
            "reference": self.reference,
        }

    def signed(self, key: PrivateKey | None) -> dict[str, str]:
        """The fields that the journal's entry needs beside those of the word; none without a key."""
        if key is None:
            return {}
        reference = {"reference": self.reference} if self.reference else {}
        return {**reference, "signed_at": str(self.at), "kid": key.kid, "sig": key.sign(CONTEXT, self.fields())}


def verdict(word: Word, kid: str, sig: str, keys: PublicKeys | None, written_ms: int) -> str:
    """Whose word it is: ``signed by NAME``, ``unsigned``, ``BAD SIGNATURE`` and why, or ``signature not checked`` where
    no public keys are known. ``written_ms`` is when it was put on record, UNIX ms."""
    if not sig:
        return "unsigned"
    if keys is None:
        return "signature not checked (ORDERS_AUTH__KEYS_FILE names no public keys here)"
    trusted = keys.operator_key(word.who, kid)
    if trusted is None:
        return "BAD SIGNATURE (by an unknown key)"
    if not trusted.key.verifies(sig, CONTEXT, word.fields()):
        return "BAD SIGNATURE"
    if not trusted.valid_at(word.at):
        return "BAD SIGNATURE (the key had expired)"
    if abs(written_ms - word.at) > SAME_TIME_MS:
        return "BAD SIGNATURE (of another time)"
    return f"signed by {word.who}"


def halt_word(scope: HaltScope, halt: Halted) -> Word:
    """What its operator said by a halt."""
    return Word("halt", halt.who, halt.why, halt.at, scope=scope.field)


def halt_verdict(scope: HaltScope, halt: Halted, keys: PublicKeys | None) -> str:
    """Whose word a halt is, see :func:`verdict`."""
    return verdict(halt_word(scope, halt), halt.kid, halt.sig, keys, halt.at)


def entry_verdict(fields: Mapping[str, str], keys: PublicKeys | None, written_ms: int) -> str:
    """The verdict on an entry of the journal; empty for one that is no person's word."""
    if fields.get("event") in DECISIONS:
        return "proven by the signed decision in the record, which workers verify, and not by this entry"
    if fields.get("event") not in EVENTS or fields.get("who") == RECONCILE:
        return ""
    at = fields.get("signed_at", "")
    word = Word(
        event=fields["event"],
        who=fields.get("who", ""),
        why=fields.get("why", ""),
        at=int(at) if at.isdecimal() and at.isascii() and len(at) < 16 else 0,
        id=fields.get("id", ""),
        scope=fields.get("scope", ""),
        outcome=fields.get("outcome", ""),
        reference=fields.get("reference", "") or fields.get("sha256", ""),
    )
    return verdict(word, fields.get("kid", ""), fields.get("sig", ""), keys, written_ms)


RECONCILE = "reconcile"
"""Who settles an unknown by the venue's record: no person."""


def shortened(sig: str) -> str:
    """The beginning of a signature, to recognise it by."""
    return f"{sig[:8]}…" if sig else ""
