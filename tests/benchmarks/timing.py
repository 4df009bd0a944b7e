"""How long a call takes; the standard library alone."""

import statistics
import time
from collections.abc import Callable

BATCHES, CALLS = 7, 1000


def microseconds(call: Callable[[], object], batches: int = BATCHES, calls: int = CALLS) -> float:
    """Of one call, the median over batches, after one to warm up."""
    found = []
    for _ in range(batches + 1):
        started = time.perf_counter()
        for _ in range(calls):
            call()
        found.append((time.perf_counter() - started) / calls * 1e6)
    return statistics.median(found[1:])
