"""Giving a command that waits back to the broker, so that it keeps no thread."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

SHORTEST_SECONDS = 0.25
"""Shorter waits stay in the thread: parking and taking the message again costs two round trips."""

PROGRESS_HEADER = "orders_progress"
"""The header of a parked query with what is known of it (:class:`~worker.execution.carried.QueryProgress`), or of a
command whose plan could not be made (:class:`~worker.execution.carried.PlanProgress`)."""
SINCE_HEADER = "orders_waits_since"
"""The header of a parked command that says since when it waits for its first attempt, UNIX ms."""


class WaitsFor(StrEnum):
    """What a parked command waits for; the values are stored, and are labels of a metric."""

    RETRY = "retry"
    """Its next attempt."""
    PLAN = "plan"
    """The next try to read what its plan needs."""
    LOOK = "look"
    """The next look for it at its venue."""
    OWNER = "owner"
    """Another worker, which has its lease."""
    ETA = "eta"
    """The time for which it was sent."""
    RATE_LIMIT = "rate_limit"
    COOL_DOWN = "cool_down"
    PROBE = "probe"
    """The last three as in :class:`~worker.ledger.pacing.Brake`."""


@dataclass(frozen=True, slots=True)
class Parking:
    """How a message is parked."""

    wait_ms: int
    """After how long it is delivered again."""
    waits_for: WaitsFor
    whole_account: bool = False
    """Whether no other command of its account and queue can begin either until then: it goes back to the head of its
    account's messages, and this worker takes none of them for that long."""
    headers: Mapping[str, object] = field(default_factory=dict)
    """Headers that the message has when it comes again."""

    def __str__(self) -> str:
        return f"parked for {self.wait_ms} ms: {self.waits_for}"


class ParkMessage(Exception):
    """Raised when a command gives its thread back: the ledger knows what of it has begun, and its message is to be
    parked."""

    def __init__(self, parking: Parking) -> None:
        super().__init__(str(parking))
        self.parking = parking
