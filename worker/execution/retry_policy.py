"""The contract's table of retries: from a command and a verdict to whether it may be sent again, or how it ends.

Nothing else decides this after an attempt. The rows of the table are the venue's part: an attempt that was never sent,
a listed response and every other response become a :class:`Proof` there. The columns, by command, are applied here. The
last row, a worker that died with a send begun, is the ledger's: it takes over what is ``repeatable``, and what can be
looked for at its venue (``transitions.lua``)."""

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
    LOOK = "look"
    """Look for it at the venue: what is found there decides, or a proof that it never arrived
    (:mod:`worker.execution.looking`)."""
    UNKNOWN = "unknown"
    """Never send again."""

    @property
    def may_retry(self) -> bool:
        """Whether the command may be sent again."""
        return self in (Decision.RETRY, Decision.RETRY_IN_DOUBT)

    @property
    def leaves_doubt(self) -> bool:
        """Whether the attempt may have been executed."""
        return self in (Decision.RETRY_IN_DOUBT, Decision.LOOK, Decision.UNKNOWN)


def decide(command: Command, proof: Proof, *, lookable: bool = False) -> Decision:
    """The cell of the table for this command and what its attempt proves. ``lookable`` says whether a look at the venue
    finds every attempt of the command."""
    if proof is Proof.EXECUTED:
        return Decision.ACCEPT
    if proof is Proof.REFUSED:
        return Decision.REJECT
    if proof is Proof.NOT_EXECUTED:
        return Decision.RETRY
    if command.repeatable and proof is not Proof.SEEN:
        return Decision.RETRY_IN_DOUBT
    return Decision.LOOK if lookable else Decision.UNKNOWN
