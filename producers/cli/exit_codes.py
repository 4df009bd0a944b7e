"""The exit codes of the `orders` program, and which error or outcome ends with which."""

from enum import IntEnum

import pydantic_settings

from producers.errors import BrokerUnavailable, ChainBroken, IdReused, InvalidCommand, ReportPending
from producers.report import Outcome
from producers.settings import SettingsError


class ExitCode(IntEnum):
    """Exit codes of `orders`: the public contract, with 1 and 130 beside it."""

    ACCEPTED = 0
    FAILED = 1
    """A server can't be reached, a person declined, the doctor found a fault, or a bug."""
    USAGE = 2
    """Bad usage: arguments, settings, an id that belongs to another command, a part that is not installed."""
    REJECTED = 3
    NOT_SENT = 4
    UNKNOWN = 5
    NO_REPORT = 6
    INTERRUPTED = 130


OUTCOMES = {
    Outcome.ACCEPTED: (ExitCode.ACCEPTED, "bold green", ""),
    Outcome.REJECTED: (ExitCode.REJECTED, "bold red", "The venue refused it; nothing was executed."),
    Outcome.NOT_SENT: (ExitCode.NOT_SENT, "bold yellow", "Nothing was executed. To try again, send it under a new id."),
    Outcome.UNKNOWN: (
        ExitCode.UNKNOWN,
        "bold magenta",
        "It may or may not have been executed. Look at the venue before anything else; it is never sent again.",
    ),
}


_ERRORS: dict[type[Exception], ExitCode] = {
    InvalidCommand: ExitCode.USAGE,
    SettingsError: ExitCode.USAGE,
    # Raised by pydantic-settings itself, for a value that should be JSON; it names the field, never the value.
    pydantic_settings.SettingsError: ExitCode.USAGE,
    IdReused: ExitCode.USAGE,
    ChainBroken: ExitCode.NOT_SENT,
    BrokerUnavailable: ExitCode.FAILED,
    ReportPending: ExitCode.NO_REPORT,
}
"""Which error ends the program with which code; see :func:`error_code`."""


def outcome_code(outcome: Outcome) -> ExitCode:
    """The exit code of an outcome."""
    return OUTCOMES[outcome][0]


def error_code(error: Exception) -> ExitCode:
    """The exit code of an expected error. A report that is not there yet is one thing, a place in which nobody can look
    for it another."""
    if isinstance(error, ReportPending) and error.unreachable:
        return ExitCode.FAILED
    return next(code for kind, code in _ERRORS.items() if isinstance(error, kind))
