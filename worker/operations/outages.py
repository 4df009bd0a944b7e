"""Why a server can't be used, in words for a person."""

import redis

from producers.redaction import server_error_text
from worker.ledger.base import LedgerUnavailable


def ledger_outage(outage: LedgerUnavailable) -> str:
    """Why the ledger is unavailable: a refusal in the server's words, or a connection error with advice."""
    cause = outage.__cause__
    if isinstance(cause, redis.exceptions.NoPermissionError):
        return f"this login may not do that at the ledger; an operator's or a worker's may ({outage})"
    if cause is None or isinstance(cause, redis.ResponseError):
        return str(outage)
    return outage_text(cause, "ORDERS_LEDGER_URL")


def outage_text(error: BaseException, setting: str) -> str:
    """An error of the server whose address is in ``setting``, with advice if it did not respond at all."""
    text = server_error_text(error)
    if isinstance(error, redis.ResponseError):
        return text
    return f"{text}. Start it, or correct {setting} (or ORDERS_REDIS_URL)"
