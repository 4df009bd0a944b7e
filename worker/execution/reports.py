"""Building reports: the one place where what happened becomes the contract's words."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from producers.commands import Command, fingerprint
from producers.printable import printable
from producers.report import Outcome, Reason, Report
from worker.ledger.base import Orphaned, Progress
from worker.venues.accounts import Account
from worker.venues.base import Verdict

LONGEST_ALIAS, LONGEST_MESSAGE = 64, 1000
"""Characters: of an alias as it was sent, whatever it was, and of the line for people."""


def refusal(
    *,
    command_id: str,
    task: str,
    arguments: Mapping[str, Any],
    command: Command | None,
    account: Account | None,
    reason: Reason,
    message: str,
    enqueued_at: int | None,
    now_ms: int,
) -> Report:
    """The report of a command that was never begun: nothing was sent."""
    alias = arguments.get("account")
    return Report(
        command_id=command_id,
        command=task.removeprefix("orders."),
        account=printable(alias, LONGEST_ALIAS) if isinstance(alias, str) else None,
        venue=account.venue if account else None,
        outcome=Outcome.NOT_SENT,
        reason=reason,
        message=printable(f"not sent: {message}", LONGEST_MESSAGE),
        fingerprint=command.fingerprint if command else fingerprint(task, arguments),
        enqueued_at=enqueued_at,
        finished_at=now_ms,
    )


def conclusion(
    *,
    command_id: str,
    enqueued_at: int | None,
    command: Command,
    account: Account,
    progress: Progress,
    verdict: Verdict | None,
    outcome: Outcome,
    reason: Reason,
    message: str,
    now_ms: int,
) -> Report:
    """The report of a command that was executed, or tried. ``verdict`` is the last attempt's."""
    return Report(
        command_id=command_id,
        command=command.name,
        account=account.alias,
        venue=account.venue,
        outcome=outcome,
        reason=reason,
        message=printable(message, LONGEST_MESSAGE),
        http_status=verdict.http_status if verdict else None,
        venue_code=verdict.venue_code if verdict else None,
        venue_message=verdict.venue_message if verdict else None,
        result=verdict.result if verdict else None,
        positions=verdict.positions if verdict and outcome is Outcome.ACCEPTED else None,
        fingerprint=command.fingerprint,
        attempts=progress.sent,
        enqueued_at=enqueued_at,
        first_sent_at=progress.first_sent_at,
        last_signed_at=progress.last_signed_at,
        finished_at=now_ms,
    )


def orphaned(orphan: Orphaned, refused: Report) -> Report:
    """The report of a command whose worker died, made by one that must not, or can't, carry on.

    ``refused`` has the command's fields, and is the whole truth when nothing of unknown fate was sent. Otherwise the
    time at which the send was begun stands for the time of a sending that nobody saw.
    """
    progress = orphan.progress
    if not orphan.sending and not progress.tainted:
        return refused.model_copy(update={"attempts": progress.sent, "first_sent_at": progress.first_sent_at})
    begun = datetime.fromtimestamp(orphan.begun_at / 1000, UTC).isoformat(timespec="milliseconds")
    return refused.model_copy(
        update={
            "outcome": Outcome.UNKNOWN,
            "reason": Reason.CRASHED if orphan.sending else Reason(progress.tainted),
            "message": f"a worker died after its send was begun at {begun}; it may have been executed",
            "attempts": progress.sent,
            "first_sent_at": progress.first_sent_at or orphan.begun_at,
            "last_signed_at": progress.last_signed_at,
        }
    )


def settled(report: Report, outcome: Outcome, words: str, result: Any, now_ms: int) -> Report:
    """An unknown's report with its new end; what the venue answered to the attempt itself is no longer its answer."""
    return report.model_copy(
        update={
            "outcome": outcome,
            "reason": Reason.OK if outcome is Outcome.ACCEPTED else Reason.UNAVAILABLE,
            "message": printable(words, LONGEST_MESSAGE),
            "http_status": None,
            "venue_code": None,
            "venue_message": None,
            "result": result,
            "finished_at": now_ms,
            "replayed": False,
        }
    )
