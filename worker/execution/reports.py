"""Builds reports: the only place where what happened becomes an outcome, a reason and a message of the contract."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from producers.commands import Command, fingerprint
from producers.printable import printable
from producers.report import Outcome, Reason, Report
from worker.execution.backoff import Attempt
from worker.execution.carried import Ending, Memory
from worker.execution.claims import NotBegun
from worker.execution.context import MAX_ALIAS_CHARACTERS, CommandRefused, Run
from worker.execution.retry_policy import Decision
from worker.ledger.base import Halted, Orphaned, Progress, TooLate
from worker.ledger.limits import MAX_COUNTED_UNITS, Denied, Excess
from worker.venues.accounts import Account

HELD_FULL = "1,000 commands are held already, or orders:held at the ledger's server can't be read"
MAX_MESSAGE_CHARACTERS = 1000
"""How many characters a report shows of its message."""


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
        account=printable(alias, MAX_ALIAS_CHARACTERS) if isinstance(alias, str) else None,
        venue=account.venue if account else None,
        outcome=Outcome.NOT_SENT,
        reason=reason,
        message=printable(f"not sent: {message}", MAX_MESSAGE_CHARACTERS),
        fingerprint=command.fingerprint if command else fingerprint(task, arguments),
        enqueued_at=enqueued_at,
        finished_at=now_ms,
    )


def halt_message(halt: Halted) -> str:
    """Who halted the command, since when and why."""
    since = datetime.fromtimestamp(halt.at / 1000, UTC).isoformat(timespec="seconds")
    return f"halted by {printable(halt.who, 100)} since {since}: {halt.why}"


def late_message(begin_by: int) -> str:
    """Until when the command might have been begun (UNIX milliseconds)."""
    until = datetime.fromtimestamp(begin_by / 1000, UTC).isoformat(timespec="seconds")
    return f"its seal was valid until {until}, and it was taken up later"


def why_not_begun(answer: NotBegun) -> tuple[Reason, str]:
    """Why a command is not sent that the ledger did not begin."""
    if isinstance(answer, Halted):
        return Reason.HALTED, halt_message(answer)
    if isinstance(answer, Denied):
        return Reason.DENIED, _limit_message(answer)
    if isinstance(answer, TooLate):
        return Reason.EXPIRED, late_message(answer.begin_by)
    if answer.until:
        until = datetime.fromtimestamp(answer.until / 1000, UTC).isoformat(timespec="seconds")
        return Reason.EXPIRED, f"it was held for approval until {until}, and not approved by then"
    return Reason.DENIED, f"it can't be held for approval: {HELD_FULL}"


def _limit_message(denied: Denied) -> str:
    """Which limit denies a withdrawal, and when there is room for it again."""
    limit = denied.limit
    words = f"limit {printable(limit.name, 100)!r}"
    if denied.excess is Excess.DAMAGED:
        return f"{words} can't be checked: its counter at the ledger's server can't be read (docs/operating.md)"
    total = MAX_COUNTED_UNITS if limit.total is None else limit.total
    most = f"{limit.count} withdrawals" if denied.excess is Excess.COUNT else f"{total:f} in total"
    within = str(timedelta(milliseconds=limit.window_ms))
    if denied.room_at is None:
        return f"{words} permits {most} within {within}"
    room = datetime.fromtimestamp(math.ceil(denied.room_at / 1000), UTC).isoformat(timespec="seconds")
    return f"{words} permits {most} within {within}; there is room for it from {room} on"


class Conclusion(NamedTuple):
    """How a command ended, and why."""

    outcome: Outcome
    reason: Reason
    message: str
    without_doubt: Ending | None = None
    """How it would end if no earlier attempt of unknown fate was executed; set where that is all that is in doubt."""


def conclude(run: Run, attempt: Attempt) -> Conclusion:
    """What follows from the last attempt of a command."""
    verdict, decision = attempt.verdict, attempt.decision
    if decision is Decision.ACCEPT:
        return Conclusion(Outcome.ACCEPTED, Reason.OK, verdict.message)
    if decision is Decision.UNKNOWN:
        return Conclusion(Outcome.UNKNOWN, verdict.unknown_reason, f"{verdict.message}; it may have been executed")
    if decision is Decision.REJECT:
        if not run.progress.tainted:
            return Conclusion(Outcome.REJECTED, Reason.REFUSED, verdict.message)
        # The refusal may be the echo of an earlier attempt that worked: "not found" after a cancel whose reply was
        # lost.
        message = f"{verdict.message}; an earlier attempt of unknown fate may be why"
        refused = Ending(Outcome.REJECTED, Reason.REFUSED, verdict.message)
        return Conclusion(Outcome.UNKNOWN, Reason.REFUSED_AFTER_LOST, message, refused)
    if attempt.gave_up is Reason.EXPIRED:
        return give_up(run, Reason.EXPIRED, f"no time to try again before the deadline: {verdict.message}")
    return give_up(run, Reason.UNAVAILABLE, f"gave up after {run.progress.tries} attempts: {verdict.message}")


def give_up(run: Run, reason: Reason, message: str) -> Conclusion:
    """The end of a command that is not sent again: ``not_sent`` when every attempt is proven not executed, else
    ``unknown``.

    An unknown has the reason of the first attempt of unknown fate; or ``refused_after_lost`` when the venue refused the
    last attempt.
    """
    return _given_up(run.progress.tainted, run.refused_after_doubt, reason, message)


def _given_up(tainted: str, refused_after_doubt: bool, reason: Reason, message: str) -> Conclusion:
    if not tainted:
        return Conclusion(Outcome.NOT_SENT, reason, message)
    why = Reason.REFUSED_AFTER_LOST if refused_after_doubt else Reason(tainted)
    not_sent = Ending(Outcome.NOT_SENT, reason, message)
    return Conclusion(Outcome.UNKNOWN, why, f"{message}; an attempt may have been executed", not_sent)


def after_fault(error: Exception) -> Conclusion:
    """The end by a fault in the worker: a send was begun, and nothing shows whether it was executed."""
    message = f"a fault in the worker ({type(error).__name__}) after a send was begun; it may have been executed"
    return Conclusion(Outcome.UNKNOWN, Reason.CRASHED, message)


def of_run(run: Run, conclusion: Conclusion, now_ms: int) -> Report:
    """The report of a command that was executed, or tried."""
    verdict, progress = run.last_verdict, run.progress
    return Report(
        command_id=run.envelope.command_id,
        command=run.command.name,
        account=run.account.alias,
        venue=run.account.venue,
        outcome=conclusion.outcome,
        reason=conclusion.reason,
        message=printable(conclusion.message, MAX_MESSAGE_CHARACTERS),
        http_status=verdict.http_status if verdict else None,
        venue_code=verdict.venue_code if verdict else None,
        venue_message=verdict.venue_message if verdict else None,
        result=verdict.result if verdict else None,
        positions=verdict.positions if verdict and conclusion.outcome is Outcome.ACCEPTED else None,
        fingerprint=run.lease.claim.fingerprint,
        attempts=progress.sent,
        enqueued_at=run.envelope.enqueued_at,
        first_sent_at=progress.first_sent_at,
        last_signed_at=progress.last_signed_at,
        finished_at=now_ms,
    )


def parked(progress: Progress, known: Memory, refused: Report, problem: CommandRefused) -> Report:
    """The report of a command that was parked, made by a worker that must not carry on: the same as its owner would
    have made in one thread. ``refused`` is a report with the command's fields."""
    conclusion = _given_up(progress.tainted, known.refused_after_doubt, problem.reason, problem.message)
    return refused.model_copy(
        update={
            "outcome": conclusion.outcome,
            "reason": conclusion.reason,
            "message": printable(conclusion.message, MAX_MESSAGE_CHARACTERS),
            "http_status": known.http_status,
            "venue_code": known.venue_code,
            "venue_message": known.venue_message,
            "result": known.result,
            "attempts": progress.sent,
            "first_sent_at": progress.first_sent_at,
            "last_signed_at": progress.last_signed_at,
        }
    )


def orphaned(orphan: Orphaned, refused: Report) -> Report:
    """The report of a command whose worker died, made by a worker that must not, or can't, carry on.

    ``refused`` is a report with the command's fields, used as it is when nothing of unknown fate was sent. Otherwise
    the time at which the send was begun stands for the time at which it was sent, which nothing records.
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
    """An unknown's report with its new end, without the venue's response to the attempt itself."""
    return report.model_copy(
        update={
            "outcome": outcome,
            "reason": Reason.OK if outcome is Outcome.ACCEPTED else Reason.UNAVAILABLE,
            "message": printable(words, MAX_MESSAGE_CHARACTERS),
            "http_status": None,
            "venue_code": None,
            "venue_message": None,
            "result": result,
            "finished_at": now_ms,
            "replayed": False,
        }
    )
