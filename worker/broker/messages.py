"""Reading the headers of a queued message."""

import json
from typing import Any


def enqueued_at_ms(headers: Any) -> int | None:
    """When a message was enqueued, by the header ``enqueued_at`` (UNIX ms); None when it is missing or no time."""
    value = headers.get("enqueued_at") if isinstance(headers, dict) else None
    # Bounded, because an integer of hundreds of digits can't be converted to a float or a date.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**15 else None


def message_enqueued_at_ms(message: Any) -> int | None:
    """When a raw message of a Redis queue was enqueued (UNIX ms); None also when it can't be read."""
    try:
        return enqueued_at_ms(json.loads(message)["headers"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
