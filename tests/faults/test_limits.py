"""Limits on withdrawals while everything breaks; the long form is `python -m tests.faults.limits`."""

from tests.faults.limits import LimitsTrial


def test_limits_hold_through_killed_workers_lost_replies_and_a_restarted_server() -> None:
    """The total executed is never above the cap, and what was not executed is given back exactly once."""
    trial = LimitsTrial(40)
    trial.run(kills_every=0.5)
    assert trial.kills
