"""A token bucket: so much at once, and then so much in a time."""

import threading
from collections.abc import Callable
from time import monotonic


class TokenBucket:
    """Threads may share it."""

    def __init__(self, burst: int, seconds_per_token: float, now: Callable[[], float] = monotonic) -> None:
        self._burst = burst
        self._seconds_per_token = seconds_per_token
        self._now = now
        self._lock = threading.Lock()
        self._tokens = float(burst)
        self._counted_at = now()

    def take(self) -> bool:
        """Take a token; False when there is none."""
        with self._lock:
            now = self._now()
            self._tokens = min(self._burst, self._tokens + (now - self._counted_at) / self._seconds_per_token)
            self._counted_at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
