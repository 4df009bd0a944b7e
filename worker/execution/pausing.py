"""What is recorded of a command before it waits for its next attempt or look: in its thread, or parked."""

import math

from worker.clock import Clock
from worker.execution.carried import QueryProgress
from worker.execution.context import Run
from worker.execution.events import Observer
from worker.execution.lease import LeaseManager
from worker.execution.parking import PROGRESS_HEADER, SHORTEST_SECONDS, Parking, ParkMessage, WaitsFor
from worker.ledger.pacing import CoolDown


class Pauses:
    """Records the fate of attempts; one for a worker process, safe to share among threads."""

    def __init__(self, *, leases: LeaseManager, clock: Clock, observer: Observer, lease_ms: int) -> None:
        """``lease_ms`` is how long one attempt or look may take."""
        self._leases = leases
        self._clock = clock
        self._observer = observer
        self._lease_ms = lease_ms

    def pause_or_park(self, run: Run, seconds: float, waits_for: WaitsFor) -> None:
        """Record the last attempt's fate, and return if the wait for what is next is this thread's.

        Raises:
            ParkMessage: it waits at the broker.
            LeaseLost: another worker has taken the lease over.
        """
        cool_down = self.take_cool_down(run)
        parks = run.parks_looking if waits_for is WaitsFor.LOOK else run.parks
        if not parks or seconds < SHORTEST_SECONDS:
            self._leases.pause(run.lease, int(seconds * 1000) + self._lease_ms, cool_down)
            return
        wait_ms = math.ceil(seconds * 1000)
        self._leases.park(run.lease, wait_ms, run.memory, cool_down)
        # What has begun does not expire with its message.
        headers: dict[str, object] = {"expires": None}
        if not run.lease.recorded:
            began_at = self._clock.now_ms() - int((self._clock.monotonic() - run.lease.started) * 1000)
            headers[PROGRESS_HEADER] = QueryProgress(run.progress, began_at, run.memory).to_header()
        raise ParkMessage(Parking(wait_ms, waits_for, headers=headers))

    def keep(self, run: Run) -> None:
        """Record the last attempt's fate, and keep the lease.

        Raises:
            LeaseLost: another worker has taken the lease over.
        """
        self._leases.keep(run.lease, self.take_cool_down(run))

    def take_cool_down(self, run: Run) -> CoolDown | None:
        """What the last attempt says about those that follow, if the ledger does not have it yet; it is to be recorded
        in its next move."""
        cool_down, run.cool_down = run.cool_down, None
        if cool_down is not None:
            self._observer.cooled_down(run.command_ref, cool_down.seconds, cool_down.by_address, cool_down.why)
        return cool_down
