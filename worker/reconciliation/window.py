"""The time window in which a command's record can have been made at its venue."""

from dataclasses import dataclass

from producers.report import Reason
from worker.ledger.base import Record
from worker.venues.records import Window

EVER = Window(0, 10**15, 10**15)


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """By how much the venue's clock is ahead of ours, ms. Not known better than the time its reading took: how much of
    that passed before the venue looked, nobody tells."""

    min_ms: int
    max_ms: int

    @property
    def largest_ms(self) -> int:
        """In whichever direction."""
        return max(abs(self.min_ms), abs(self.max_ms))


@dataclass(frozen=True, slots=True)
class ReconcileLimits:
    """When a look counts. All in seconds."""

    settle: float = 60.0
    """How long after the last possible arrival the venue has time to show a command everywhere."""
    apart: float = 30.0
    """Between the two looks that find nothing."""
    arrival: float = 15.0
    """How long after its signature the venue may still take a request."""
    clock_margin: float = 2.0
    """By how much clocks may differ beyond what the venue's own clock shows."""

    def window(self, record: Record, offset: ClockOffset) -> Window | None:
        """When the record can have been made, on the venue's clock, which is ``offset`` ahead of ours now; None when
        nothing says when it was sent."""
        report = record.report
        first = [at for at in (record.first_begun_at, report.first_sent_at if report else None) if at]
        if not first:
            return None
        margin = int(self.clock_margin * 1000)
        end = self.last_arrival(record) + margin + max(0, offset.max_ms)
        return Window(min(first) - margin + min(0, offset.min_ms), end, end + int(self.settle * 1000))

    def last_arrival(self, record: Record) -> int:
        """Until when a request of this command can have arrived, on our clock: nobody signs after his lease."""
        report = record.report
        signed = (report.last_signed_at or report.first_sent_at) if report else None
        # Of a command that was taken over, a dead owner's last signature is on no record, whatever the first doubt was.
        if signed is None or record.fence > 1 or (report and report.reason is Reason.CRASHED):
            signed = max(signed or 0, record.lease_until, record.first_begun_at)
        return signed + int(self.arrival * 1000)
