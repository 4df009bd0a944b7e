"""What stands beside a command's record: the result that is stored under its id, and the message that brought it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from producers.report import Report


@dataclass(frozen=True, slots=True)
class Known:
    """The answer to a claim that heeds results, when a result is stored under its id, and the ledger has no record of
    it or one that says that nothing of it was ever begun: nothing was begun now either. A query has no record."""

    result: bytes
    """As Celery's backend stores it, and of a bounded length."""


@dataclass(slots=True)
class Following:
    """What follows the end of a command: its result is stored, then its message is acknowledged. Where one server has
    the ledger, the results and the messages, both happen in the step that settles the command. Whoever made this object
    reads from it how far that came, and does the rest by calls of its own."""

    store: Callable[[Report], Sequence[object]]
    """Makes the arguments that store a report (``store_result.lua``)."""
    ack: Callable[[Report], Sequence[object]]
    """Makes the arguments that acknowledge the message of a command that ends so (``ack.lua``); none where it is not
    to be acknowledged in that step."""
    stored: bool = False
    acked: bool = False
