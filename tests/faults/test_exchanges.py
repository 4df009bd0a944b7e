"""Exchanges with client order ids under faults: what would be unknown elsewhere is looked for, and nothing is executed
twice, lost or told wrong."""

import time
from collections.abc import Iterator
from signal import SIGKILL

import pytest

from tests.faults.evidence import Trial
from tests.faults.fleet import until
from tests.faults.rig import Rig
from tests.faults.traffic import EXCHANGE_WEIGHTS


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Three workers, replaced when they die."""
    with Rig() as started:
        started.fleet.start(3, keep=True)
        yield started


def test_kills_lost_replies_late_arrivals_and_a_restart(rig: Rig) -> None:
    """All at once, under orders, closes in part and whole, and cancels."""
    trial = Trial(rig, 300, weights=EXCHANGE_WEIGHTS, deadlines=0.2)
    # OKX takes an id again once its order has ended: an order at market that was sent again would be executed twice.
    early = rig.venue.fault("hold", path="/api/v5/trade/order", where={"side": "buy", "ordType": "market"}, times=4)
    rig.venue.fault("cut_after", path="submit", times=6)
    rig.venue.fault("cut_before", path="submit", times=4, skip=4)
    rig.venue.fault("status", path="submit", status=502, times=4, skip=2, execute=True)
    rig.venue.fault("cut_after", path="cancel", times=2)
    late = rig.venue.fault("hold", path="submit", times=4)
    rig.venue.fault("status", path="lookup", status=502, times=6)
    with rig.slow_venue(100):
        trial.send(60)
        trial.wait_arrivals(20)
        for worker in rig.fleet.workers[:2]:
            worker.signal(SIGKILL)
            time.sleep(0.5)
        with rig.killed(rig.server):
            pass
    # Their senders have given them up; the first few arrive while the venue takes them, the others after their time.
    until(lambda: rig.venue.faults()[0]["applied"], lambda: "an order at market at OKX")
    time.sleep(3)
    rig.venue.release(fault_id=early)
    trial.wait_reports(120)
    rig.venue.release(fault_id=late)
    found = trial.finish(60)
    orders = {key: count for key, count in found.outcomes.items() if key[0] != "cancel"}
    assert {outcome for _, outcome, _ in orders} <= {"accepted", "rejected", "not_sent"}
