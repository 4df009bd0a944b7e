"""The exit codes of the `orders` program: which outcome and which error ends with which code."""

from collections.abc import Iterable
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING

from producers.errors import ProducersError, ReportPending

if TYPE_CHECKING:
    from producers.report import Outcome


class ExitCode(IntEnum):
    """Exit codes of `orders`; 0 to 6 are part of the public contract."""

    ACCEPTED = 0
    FAILED = 1
    """A server cannot be reached, a person declined, the doctor found a fault, or a bug."""
    USAGE = 2
    """Bad usage: arguments, settings, an id that belongs to another command, a part that is not installed."""
    REJECTED = 3
    NOT_SENT = 4
    UNKNOWN = 5
    NO_REPORT = 6
    INTERRUPTED = 130


OUTCOMES = {
    "accepted": (ExitCode.ACCEPTED, "bold green", ""),
    "rejected": (ExitCode.REJECTED, "bold red", "The venue refused it; nothing was executed."),
    "not_sent": (ExitCode.NOT_SENT, "bold yellow", "Nothing was executed. To try again, send it under a new id."),
    "unknown": (
        ExitCode.UNKNOWN,
        "bold magenta",
        "It may or may not have been executed. Check at the venue before anything else; it is never sent again.",
    ),
}
"""By outcome: exit code, style and explanation."""

ERRORS = {
    **dict.fromkeys(
        ("Unreachable", "BrokerUnavailable", "LedgerUnavailable", "BrokerRefuses", "Declined"), ExitCode.FAILED
    ),
    **dict.fromkeys(("ReportUnverified", "KeyNotWritten", "FileNotWritten"), ExitCode.FAILED),
    **dict.fromkeys(("Usage", "InvalidCommand", "SettingsError", "NotInstalled", "NotConfirmed"), ExitCode.USAGE),
    **dict.fromkeys(
        ("IdReused", "NoSuchCommand", "NotUnknown", "NoSuchHalt", "NoSuchCoolDown", "NoAccounts"), ExitCode.USAGE
    ),
    **dict.fromkeys(("NotHeld", "NotYours", "SigningError", "NoSuchLetter", "NotResendable"), ExitCode.USAGE),
    "PolicyInvalid": ExitCode.USAGE,
    "DeskRefused": ExitCode.USAGE,
    "PolicyChanged": ExitCode.FAILED,
    **dict.fromkeys(("NoRedis", "AddressUnavailable", "NoSuchAccount", "NoTestNetwork"), ExitCode.USAGE),
    "OrderStands": ExitCode.UNKNOWN,
    **dict.fromkeys(("ReportPending", "StillOpen"), ExitCode.NO_REPORT),
    "ChainBroken": ExitCode.NOT_SENT,
    "Interrupted": ExitCode.INTERRUPTED,
}
"""Exit code by the type of an error, as ``--json`` prints it: the name of its class, or of a situation."""


@cache
def expected_errors() -> tuple[type[Exception], ...]:
    """The errors that end a command with a message instead of a traceback. Imported when a command runs, so that help
    need not wait for pydantic."""
    import pydantic_settings

    from producers import errors
    from producers.settings import SettingsError

    return (
        *(errors.InvalidCommand, errors.IdReused, errors.ChainBroken, errors.BrokerUnavailable),
        *(errors.ReportPending, errors.ReportUnverified, SettingsError),
        # Raised by pydantic-settings itself for a value that should be JSON; it names the field and never the value.
        pydantic_settings.SettingsError,
    )


WORST_FIRST = (
    *(ExitCode.INTERRUPTED, ExitCode.UNKNOWN, ExitCode.FAILED, ExitCode.NO_REPORT, ExitCode.USAGE),
    *(ExitCode.REJECTED, ExitCode.NOT_SENT, ExitCode.ACCEPTED),
)
"""Of several commands, the exit code that comes first here counts: what a person must look at before what is known."""


def worst(codes: Iterable[int]) -> ExitCode:
    """The exit code of several commands, each with a code of its own; of none, success."""
    return min(map(ExitCode, codes), key=WORST_FIRST.index, default=ExitCode.ACCEPTED)


def outcome_code(outcome: "Outcome") -> ExitCode:
    """The exit code of an outcome."""
    return OUTCOMES[outcome][0]


def error_type(error: Exception) -> str:
    """The type that ``--json`` prints for one of :func:`expected_errors`."""
    return type(error).__name__ if isinstance(error, ProducersError) else "SettingsError"


def error_code(error: Exception) -> ExitCode:
    """The exit code of one of :func:`expected_errors`. A report that does not exist yet ends with
    :attr:`ExitCode.NO_REPORT`, and a result backend that cannot be read with :attr:`ExitCode.FAILED`."""
    if isinstance(error, ReportPending) and error.unreachable:
        return ExitCode.FAILED
    return ERRORS[error_type(error)]
