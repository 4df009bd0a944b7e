"""What a person decides about a command that is held: signed, so that no server and no worker has to be believed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from producers.signing import PrivateKey, PublicKey

CONTEXT = "orders-approval-v1"
MAX_DECISION_CHARACTERS = 4096
APPROVE, DENY = "approve", "deny"


@dataclass(frozen=True, slots=True)
class Decision:
    """One person's word on one command."""

    command_id: str
    fingerprint: str
    """Of the command's task and arguments: an approval of one amount and address is none of another."""
    who: str
    until: int
    """UNIX ms: it counts for nothing afterwards."""
    decision: str
    """:data:`APPROVE` or :data:`DENY`."""
    reason: str = ""

    @property
    def approves(self) -> bool:
        """Whether it is an approval."""
        return self.decision == APPROVE

    def fields(self) -> dict[str, Any]:
        """The object that is signed."""
        named = {"id": self.command_id, "fingerprint": self.fingerprint, "who": self.who, "until": self.until}
        return {**named, "decision": self.decision, "reason": self.reason}

    def signed(self, key: PrivateKey) -> str:
        """The decision with its signature, as the ledger stores it.

        Raises:
            SigningError: a text in it is not Unicode.
        """
        return json.dumps({**self.fields(), "kid": key.kid, "sig": key.sign(CONTEXT, self.fields())})


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as it was read from the ledger, which anybody with a worker's login may have written."""

    decision: Decision
    signature: object

    def verifies(self, key: PublicKey) -> bool:
        """Whether the owner of this key has signed it."""
        return key.verifies(self.signature, CONTEXT, self.decision.fields())


def read_decision(stored: str) -> StoredDecision | None:
    """A stored decision; None for whatever is none."""
    if len(stored) > MAX_DECISION_CHARACTERS:
        return None
    try:
        fields = json.loads(stored)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, Mapping):
        return None
    texts = [fields.get(name) for name in ("id", "fingerprint", "who", "decision", "reason")]
    until = fields.get("until")
    if not all(isinstance(each, str) for each in texts) or type(until) is not int:
        return None
    command_id, fingerprint, who, decision, reason = (str(each) for each in texts)
    if decision not in (APPROVE, DENY):
        return None
    return StoredDecision(Decision(command_id, fingerprint, who, until, decision, reason), fields.get("sig"))
