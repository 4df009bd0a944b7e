"""What a broker refuses to do with commands, and why; and a server's refusals in words."""

import redis
from click import ClickException

from producers.redis.url import unquoted

HALT_ADVICE = "`orders halt` keeps what has not begun from being sent"
PURGE_REFUSAL = f"refused: purging a queue would throw commands away without a report; {HALT_ADVICE}"


class Refused(ClickException):
    """This is not done by remote control; the message says what to do instead. Celery's command line, which Click
    runs, shows it in one line."""


def error_text(error: Exception) -> str:
    """The server's own words, without the command that redis-py quotes: it may hold a whole message."""
    return str(unquoted(error)) if isinstance(error, redis.ResponseError) else str(error)
