"""Which standing lanes the sweep lets go on: none whose command may still be alive."""

from dataclasses import dataclass, field, replace

import pytest

from tests.support.fakes import TurnedClock
from worker.broker.lanes import StandingLane
from worker.execution.lanes import LONGEST_REDELIVERY_MS, LaneSweep
from worker.ledger.base import Progress, Record, State

NOW = 1_800_000_000_000
STANDING = StandingLane("main/x", "id", "tag", "1", "orders.close", False, NOW - 300_000, False)
LONG_AGO = NOW - LONGEST_REDELIVERY_MS - 1


@dataclass
class OneLane:
    """A lane that stands, and how it was let go."""

    standing: StandingLane
    released: list[bool] = field(default_factory=list)

    def look(self, limit: int = 100) -> list[StandingLane]:
        return [self.standing]

    def release(self, standing: StandingLane, *, lost: bool = False) -> bool:
        self.released.append(lost)
        return True


def record(state: State, lease_until: int = LONG_AGO) -> Record:
    return Record("id", state, "f", "close", "main", 1, Progress(), None, lease_until=lease_until)


KEPT: dict[str, tuple[StandingLane, Record | None, bool, int | None]] = {
    "its message is out or parked": (replace(STANDING, message_is_there=True), None, False, None),
    "its intent waits": (STANDING, None, True, None),
    "its queue has older messages": (STANDING, None, False, STANDING.enqueued_at_ms),
    "its queue can't be read": (STANDING, None, False, 0),
    "nobody knows how old it is": (replace(STANDING, enqueued_at_ms=0), None, False, NOW),
    "it is held for approval": (STANDING, record(State.HELD), False, None),
    "it is unknown": (STANDING, record(State.UNKNOWN), False, None),
    "its lease was over just now": (STANDING, record(State.SENDING, NOW - 1000), False, None),
    "it has begun and its message is lost": (STANDING, record(State.WAITING), False, None),
}
GOES_ON: dict[str, tuple[StandingLane, Record | None, int | None, bool]] = {
    "it has ended, by another message": (replace(STANDING, message_is_there=True), record(State.SETTLED), 0, False),
    "it is unknown, and passes": (replace(STANDING, passes_unknown=True), record(State.UNKNOWN), 0, False),
    "it is lost, and its queue empty": (STANDING, None, None, True),
    "it is lost, and its queue newer": (STANDING, None, NOW, True),
    "it is lost, and passes": (replace(STANDING, passes_unknown=True), record(State.SENDING), None, True),
}


def swept(standing: StandingLane, found: Record | None, has_intent: bool, oldest: int | None) -> list[bool]:
    lane = OneLane(standing)
    sweep = LaneSweep(
        lanes=lane,
        read=lambda _: found,
        has_intent=lambda _: has_intent,
        oldest_queued=lambda _: oldest,
        clock=TurnedClock(NOW),
    )
    assert sweep.sweep() == len(lane.released)
    return lane.released


@pytest.mark.parametrize("name", KEPT)
def test_what_may_be_alive_keeps_its_lane(name: str) -> None:
    assert swept(*KEPT[name]) == []


@pytest.mark.parametrize("name", GOES_ON)
def test_what_has_ended_or_is_lost_lets_its_lane_go_on(name: str) -> None:
    standing, found, oldest, as_lost = GOES_ON[name]
    assert swept(standing, found, False, oldest) == [as_lost]
