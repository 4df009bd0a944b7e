"""The time window in which a command's record can have been made at its venue."""

from dataclasses import dataclass

from producers.report import Reason
from worker.ledger.base import Record
from worker.settings import WorkerSettings
from worker.venues.lookups import Lookup
from worker.venues.records import Window

EVER = Window(0, 10**15, 10**15)
"""The window of a command of which no time is known."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """By how much the venue's clock is ahead of this machine's. It lies between two values that differ by the time that
    reading the venue's clock took: at which moment of it the venue read its clock is not known."""

    min_ms: int
    max_ms: int

    @property
    def largest_ms(self) -> int:
        """The largest offset in either direction."""
        return max(abs(self.min_ms), abs(self.max_ms))


@dataclass(frozen=True, slots=True)
class ReconcileLimits:
    """When a look at the venue counts (:mod:`worker.reconciliation.reconciler`)."""

    settle_seconds: float = 60.0
    """How long after the last possible arrival the venue has time to show a command everywhere."""
    apart_seconds: float = 30.0
    """Between the two looks that find nothing."""
    arrival_seconds: float = 15.0
    """How long after its signature the venue may still take a request."""
    clock_margin_seconds: float = 2.0
    """By how much clocks may differ beyond what the venue's own clock shows."""

    def window(self, record: Record, offset: ClockOffset) -> Window | None:
        """When the venue's record of this command can have been made, by the venue's clock, which is ``offset`` ahead
        of this machine's now; None when nothing says when the command was sent."""
        report = record.report
        first = [at for at in (record.first_begun_at, report.first_sent_at if report else None) if at]
        if not first:
            return None
        margin = int(self.clock_margin_seconds * 1000)
        end = self.last_arrival(record) + margin + max(0, offset.max_ms)
        return Window(min(first) - margin + min(0, offset.min_ms), end, end + int(self.settle_seconds * 1000))

    def last_arrival(self, record: Record) -> int:
        """Until when a request of this command can have arrived, by this machine's clock in UNIX ms: no worker signs
        after the end of its lease."""
        report = record.report
        signed = (report.last_signed_at or report.first_sent_at) if report else None
        # When a command was taken over, the record does not have the dead owner's last signature, whatever the report's
        # reason is.
        if signed is None or record.fence > 1 or (report and report.reason is Reason.CRASHED):
            signed = max(signed or 0, record.lease_until, record.first_begun_at)
        return signed + int(self.arrival_seconds * 1000)

    def refused_from(self, record: Record) -> int | None:
        """After when the venue itself refuses every request of this command, by its own id there, by this machine's
        clock in UNIX ms; None where nothing says so."""
        lookup = Lookup.from_text(record.lookup)
        return lookup.until_ms + int(self.clock_margin_seconds * 1000) if lookup and lookup.until_ms else None

    def absence_counts_from(self, record: Record) -> int:
        """From when on a look that finds nothing counts, UNIX ms; later where the venue's clock is behind this one."""
        refused_from = self.refused_from(record)
        last = self.last_arrival(record) if refused_from is None else refused_from
        return last + int(self.settle_seconds * 1000)


def limits_of(settings: WorkerSettings) -> ReconcileLimits:
    """The limits that the settings set."""
    return ReconcileLimits(**settings.reconcile.model_dump())
