"""What ``transitions.lua`` answers, and what it stores, as the objects of :mod:`worker.ledger.base`."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from producers.report import Report
from worker.ledger.base import (
    Admitted,
    BeginAnswer,
    Begun,
    Busy,
    Claim,
    Doubtful,
    Ended,
    Known,
    LookAnswer,
    LookFirst,
    Orphaned,
    Progress,
    QueryAnswer,
    Record,
    Reused,
    State,
    TooLate,
)
from worker.ledger.halts import halt_of
from worker.ledger.holds import Held, HoldOver, hold_record
from worker.ledger.limits import Denied, Excess
from worker.ledger.pacing import Brake, Throttled


def begin_answer(reply: Sequence[str], claim: Claim) -> BeginAnswer:
    """The answer to a begin or a refusal of this claim. The script says only that a result is known, and not which."""
    kind, *rest = reply
    if kind == "begun":
        return Begun(int(rest[0]), _progress(*rest[5:]), int(rest[1]), rest[2], rest[3] == "1", rest[4])
    if kind == "look_first":
        return LookFirst()
    if kind == "known":
        return Known(b"")
    if kind in ("busy", "ended", "reused"):
        return _obstacle(kind, rest)
    if kind == "halted":
        return halt_of(rest[0])
    if kind == "too_late":
        return TooLate(claim.begin_by)
    if kind == "orphaned":
        return Orphaned(rest[0], int(rest[1]), rest[2] == "1", _progress(*rest[4:]), rest[3])
    return _must_wait(kind, rest, claim)


def look_answer(reply: Sequence[str]) -> LookAnswer | None:
    """The answer to a run that would look."""
    kind, *rest = reply
    if kind == "none":
        return None
    if kind == "doubtful":
        return Doubtful(int(rest[0]), _progress(*rest[5:]), rest[3], int(rest[1]), rest[2], int(rest[4]))
    return _obstacle(kind, rest)


def _obstacle(kind: str, rest: Sequence[str]) -> Busy | Ended | Reused:
    if kind == "busy":
        return Busy(int(rest[0]))
    if kind == "ended":
        return Ended(Report.model_validate_json(rest[0]))
    return Reused(Report.model_validate_json(rest[0]) if rest[0] else None)


def _must_wait(kind: str, rest: Sequence[str], claim: Claim) -> BeginAnswer:
    if kind == "held":
        return Held(int(rest[0]), rest[1], rest[2], tuple(rest[3:]))
    if kind == "hold_over":
        return HoldOver(int(rest[0]))
    if kind == "denied":
        limit = claim.limits[int(rest[0])]
        return Denied(limit, Excess(rest[1]), int(rest[2]) if rest[2] else None)
    return _throttled(rest, claim)


def admission(reply: Sequence[str], claim: Claim) -> QueryAnswer:
    """The answer to a query's claim."""
    kind, *rest = reply
    if kind == "halted":
        return halt_of(rest[0])
    if kind == "known":
        return Known(b"")
    return _throttled(rest, claim) if kind == "throttled" else Admitted(probe=rest[0] == "1")


def _throttled(rest: Sequence[str], claim: Claim) -> Throttled:
    brake, wait_ms, why, since_ms = rest
    if brake == Brake.RATE_LIMIT and claim.pace:
        why = str(claim.pace.limits[int(why)])
    return Throttled(Brake(brake), int(float(wait_ms)), why, int(since_ms) if since_ms else None)


def record_of(command_id: str, fields: Mapping[str, str]) -> Record:
    """A command's record, from the fields that are stored."""
    progress = [fields.get(name, "") for name in ("tries", "sent", "tainted", "first_sent_at", "last_signed_at")]
    return Record(
        command_id=command_id,
        state=State(fields["state"]),
        fingerprint=fields["fingerprint"],
        command=fields["command"],
        account=fields["account"],
        fence=int(fields["fence"]),
        progress=_progress(*progress),
        report=Report.model_validate_json(fields["report"]) if "report" in fields else None,
        arguments=fields.get("arguments", ""),
        first_begun_at=int(fields.get("first_begun_at", 0)),
        lease_until=int(fields["lease_until"]),
        account_digest=fields.get("place", ""),
        sealed_by=fields.get("sealed_by", ""),
        lookup=fields.get("lookup", ""),
        hold=hold_record(fields),
    )


@lru_cache(maxsize=256)  # nearly all are those of a first attempt
def _progress(tries: str, sent: str, tainted: str, first_sent_at: str, last_signed_at: str) -> Progress:
    return Progress(
        int(tries),
        int(sent),
        tainted,
        int(first_sent_at) if first_sent_at else None,
        int(last_signed_at) if last_signed_at else None,
    )


def progress_fields(progress: Progress) -> tuple[object, ...]:
    """Progress as the moves that record it take it."""
    times = ("" if at is None else at for at in (progress.first_sent_at, progress.last_signed_at))
    return progress.tries, progress.sent, progress.tainted, *times
