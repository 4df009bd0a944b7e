"""Looks for commands in doubt, at venues that know client order ids: what is found there decides how a command ends.

A command is looked for at once. If it is found, its record decides. If it is absent, its request may still be on its
way: absence counts only after the venue itself refuses that request, by this machine's clock and by the venue's own,
and only when two looks have shown it. Then no attempt was executed, because all of them have one client order id. Of a
withdrawal absence proves nothing, nor where the venue said that it knows the id.

A command waits between looks as between attempts: parked where it may, or in its thread. Looks are no attempts, they go
on when attempts, time or deadline are used up, and they are bounded: what can't be told then ends as unknown.
"""

from dataclasses import dataclass, replace

from producers.commands import Withdraw
from producers.redaction import hidden_values, redact_text
from producers.report import Reason
from worker.clock import Clock
from worker.execution.backoff import Attempt
from worker.execution.context import Run
from worker.execution.events import LookEvent, Observer
from worker.execution.lease import LeaseLost, LeaseManager
from worker.execution.parking import WaitsFor
from worker.execution.pausing import Pauses
from worker.execution.reads import redacted
from worker.execution.retry_policy import Decision
from worker.venues.base import Proof, Verdict
from worker.venues.http.transport import Transport
from worker.venues.json_values import to_report_json
from worker.venues.lookups import Lookup, Sight, Sighting

SETTLE_MS = 5_000
"""How long after a venue refuses a request absence counts: what it took in time may need a moment until its lists show
it, and its clock is read in whole seconds."""
KEPT_MS = 600_000
"""For how long after it was sent a venue surely lists an order: some forget those that were cancelled unfilled within
hours. It also bounds the looks of owners that die one after the other."""
APART_SECONDS = 1.0
"""Between two absences: two answers of one moment may come from one replica that lags."""
ENOUGH_ABSENCES = 2
ENOUGH_WITHOUT_UNTIL = 3
"""So many absences end the looking where no absence proves anything, because nothing makes the venue refuse the
request."""
MAX_LOOKS = 8
"""How often a command is looked for at most between two attempts: for about 90 s of looks that show nothing."""
MAX_WAIT_SECONDS = 120.0
"""The longest wait for a clock: that of a venue that is far behind is not waited for."""
MAX_BACKOFF_SECONDS = 30.0


