"""The rank of a report among the results that are stored for its command."""

from collections.abc import Mapping
from typing import Any

from celery import states

from producers.commands import Positions
from producers.errors import ChainBroken, OrderError
from producers.results import task_error_text

RANKS = {"unknown": 1, "not_sent": 2, "rejected": 3, "accepted": 4}
"""By outcome: a report of a higher rank replaces one of a lower rank. Also in ``store_result.lua``."""
MUTATING_RANK_BONUS = 10
"""Added for every command but queries, whose reports never replace those of the others."""


def rank_of(result: Any, state: str, task_id: str) -> int:
    """The rank of a result; 0 when it is no report of this command. ``rank`` in the script does the same."""
    report = result
    if state == states.FAILURE and isinstance(result, Mapping):
        arguments = result.get("exc_message")
        report = arguments[0] if isinstance(arguments, list | tuple) and len(arguments) == 1 else None
    if not isinstance(report, Mapping) or report.get("command_id") != task_id:
        return 0
    outcome = report.get("outcome")
    if (outcome == "accepted") is not (state == states.SUCCESS) or outcome not in RANKS:
        return 0
    return RANKS[outcome] + (0 if report.get("command") == Positions.name else MUTATING_RANK_BONUS)


def is_report(result: Any, state: str, task_id: str) -> bool:
    """Whether a result, before it is encoded, is the report of this command."""
    if isinstance(result, Exception):
        return isinstance(result, OrderError) and result.report.get("command_id") == task_id
    return rank_of(result, state, task_id) > 0


def chain_broken(error: Exception) -> ChainBroken:
    """The result of a command that is not sent because of this error."""
    if isinstance(error, ChainBroken):
        return error
    cause = error if isinstance(error, OrderError) else error.__cause__
    if isinstance(cause, OrderError | ChainBroken):
        return ChainBroken(cause.report)
    return ChainBroken({"message": task_error_text(type(error).__name__, str(error))})
