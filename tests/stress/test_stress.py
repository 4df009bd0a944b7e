"""The scenarios in short forms: what must hold on any machine. The long form with its times is `python -m
tests.stress`."""

from dataclasses import replace

import pytest

from tests.stress import bans, floods, parked, refusing

WITHIN_MS = 2000
"""Far more than a cancel needs on a busy machine, and less than it waits behind commands that keep all threads."""


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_a_cancel_does_not_wait_for_a_venue_that_fails(hangs: bool) -> None:
    """Closes at A fill no worker: while none of them has an end, cancels at B are executed."""
    found = refusing.run(
        refusing.Stress(closes=60, seconds=5, hangs=hangs, limit=40, cancels_at_a=0.2, drain_seconds=60)
    )
    assert found["cancels_at_b"] == {"accepted/ok x1": found["b_wire_count"]}
    assert found["b_wire_max_ms"] < WITHIN_MS
    assert found["a_most_in_a_second"] <= 40
    unknown = "unknown/lost_reply" if hangs else "unknown/unlisted_answer"
    assert {ending.rpartition(" ")[0] for ending in found["closes"]} <= {"accepted/ok", unknown}


def test_limits_are_kept_under_a_backlog_of_several_workers() -> None:
    """Never more than ten requests in any second, so that the venue bans nobody."""
    found = bans.run_within_limits(bans.Ban(workers=2, commands=60, watched_seconds=6))
    assert found["bans"] == found["limited"] == 0
    assert found["requests"] > 10
    assert found["most_in_1_s"] <= 10


def test_a_ban_is_heeded_by_every_worker_and_probed_once() -> None:
    """After the one request that met it none follows before its end, and then one until that is answered."""
    found = bans.run_forced(bans.Ban(workers=2, seconds=4, commands=20))
    assert found["requests_during"] == 1
    assert found["probe_after_end_ms"] >= 0
    assert found["until_the_probe_is_answered"] == 1
    assert found["closes"] == {"accepted/ok x1": 20, "accepted/ok x2": 1}


@pytest.mark.parametrize("kind", floods.FLOODS)
def test_a_flood_delays_no_other_account(kind: str) -> None:
    """Cancels of another account are executed while most of the flood still waits."""
    found = floods.run(floods.Flood(kind, count=600, rate=10))
    assert found["b_accepted"] == found["b_sent"]
    assert found["waiting_when_the_first_came"] > 300


def test_what_is_parked_survives_a_kill_of_everything_and_comes_once() -> None:
    """By eta and between attempts; all workers and the server die meanwhile."""
    parking = parked.Parking(by_eta=150, by_retry=50, first_seconds=9, spread_seconds=3, retry_seconds=7)
    found = parked.run(replace(parking, kill_at_half=False))
    assert found["closes"] == {"accepted/ok x1": 150, "accepted/ok x2": 50}
    assert found["lost"] == found["repeated"] == found["early"] == 0
