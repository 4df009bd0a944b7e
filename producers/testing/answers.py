"""Which report a command gets in memory, and how it is stored."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from producers.base_client import now_ms
from producers.commands import Command, Positions
from producers.errors import ChainBroken
from producers.report import Outcome, Reason, Report, error_for

OUTCOMES: Mapping[Outcome, tuple[Reason, ...]] = {
    Outcome.ACCEPTED: (Reason.OK,),
    Outcome.REJECTED: (Reason.REFUSED,),
    Outcome.NOT_SENT: (Reason.UNAVAILABLE, Reason.INVALID, Reason.EXPIRED, Reason.HALTED, Reason.DENIED),
    Outcome.UNKNOWN: (
        Reason.LOST_REPLY,
        Reason.UNLISTED_ANSWER,
        Reason.REFUSED_AFTER_LOST,
        Reason.SEEN,
        Reason.CRASHED,
    ),
}
"""The reasons of each outcome, of which the first is the one that a test gets unless it names another."""
RANKS = [Outcome.UNKNOWN, Outcome.NOT_SENT, Outcome.REJECTED, Outcome.ACCEPTED]
"""A report takes the place of one that comes before it here, as at a worker."""


@dataclass(frozen=True)
class Answer:
    """How a command ends."""

    outcome: Outcome
    reason: Reason
    fields: Mapping[str, Any] = field(default_factory=dict)

    def report(self, command_id: str, command: Command, enqueued_at: int) -> Report:
        """The report, as a worker would write it."""
        now, on_the_wire = now_ms(), self.outcome is not Outcome.NOT_SENT
        accepted = self.outcome is Outcome.ACCEPTED
        return Report.model_validate(
            {
                "command_id": command_id,
                "command": command.name,
                "account": command.account,
                "venue": "everstrike",
                "outcome": self.outcome,
                "reason": self.reason,
                "message": f"in memory: {self.outcome}",
                "http_status": 200 if self.outcome in (Outcome.ACCEPTED, Outcome.REJECTED) else None,
                "fingerprint": command.fingerprint,
                "attempts": int(on_the_wire),
                "enqueued_at": enqueued_at,
                "first_sent_at": now if on_the_wire else None,
                "last_signed_at": now if on_the_wire else None,
                "finished_at": now,
                "positions": [] if accepted and isinstance(command, Positions) else None,
                **self.fields,
            }
        )


def answer_of(outcome: str, reason: str, fields: Mapping[str, Any]) -> Answer:
    """An answer, checked.

    Raises:
        ValueError: there is no such outcome, reason or field of a report, a field has a wrong value, or the reason is
            not the outcome's.
    """
    if outcome not in list(Outcome):
        raise ValueError(f"an outcome is one of {', '.join(Outcome)}; or None, for no report yet")
    reasons = OUTCOMES[Outcome(outcome)]
    if reason and reason not in reasons:
        raise ValueError(f"the reasons of {outcome} are {', '.join(reasons)}")
    if unknown := fields.keys() - Report.model_fields.keys():
        raise ValueError(f"a report has no field {', '.join(sorted(unknown))}")
    answer = Answer(Outcome(outcome), Reason(reason) if reason else reasons[0], dict(fields))
    answer.report("an-id", Positions(account="main"), 0)  # A wrong value is told here, and not to the sender.
    return answer


class Script:
    """The answers to some commands, one after the other; the last one stays."""

    def __init__(self, answers: Sequence[Answer | None]) -> None:
        self._answers = deque(answers)

    def next(self) -> Answer | None:
        """The next answer; None for no report yet."""
        return self._answers.popleft() if len(self._answers) > 1 else self._answers[0]


def stored_report(report: Report) -> bytes:
    """A report as Celery's backend stores it."""
    error = error_for(report)
    return _stored(report.to_json()) if error is None else _stored_error(error)


def stored_mark(before: Mapping[str, Any]) -> bytes:
    """The mark of a link that was never sent, because the one before it ended so."""
    return _stored_error(ChainBroken(before))


def _stored_error(error: Exception) -> bytes:
    kind = type(error)
    fields = {"exc_type": kind.__name__, "exc_message": list(error.args), "exc_module": kind.__module__}
    return _stored(fields, "FAILURE")


def _stored(result: Any, status: str = "SUCCESS") -> bytes:
    return json.dumps({"status": status, "result": result}).encode()
