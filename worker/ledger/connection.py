"""Connecting to the ledger's server, and calling it so that every failure has one type."""

from collections.abc import Callable
from typing import Any

import redis

from producers.redaction import strip_quoted_command
from producers.redis import client
from worker.ledger.base import LedgerUnavailable


def connect(url: str, timeout: float = 5.0) -> redis.Redis:
    """A client for a ledger URL. Calls fail within ``timeout`` seconds; the executor decides what to do then."""
    # One more try on a new connection: every move may be repeated, and a server's restart leaves dead ones pooled.
    return client.connect(url, timeout=timeout, tries=2, health_check_interval=25, decode_responses=True)


def guarded(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call the ledger's server.

    Raises:
        LedgerUnavailable: it can't be reached, or refuses because it is full, has no disk, is a replica, is still
            loading or gives no permission: nothing can be recorded.
    """
    try:
        return call(*arguments, **named)
    except redis.ResponseError as error:
        raise LedgerUnavailable(f"the ledger's server refuses: {str(strip_quoted_command(error))[:120]}") from error
    except (redis.RedisError, OSError) as error:
        raise LedgerUnavailable(f"the ledger's server can't be reached: {type(error).__name__}") from error


def never_waits(refusal: Exception) -> bool:
    """Whether a server that refuses ``WAITAOF`` with this error will refuse it every time."""
    message = str(refusal).lower()
    permanent = "unknown command" in message or "appendonly" in message
    return permanent or isinstance(refusal, redis.exceptions.NoPermissionError)
