"""The report: the record of how a command ended.

Its fields are the public contract; :mod:`producers.json_schemas` generates its JSON Schema. Times are UNIX
milliseconds, decimals are strings in plain notation.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from producers.errors import OrderError, OrderNotSent, OrderRejected, OrderUnknown
from producers.printable import printable


class Outcome(StrEnum):
    """How a command ended."""

    ACCEPTED = "accepted"
    """The venue took it."""
    REJECTED = "rejected"
    """The venue refused it; nothing was executed."""
    NOT_SENT = "not_sent"
    """Proven not executed, and given up."""
    UNKNOWN = "unknown"
    """It may or may not have been executed. Never sent again; only evidence or an operator settles it."""


class Reason(StrEnum):
    """Why a command ended with its outcome: stable words that programs may compare."""

    OK = "ok"
    """accepted: the venue said so."""
    REFUSED = "refused"
    """rejected: the venue's final refusal."""
    INVALID = "invalid"
    """not_sent: the arguments are invalid."""
    EXPIRED = "expired"
    """not_sent: the deadline passed before a request was signed."""
    HALTED = "halted"
    """not_sent: an operator halted sending."""
    DENIED = "denied"
    """not_sent: this worker's policy forbids it."""
    UNAVAILABLE = "unavailable"
    """not_sent: the retries, or the time for them, were used up; each attempt is proven not executed."""
    LOST_REPLY = "lost_reply"
    """unknown: a request was sent, and no response of the venue itself came back."""
    UNLISTED_ANSWER = "unlisted_answer"
    """unknown: the venue sent a response whose meaning is not known."""
    REFUSED_AFTER_LOST = "refused_after_lost"
    """unknown: refused, but an earlier attempt may have been executed and be the cause of the refusal."""
    SEEN = "seen"
    """unknown: the venue knows the command's client order id already, and does not show what became of it."""
    CRASHED = "crashed"
    """unknown: a worker died after it had begun to send."""


class Direction(StrEnum):
    """The side of a position."""

    LONG = "long"
    SHORT = "short"


class Position(BaseModel):
    """One open position, in the same form for every venue. Decimals are strings; null where the venue states none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    instrument: Annotated[str, AfterValidator(lambda name: printable(name, 256))]
    """The venue's own name of the market, for example ``USD_BTC_PERP``."""
    direction: Direction
    size: str
    entry_price: str | None = None
    liquidation_price: str | None = None
    leverage: str | None = None
    margin: str | None = None
    realized_pnl: str | None = None
    unrealized_pnl: str | None = None
    cross: bool | None = None


Milliseconds = Annotated[int, Field(description="UNIX milliseconds")]


class ReportSignature(BaseModel):
    """A worker's signature of a report, see :mod:`producers.report_signature`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    by: str
    kid: str
    sig: str
    """64 bytes in base64."""


class Report(BaseModel):
    """How one command ended. Every command ends in exactly one."""

    # Reports of newer workers, with fields that do not exist here, must be readable.
    model_config = ConfigDict(frozen=True, extra="ignore")

    command_id: str
    command: str
    """``close``, ``submit``, ``cancel``, ``withdraw`` or ``positions``."""
    account: str | None = None
    """The alias as it was sent; null when it was missing or not a string."""
    venue: str | None = None
    """``everstrike`` or ``bitz``; null when the account is not known to the worker."""
    outcome: Outcome
    reason: Annotated[Reason | str, Field(union_mode="left_to_right")]
    """A :class:`Reason`; any other word comes from a newer worker."""
    message: str
    """One line for a person, without secrets."""
    http_status: int | None = None
    venue_code: int | str | None = None
    venue_message: str | None = None
    result: JsonValue = None
    """The venue's ``result`` (Everstrike) or ``data`` (Bit-Z), untouched."""
    positions: tuple[Position, ...] | None = None
    fingerprint: str
    """SHA-256 of the task and its normalised arguments, see :func:`producers.commands.fingerprint`."""
    attempts: int = 0
    """How many times a request was put on the wire."""
    enqueued_at: Milliseconds | None = None
    first_sent_at: Milliseconds | None = None
    last_signed_at: Milliseconds | None = None
    finished_at: Milliseconds | None = None
    replayed: bool = False
    """True when this is the stored report of an earlier run."""
    signature: ReportSignature | None = None
    """Null where workers have no key for it."""

    def to_json(self) -> dict[str, Any]:
        """The report as the contract's JSON object, with every field."""
        return self.model_dump(mode="json")

    def as_replay(self) -> "Report":
        """The same report, marked as the stored report of an earlier run, which nobody has signed so yet."""
        return self.model_copy(update={"replayed": True, "signature": None})

    def raise_for_outcome(self) -> "Report":
        """Return the report if it is ``accepted``.

        Raises:
            OrderRejected, OrderNotSent, OrderUnknown: for the other three outcomes.
        """

        error = error_for(self)
        if error is not None:
            raise error
        return self


REPORTED = {"OrderRejected": "rejected", "OrderNotSent": "not_sent", "OrderUnknown": "unknown"}
"""Outcome by the name of the exception that carries the command's report."""


def report_from_result(
    meta: Any, verified: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda report: report
) -> Report | None:
    """The report in a result as Celery's backend stores it (``{"status", "result", …}``).

    An ``accepted`` report is the result itself; the others are the one argument of a stored exception. None when there
    is no report: no result yet, or a command that was never sent, or a task that Celery ended. None, too, when the
    report contradicts the state or the exception that it is stored with.

    ``verified`` takes the report's JSON object before it is read, returns what is to be read in its place, and may
    raise an error of its own.
    """
    result = meta.get("result") if isinstance(meta, Mapping) else None
    expected = "accepted" if isinstance(meta, Mapping) and meta.get("status") == "SUCCESS" else None
    if isinstance(result, Mapping) and "exc_message" in result:
        kind, arguments = result.get("exc_type"), result["exc_message"]
        expected = REPORTED.get(kind) if isinstance(kind, str) and meta.get("status") == "FAILURE" else None
        result = arguments[0] if isinstance(arguments, list | tuple) and len(arguments) == 1 else None
    try:
        report = Report.model_validate(verified(result)) if expected and isinstance(result, Mapping) else None
    except (ValidationError, RecursionError):
        return None
    return report if report is not None and report.outcome.value == expected else None


_BY_OUTCOME: dict[str, type[OrderError]] = {
    "rejected": OrderRejected,
    "not_sent": OrderNotSent,
    "unknown": OrderUnknown,
}


def error_for(report: Report) -> OrderError | None:
    """The error for this report's outcome; None for ``accepted``."""
    error = _BY_OUTCOME.get(report.outcome.value)
    return error(report.to_json()) if error else None
