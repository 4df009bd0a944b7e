"""What a withdrawal policy says about one withdrawal."""

from collections.abc import Mapping
from dataclasses import dataclass

from producers.signing import PublicKey
from worker.ledger.base import Limit


@dataclass(frozen=True, slots=True)
class Approval:
    """The persons who must agree before a withdrawal is sent."""

    rule: str
    """The name of the rule that asks for it."""
    approvers: Mapping[str, PublicKey]
    """Who may approve, by name."""
    needed: int = 1
    """How many different persons, none of whom sealed the command."""
    hold_ms: int = 2 * 3_600_000
    """How long the command is held; then it ends as ``not_sent/expired``."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a withdrawal may be sent, and under which limits and approvals."""

    denied: str = ""
    """Why it must not be sent, with the rule's name; empty when it may."""
    limits: tuple[Limit, ...] = ()
    approvals: tuple[Approval, ...] = ()
    """Each of them is needed."""


PERMITTED = Ruling()
