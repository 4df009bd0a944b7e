"""Lanes while workers are killed; the long form is `python -m tests.faults.lanes`."""

from tests.faults.lanes import LanesTrial


def test_every_lane_keeps_its_order_while_workers_are_killed() -> None:
    """By the venue's book, and by the journal: each command began when the one before it had ended."""
    trial = LanesTrial(100, 5)
    trial.run(kills_every=1.0)
    assert trial.kills
