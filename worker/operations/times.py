"""Times as an operator reads them."""

import time


def age(since_ms: int, now_ms: int | None = None) -> str:
    """The time since ``since_ms`` in its two largest units; in minutes and seconds where it is less than an hour."""
    return _two_units(((now_ms if now_ms is not None else time.time_ns() // 1_000_000) - since_ms) // 1000)


def duration(milliseconds: int) -> str:
    """A duration in its two largest units; in seconds alone where it is shorter than a minute."""
    seconds = milliseconds // 1000
    return _two_units(seconds) if seconds >= 60 else f"{max(0, seconds)} s"


def _two_units(seconds: int) -> str:
    seconds = max(0, seconds)
    days, hours, minutes = seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"
