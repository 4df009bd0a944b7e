"""The contract's table of retries: from a command and a verdict to whether it may be sent again, or how it ends.

Nothing else decides this after an attempt. The rows of the table are the venue's part: an attempt that was never sent,
a listed response and every other response become a :class:`Proof` there. The columns, by command, are applied here. The
last row, a worker that died with a send begun, is the ledger's: it takes over what is ``repeatable``
(``transitions.lua``)."""

from enum import StrEnum

from producers.commands import Command
from worker.venues.base import Proof


class Decision(StrEnum):
    """What to do after an attempt. The values are labels of a metric."""

    ACCEPT = "accept"
    REJECT = "reject"
    RETRY = "again"
    """Send again: this attempt is proven not executed."""
    RETRY_IN_DOUBT = "again_tainted"
    """Send again, because executing twice has the effect of once. The command stays in doubt: this attempt may have
    been executed."""
    UNKNOWN = "unknown"
    """Never send again."""

    @property
    def may_retry(self) -> bool:
        """Whether the command may be sent again."""
        return self in (Decision.RETRY, Decision.RETRY_IN_DOUBT)


def decide(command: Command, proof: Proof) -> Decision:
    """The cell of the table for this command and what its attempt proves."""
    if proof is Proof.EXECUTED:
        return Decision.ACCEPT
    if proof is Proof.REFUSED:
        return Decision.REJECT
    if proof is Proof.NOT_EXECUTED:
        return Decision.RETRY
    return Decision.RETRY_IN_DOUBT if command.repeatable else Decision.UNKNOWN
