"""What is known of an open unknown, and what to do with it next, in words for a terminal or a browser."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from producers.cli.output import when
from producers.printable import printable
from producers.report import Reason, Report
from worker.ledger.base import Record
from worker.operations.operator import Unknown
from worker.reconciliation.window import ReconcileLimits
from worker.venues.contradictions import contains_record
from worker.venues.everstrike.adapter import LISTED, Everstrike
from worker.venues.listed_answers import find_listed, refusals_setting_line, status_may_refuse

Refusals = Callable[[str], Sequence[str]]
"""Returns a venue's current patterns of ``ORDERS_VENUES__<VENUE>__REFUSALS``."""

BUILT_IN = {Everstrike.name: LISTED}
"""Refusals by venue that need no setting, because the code lists them. A command that ended with one of them is unknown
because of an earlier attempt."""

WHY = {
    Reason.LOST_REPLY: "The request was sent, and no answer of the venue itself came back. "
    "It was likely executed if the connection broke late.",
    Reason.CRASHED: "A worker died after it had begun to send. Both are possible: executed or not.",
    Reason.UNLISTED_ANSWER: "The venue answered, and its answer proves nothing. Read it; often it is a refusal.",
    Reason.SEEN: "The venue says that it knows the command already, and does not show what became of it. "
    "An earlier request likely arrived.",
    Reason.REFUSED_AFTER_LOST: "The answer to a first attempt was lost, and a later attempt was refused. "
    "It was likely executed: the first attempt's success explains the refusal.",
}
"""What each reason means for the person who settles the command."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do with an open unknown."""

    do: str
    """The next step, as a phrase for a list."""
    steps: tuple[str, ...]
    """The way to its end, as sentences."""


def arguments_of(record: Record | None) -> Mapping[str, Any]:
    """What the command asked for; empty where the ledger does not say."""
    return record.given if record else {}


def setting_line(each: Unknown, refusals: Refusals) -> str | None:
    """The setting that would list the venue's message in this report; None if it cannot be listed."""
    report = each.record.report if each.record else None
    if report is None or report.venue is None or report.venue_message is None or report.http_status is None:
        return None
    if (
        report.venue_code != report.http_status
        or contains_record(report.result)
        or not status_may_refuse(report.http_status)
    ):
        return None
    if find_listed(BUILT_IN.get(report.venue, ()), report.http_status, report.venue_message):
        return None
    return refusals_setting_line(report.venue, report.venue_message, refusals(report.venue))


def known_of(each: Unknown) -> list[tuple[str, str]]:
    """What is known beside the arguments, as names and texts: why, the attempts, the venue's answer, the looks."""
    record, report = each.record, each.record.report if each.record else None
    if record is None or report is None:
        return [("record", "missing, or it can't be read")]
    rows = [("why", f"{printable(report.reason)}: {printable(report.message)}"), *_attempts(record, report)]
    said = [
        f"HTTP {report.http_status}" if report.http_status is not None else "",
        f"code {printable(report.venue_code)}" if report.venue_code is not None else "",
        printable(report.venue_message) if report.venue_message else "",
    ]
    rows.append(("the venue said", ", ".join(filter(None, said)) or "nothing that came back"))
    first = each.first_absence_at
    looked = f"not found at {when(first)}; a second look like that settles it" if first else "none that counts"
    return [*rows, ("looks at the venue", looked)]


def _attempts(record: Record, report: Report) -> Iterator[tuple[str, str]]:
    tries = max(record.progress.tries, 1)
    sent = "1 request" if report.attempts == 1 else f"{report.attempts} requests"
    yield "attempts", f"{tries} begun, {sent} put on the wire"
    if report.first_sent_at:
        yield "first sent", when(report.first_sent_at)
    if report.last_signed_at:
        yield "last signed", when(report.last_signed_at)


def advice(each: Unknown, limits: ReconcileLimits, now_ms: int) -> Advice:
    """What to do next, by this machine's clock."""
    record = each.record
    if record is None or record.report is None:
        text = "Its record is missing or can't be read: look for it at the venue by hand, and tell an engineer."
        return Advice("look by hand", (text,))
    if record.command == "withdraw":
        return Advice("reconcile, then ask the venue", _WITHDRAWAL)
    counts_from = limits.absence_counts_from(record)
    again = (each.first_absence_at or 0) + int(limits.apart_seconds * 1000)
    if now_ms < counts_from:
        later = f"If it is not found, look again from {when(counts_from)} on: before that, absence proves nothing."
        return Advice("reconcile now", (_NOW, later, *_BY_HAND))
    if each.first_absence_at is None:
        later = (
            f"If it is not found, look a second time {limits.apart_seconds:.0f} s later: twice absent is not executed."
        )
        return Advice("reconcile now", (_NOW, later, *_BY_HAND))
    if now_ms < again:
        text = f"The first look found nothing. Reconcile again from {when(again)} on: twice absent is not executed."
        return Advice(f"reconcile again at {when(again)}", (text, *_BY_HAND))
    text = "The first look found nothing. Reconcile now: found absent a second time, it was not executed."
    return Advice("reconcile now", (text, *_BY_HAND))


_NOW = "Reconcile now: what is found at the venue is accepted at once."
_BY_HAND = (
    "If looking proves nothing, check on the venue's web page or ask its support, and then resolve it by hand.",
)
_ASK = (
    "If it is not found, that proves nothing for a withdrawal: check the venue's web page and the blockchain for this "
    "asset, amount and address, or ask the venue's support whether it was or will be paid."
)
_WITHDRAWAL = (
    _NOW,
    _ASK,
    "Then resolve it. Say “not executed” only if it can't be paid any more: its sender may withdraw again.",
)
