"""Requests that a fault holds until a test releases them."""

import asyncio
from itertools import count


class HeldRequests:
    """The requests that wait to be released."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[int, asyncio.Future[bool]]] = {}
        self._keys = count()

    async def wait(self, fault_id: int) -> bool:
        """Wait for `release`; returns whether the request is to proceed (true) or to be dropped (false)."""
        key = next(self._keys)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[key] = (fault_id, future)
        try:
            return await future
        finally:
            self._waiting.pop(key, None)

    def release(self, *, proceed: bool, fault_id: int | None = None) -> int:
        """Release all held requests, or those held by one fault; returns how many."""
        chosen = [
            future for held_by, future in self._waiting.values() if fault_id in (None, held_by) and not future.done()
        ]
        for future in chosen:
            future.set_result(proceed)
        return len(chosen)
