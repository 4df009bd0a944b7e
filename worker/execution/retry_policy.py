"""The contract's matrix: command and verdict -> may it be sent again, or how does it end?

One function and nothing else decides this after an attempt. The rows of the contract are the venue's part: an attempt
that never left, a listed answer and all that is not listed become a :class:`Proof` there. Here the columns are applied.
The last row, a worker that died with a send begun, is the ledger's: it takes over what is ``repeatable``
(``transitions.lua``).
"""

from enum import StrEnum

from producers.commands import Command
from worker.venues.base import Proof


class Decision(StrEnum):
    """What to do after an attempt."""

    ACCEPT = "accept"
    REJECT = "reject"
    RETRY = "again"
    """Send again: this attempt is proven not executed."""
    RETRY_IN_DOUBT = "again_tainted"
    """Send again: executing twice has the effect of once. That this attempt may have been executed is remembered."""
    UNKNOWN = "unknown"
    """Never send again."""

    @property
    def may_retry(self) -> bool:
        """Whether the command may be sent again."""
        return self in (Decision.RETRY, Decision.RETRY_IN_DOUBT)


def decide(command: Command, proof: Proof) -> Decision:
    """The cell of the matrix for this command and what its attempt proves."""
    if proof is Proof.EXECUTED:
        return Decision.ACCEPT
    if proof is Proof.REFUSED:
        return Decision.REJECT
    if proof is Proof.NOT_EXECUTED:
        return Decision.RETRY
    return Decision.RETRY_IN_DOUBT if command.repeatable else Decision.UNKNOWN
