"""How long a call takes; with the standard library alone."""

import statistics
import time
import timeit
from collections.abc import Callable


def microseconds(
    call: Callable[[], object], calls: int = 1000, timer: Callable[[], float] = time.perf_counter
) -> float:
    """The median of one call over seven batches, after one batch to warm up."""
    batches = timeit.repeat(call, number=calls, repeat=8, timer=timer)
    return statistics.median(batches[1:]) / calls * 1e6
