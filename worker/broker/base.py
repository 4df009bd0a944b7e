"""Refusals of requests that would lose commands, and the text of a server's errors."""

import redis
from click import ClickException

from producers.redaction import strip_quoted_command

HALT_ADVICE = "`orders halt` keeps what has not begun from being sent"
PURGE_REFUSAL = f"refused: purging a queue would throw commands away without a report; {HALT_ADVICE}"


class Refused(ClickException):
    """Raised for a request that would end or lose commands; the message says what to do instead. Celery's command line,
    which is built with Click, shows it in one line."""


def error_text(error: Exception) -> str:
    """The text of an error, without the command that redis-py quotes in it: that may hold a whole message."""
    return str(strip_quoted_command(error)) if isinstance(error, redis.ResponseError) else str(error)
