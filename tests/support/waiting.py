"""Waiting for a condition, with a bound."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], what: str | Callable[[], str], seconds: float = 30.0, every: float = 0.02) -> T:
    """Return the first true value of ``condition``, which is asked each ``every`` seconds.

    Raises:
        TimeoutError: the condition did not hold within ``seconds``; the text says ``what`` was waited for.
    """
    __tracebackhide__ = True  # pytest shows the line that waited
    ends_at = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() >= ends_at:
            raise TimeoutError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(every)
    return found
