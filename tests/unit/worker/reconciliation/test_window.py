"""When the venue's record of a command can have been made."""

from dataclasses import replace

from producers.report import Outcome, Reason, Report
from worker.ledger.base import Progress, Record, State
from worker.reconciliation.window import ClockOffset, ReconcileLimits
from worker.venues.records import Window

T0 = 1_800_000_000_000
LIMITS = ReconcileLimits(settle_seconds=60, apart_seconds=30, arrival_seconds=15, clock_margin_seconds=2)
EXACT = ClockOffset(0, 0)


def unknown(reason: Reason = Reason.LOST_REPLY, **times: int | None) -> Record:
    """An unknown close: begun at T0, its lease over 17 s later."""
    report = Report(
        command_id="x", command="close", outcome=Outcome.UNKNOWN, reason=reason, message="", fingerprint="f", **times
    )
    return Record("x", State.UNKNOWN, "f", "close", "main", 1, Progress(), report, "{}", T0, T0 + 17_000)


def test_the_window_has_a_margin_and_follows_the_venues_clock() -> None:
    """From 2 s before the first begin to 2 s after the last arrival; a venue's clock that is off moves one edge. There
    is none of a record that was lost and put back, of a command that never left."""
    sent = unknown(first_sent_at=T0 + 10, last_signed_at=T0 + 5_000)
    assert LIMITS.window(sent, EXACT) == Window(T0 - 2_000, T0 + 22_000, T0 + 82_000)
    assert LIMITS.window(sent, ClockOffset(3_000, 3_000)) == Window(T0 - 2_000, T0 + 25_000, T0 + 85_000)
    assert LIMITS.window(sent, ClockOffset(-3_000, -3_000)) == Window(T0 - 5_000, T0 + 22_000, T0 + 82_000)
    assert LIMITS.window(replace(unknown(), first_begun_at=0), EXACT) is None


def test_a_worker_that_died_may_have_signed_until_its_lease_was_over() -> None:
    """Whatever an earlier attempt signed. A reason is that of the first doubt, so one that took over may have died too:
    the last signature on record is older than the dead owner's last."""
    assert LIMITS.last_arrival(unknown(Reason.CRASHED, last_signed_at=T0 + 5)) == T0 + 32_000
    assert LIMITS.last_arrival(unknown(last_signed_at=None)) == T0 + 32_000
    taken_over = replace(unknown(first_sent_at=T0 + 5, last_signed_at=T0 + 5), fence=2, lease_until=T0 + 117_000)
    assert LIMITS.last_arrival(taken_over) == T0 + 132_000
