"""The report: the one record of how a command ended.

Its fields are the public contract (:mod:`producers.json_schemas` writes them down for other
languages). Times are UNIX milliseconds, decimals are strings in plain notation.
"""

from collections.abc import Mapping
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
    """Why a command ended as it did: stable words that programs may compare."""

    OK = "ok"
    """accepted: the venue said so."""
    REFUSED = "refused"
    """rejected: the venue's final refusal."""
    INVALID = "invalid"
    """not_sent: the arguments can't make a command."""
    EXPIRED = "expired"
    """not_sent: the deadline passed before a request could be signed."""
    HALTED = "halted"
    """not_sent: an operator halted sending."""
    DENIED = "denied"
    """not_sent: this worker's policy forbids it."""
    UNAVAILABLE = "unavailable"
    """not_sent: the retries, or the time for them, were used up; each attempt is proven not executed."""
    LOST_REPLY = "lost_reply"
    """unknown: a request left and no reply of the venue's own came back."""
    UNLISTED_ANSWER = "unlisted_answer"
    """unknown: the venue answered something whose meaning is not known."""
    REFUSED_AFTER_LOST = "refused_after_lost"
    """unknown: refused, but an earlier attempt of unknown fate may be the very cause of the refusal."""
    CRASHED = "crashed"
    """unknown: a worker died with a send begun."""


class Direction(StrEnum):
    """Which way a position points."""

    LONG = "long"
    SHORT = "short"


class Position(BaseModel):
    """One open position, the same shape for every venue. Decimals are strings; null where the venue does not say."""

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


class Report(BaseModel):
    """How one command ended. Every command ends in exactly one."""

    # A field that a newer worker adds must not make its reports unreadable to an older one.
    model_config = ConfigDict(frozen=True, extra="ignore")

    command_id: str
    command: str
    """``close``, ``cancel``, ``withdraw`` or ``positions``."""
    account: str | None = None
    """The alias as it was sent; null when it was missing or no string."""
    venue: str | None = None
    """``everstrike`` or ``bitz``; null when the account is not known to the worker."""
    outcome: Outcome
    reason: Annotated[Reason | str, Field(union_mode="left_to_right")]
    """A :class:`Reason`; a word that is none comes from a newer worker."""
    message: str
    """One line for a person; no secret in it."""
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

    def to_json(self) -> dict[str, Any]:
        """The report as the JSON object of the contract, every field present."""
        return self.model_dump(mode="json")

    def as_replay(self) -> "Report":
        """The same report, marked as the stored report of an earlier run."""
        return self.model_copy(update={"replayed": True})

    def raise_for_outcome(self) -> "Report":
        """Return the report when it is ``accepted``.

        Raises:
            OrderRejected, OrderNotSent, OrderUnknown: for the other three outcomes.
        """

        error = error_for(self)
        if error is not None:
            raise error
        return self


REPORTED = {"OrderRejected": "rejected", "OrderNotSent": "not_sent", "OrderUnknown": "unknown"}
"""Names of the exceptions whose argument is the command's own report, and the outcome that each tells."""


def report_from_result(meta: Any) -> Report | None:
    """The report in a result as Celery's backend stores it (``{"status", "result", …}``).

    ``accepted`` is the result itself; the other outcomes are the one argument of a stored exception. None while there
    is none, or when the task ended in something that is no report: it was never sent, or Celery ended it; or one that
    contradicts the state, or the exception, that it is stored as.
    """
    result = meta.get("result") if isinstance(meta, Mapping) else None
    told = "accepted" if isinstance(meta, Mapping) and meta.get("status") == "SUCCESS" else None
    if isinstance(result, Mapping) and "exc_message" in result:
        kind, arguments = result.get("exc_type"), result["exc_message"]
        told = REPORTED.get(kind) if isinstance(kind, str) and meta.get("status") == "FAILURE" else None
        result = arguments[0] if isinstance(arguments, list | tuple) and len(arguments) == 1 else None
    try:
        report = Report.model_validate(result) if isinstance(result, Mapping) else None
    except (ValidationError, RecursionError):
        return None
    return report if report is not None and report.outcome.value == told else None


_BY_OUTCOME: dict[str, type[OrderError]] = {
    "rejected": OrderRejected,
    "not_sent": OrderNotSent,
    "unknown": OrderUnknown,
}


def error_for(report: Report) -> OrderError | None:
    """The error that tells this report's outcome, or None for ``accepted``."""
    error = _BY_OUTCOME.get(report.outcome.value)
    return error(report.to_json()) if error else None
