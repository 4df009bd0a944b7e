"""What a look by the venue's own id of a command proves: its client order id, or for a cancel the id of the order.

Nothing else can have the same client order id, so that no other command competes for what is found. Only of a cancelled
order may another cancel be the cause.
"""

from producers.commands import Cancel, Command, Withdraw
from worker.ledger.base import Record
from worker.reconciliation.matching import Evidence, Finding
from worker.venues.lookups import Lookup, Sight, Sighting


def lookup_of(record: Record, command: Command, *, lists: bool) -> Lookup | None:
    """By what the command is looked for at its venue; None where only its lists show it. ``lists`` says whether the
    venue's lists can be read (:class:`~worker.venues.base.Reads`)."""
    if isinstance(command, Cancel):
        return None if lists else Lookup(command.order_id, command.pair or "")
    return Lookup.from_text(record.lookup)


def evidence_of(command: Command, lookup: Lookup, seen: Sighting) -> Evidence:
    """What a look proves of ``command``, if one request of it was sent."""
    if seen.sight is Sight.UNREADABLE:
        return Evidence(Finding.UNREADABLE, f"could not be looked for: {seen.words}")
    if seen.sight is Sight.FOUND:
        if seen.taken is False and isinstance(command, Withdraw):
            # One that has failed may be paid after all, by hand: a person has to say so.
            return Evidence(Finding.AMBIGUOUS, seen.words, seen.reference, seen.record)
        finding = {True: Finding.FOUND, False: Finding.REFUTED, None: Finding.AMBIGUOUS}[seen.taken]
        return Evidence(finding, seen.words, seen.reference, seen.record)
    if isinstance(command, Withdraw):
        return Evidence(Finding.AMBIGUOUS, f"{seen.words}, which for a withdrawal proves nothing")
    if seen.venue_time_ms is not None and seen.venue_time_ms <= lookup.until_ms:
        return Evidence(Finding.UNREADABLE, f"{seen.words}, but by its own clock the venue may still take the request")
    return Evidence(Finding.ABSENT, seen.words)


def is_past(lookup: Lookup, seen: Sighting) -> bool:
    """Whether the venue takes no request of the command any more, by its own clock."""
    return seen.venue_time_ms is not None and 0 < lookup.until_ms < seen.venue_time_ms