class Looker:
    """Looks for commands; one for a worker process, safe to share among threads."""

    def __init__(
        self,
        leases: LeaseManager,
        pauses: Pauses,
        transport: Transport,
        clock: Clock,
        observer: Observer,
        hidden: frozenset[str],
    ) -> None:
        """``observer`` receives no value of the ``hidden`` arguments."""
        self._leases = leases
        self._pauses = pauses
        self._transport = transport
        self._clock = clock
        self._observer = observer
        self._hidden = hidden

    def look(self, run: Run) -> Attempt:
        """Look for a command in doubt until it is found, or proven absent, or can't be told, and return what that says
        about its attempts. ``RETRY`` says that none of them was executed; the doubt is gone then.

        Raises:
            LeaseLost: another worker has taken the lease over.
            ParkMessage: it waits at the broker for the next look.
            RequeueMessage: the worker is stopping; the doubt is on record.
        """
        while True:
            seen = self._see(run)
            if seen is None:
                return self._untold(run, "it can't be looked for")
            attempt = self._told(run, seen)
            if attempt is not None:
                return attempt
            seconds = self._seconds(run, seen)
            self._pauses.pause_or_park(run, seconds, WaitsFor.LOOK)
            self._leases.sleep_between_attempts(run.lease, seconds)

    def look_once(self, run: Run) -> Attempt | None:
        """Look once; what is found decides, and nothing else does.

        Raises:
            LeaseLost: another worker has taken the lease over.
        """
        seen = self._see(run)
        return _found(run, seen) if seen else None

    def _see(self, run: Run) -> "_Seen | None":
        """Look now; None where nothing finds every attempt of the command."""
        lookup = run.lease.lookup
        if lookup is None:
            return None
        self._pauses.keep(run)
        asked_ms, started = self._clock.now_ms(), self._clock.monotonic()
        begun_ms = (started - run.lease.begun_at) * 1000
        seen = _Seen(self._sighting(run, lookup), lookup, asked_ms, begun_ms)
        run.looks += 1
        run.absences += seen.counts
        words = redact_text(seen.sighting.words, hidden_values(run.envelope.arguments, self._hidden))
        seconds = self._clock.monotonic() - started
        self._observer.looked(
            run.command_ref, LookEvent(seen.sighting.sight.value, seen.counts, run.looks, seconds, words)
        )
        return seen

    def _told(self, run: Run, seen: "_Seen") -> Attempt | None:
        """What a look says about the attempts of the command; None if it is to be looked for again."""
        found, words = _found(run, seen), seen.sighting.words
        if found is not None:
            return found
        if seen.is_late:
            return self._untold(run, f"{words}, and the venue may have forgotten it by now")
        if run.absences >= (ENOUGH_ABSENCES if seen.lookup.until_ms else ENOUGH_WITHOUT_UNTIL):
            return self._absent(run, seen)
        if run.looks >= MAX_LOOKS:
            return self._untold(run, f"looked for {run.looks} times: {words}")
        return None

    def _sighting(self, run: Run, lookup: Lookup) -> Sighting:
        def before_each() -> None:
            limits = self._transport.limits
            seconds = limits.connect_timeout + limits.read_timeout + 1
            if not self._leases.has_time_left(run.lease, self._clock.now_ms(), seconds):
                self._leases.keep(run.lease)

        try:
            return run.venue.look(
                run.command, lookup, run.account, redacted(self._transport.send, run.account, before_each)
            )
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - a look that fails shows nothing; the text may quote a request
            return Sighting(Sight.UNREADABLE, f"the look failed ({type(error).__name__})")

    def _seconds(self, run: Run, seen: "_Seen") -> float:
        """How long to wait for the next look."""
        sighting, until_ms = seen.sighting, seen.lookup.until_ms
        if sighting.sight is Sight.UNREADABLE:
            return min(APART_SECONDS * 2.0 ** (run.looks - 1), MAX_BACKOFF_SECONDS)
        if not until_ms:
            return SETTLE_MS / 1000
        clocks = [self._clock.now_ms(), *([sighting.venue_time_ms] if sighting.venue_time_ms is not None else [])]
        return min(max((until_ms + SETTLE_MS - min(clocks)) / 1000, APART_SECONDS), MAX_WAIT_SECONDS)

    def _absent(self, run: Run, seen: "_Seen") -> Attempt:
        words = seen.sighting.words
        if not seen.lookup.until_ms:
            return self._untold(run, f"{words}; it may still be on its way")
        if isinstance(run.command, Withdraw):
            return self._untold(run, f"{words}; of a withdrawal that proves nothing")
        if run.progress.tainted == Reason.SEEN:
            return self._untold(run, f"{words}, and the venue knows its id")
        _clear(run)
        return Attempt(Verdict(Proof.NOT_EXECUTED, f"it never arrived at the venue: {words}"), Decision.RETRY)

    def _untold(self, run: Run, words: str) -> Attempt:
        """The looks are over, and the doubt remains."""
        refused = run.refused_after_doubt or (run.ending is not None and run.ending.reason is Reason.REFUSED)
        reason = Reason.REFUSED_AFTER_LOST if refused else Reason(run.progress.tainted)
        first = run.ending.message if run.ending else run.first_doubt or "a worker died after its send was begun"
        return Attempt(Verdict(Proof.UNKNOWN, f"{first}; {words}", reason), Decision.UNKNOWN)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One look."""

    sighting: Sighting
    lookup: Lookup
    asked_ms: int
    """When it began, UNIX ms on this machine's clock."""
    begun_ms: float
    """How long before that the last attempt was begun."""

    @property
    def counts(self) -> bool:
        """Whether it is an absence that counts: no request of the command can arrive any more."""
        return self.sighting.sight is Sight.ABSENT and (self.is_past or not self.lookup.until_ms)

    @property
    def is_past(self) -> bool:
        """Whether the venue takes no request of the command any more, by both clocks."""
        past, venue_ms = self.lookup.until_ms + SETTLE_MS, self.sighting.venue_time_ms
        return self.lookup.until_ms > 0 and self.asked_ms >= past and venue_ms is not None and venue_ms >= past

    @property
    def is_late(self) -> bool:
        """Whether absence proves nothing any more, by any clock."""
        now_ms, until_ms = max(self.asked_ms, self.sighting.venue_time_ms or 0), self.lookup.until_ms
        return self.begun_ms > KEPT_MS or now_ms - KEPT_MS > until_ms > 0


def _found(run: Run, seen: _Seen) -> Attempt | None:
    """What the record that was found says; None without one that decides."""
    sighting = seen.sighting
    # A second request may be on its way, which a first one that has failed says nothing about.
    several = run.command.repeatable or run.progress.sent > 1
    undecided = sighting.taken is False and several and not seen.is_past
    if sighting.sight is not Sight.FOUND or undecided:
        return None
    words = f"found at the venue by its client order id: {sighting.words}"
    verdict = Verdict(Proof.UNKNOWN, words, Reason.UNLISTED_ANSWER, result=to_report_json(sighting.record))
    run.last_verdict = verdict
    if sighting.taken is None:
        return Attempt(verdict, Decision.UNKNOWN)
    _clear(run)
    if sighting.taken:
        return Attempt(replace(verdict, proof=Proof.EXECUTED), Decision.ACCEPT)
    return Attempt(replace(verdict, proof=Proof.REFUSED), Decision.REJECT)


def _clear(run: Run) -> None:
    """Forget the doubt: what became of every attempt is known."""
    run.lease.progress = replace(run.progress, tainted="")
    run.first_doubt, run.refused_after_doubt = "", False
    run.looks = run.absences = 0
