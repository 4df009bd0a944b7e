"""Rate limits and cool-downs in memory, for :mod:`tests.support.memory_ledger`."""

from collections.abc import Callable
from dataclasses import dataclass, field

from worker.ledger.base import Claim
from worker.ledger.pacing import (
    FIRST_COOL_DOWN_SECONDS,
    LONGEST_CHOSEN_SECONDS,
    Brake,
    CoolDown,
    Pace,
    Throttled,
    allowed,
    cool_down_ms,
    span_ms,
    stored_why,
)

FIRST_MS, LONGEST_MS = int(FIRST_COOL_DOWN_SECONDS * 1000), int(LONGEST_CHOSEN_SECONDS * 1000)
PROBE_WAIT_MS, LONGEST_PROBE_MS = 100, 900_000


@dataclass(slots=True)
class Running:
    """A cool-down; times are UNIX ms."""

    until: int
    since: int
    by_address: bool
    chosen: int = 0
    why: str = ""
    probe: str = ""
    probe_until: int = 0


@dataclass(slots=True)
class Pacing:
    """The cool-downs by bucket or host, and when attempts of each bucket were begun, the oldest first."""

    journal: Callable[[str, Claim], None]
    cool_downs: dict[str, Running] = field(default_factory=dict)
    begins: dict[str, list[int]] = field(default_factory=dict)

    def heed(self, claim: Claim, now: int) -> Throttled | None:
        """What keeps an attempt from beginning."""
        if claim.pace is None:
            return None
        return self._heed_cool_downs(claim, claim.pace, now) or self._heed_limits(claim.pace, now)

    def _heed_cool_downs(self, claim: Claim, pace: Pace, now: int) -> Throttled | None:
        found = self._found(pace)
        last = max(found, key=lambda each: each.until, default=None)
        if last and last.until > now:
            return Throttled(Brake.COOL_DOWN, last.until - now, last.why)
        for each in found:
            if each.probe not in ("", claim.token) and each.probe_until > now:
                return Throttled(Brake.PROBE, PROBE_WAIT_MS, each.why)
        return None

    def _found(self, pace: Pace) -> list[Running]:
        keys = () if pace.passes_cool_down else (pace.bucket, pace.host)
        return [self.cool_downs[key] for key in keys if key in self.cool_downs]

    def _heed_limits(self, pace: Pace, now: int) -> Throttled | None:
        longest, begins = Throttled(Brake.RATE_LIMIT, 0), self.begins.get(pace.bucket, [])
        for limit in pace.limits:
            most = allowed(limit, pace.urgency)
            wait = begins[-most] + span_ms(limit) - now if len(begins) >= most else 0
            if wait > longest.wait_ms:
                longest = Throttled(Brake.RATE_LIMIT, wait, str(limit))
        return longest if longest.wait_ms else None

    def is_probe(self, claim: Claim) -> bool:
        """Whether an attempt that has begun is a probe."""
        return claim.pace is not None and any(each.probe == claim.token for each in self._found(claim.pace))

    def count(self, claim: Claim, now: int) -> bool:
        """Count an attempt that begins now; whether it is a probe."""
        if claim.pace is None:
            return False
        if claim.pace.limits:
            self.begins.setdefault(claim.pace.bucket, []).append(now)
        found = self._found(claim.pace)
        for each in found:
            each.probe, each.probe_until = claim.token, now + min(claim.lease_ms, LONGEST_PROBE_MS)
        return bool(found)

    def record_fate(self, claim: Claim, told: CoolDown | None, now: int) -> None:
        """Record what an attempt's response says about those that follow."""
        pace = claim.pace
        if pace is None:
            return
        place = told and (pace.host if told.by_address else pace.bucket)
        for key in (pace.bucket, pace.host):
            found = self.cool_downs.get(key)
            if claim.probe and found and found.probe == claim.token and key != place:
                del self.cool_downs[key]
        if told and place:
            before = self.cool_downs.get(place)
            probe = claim.probe and before is not None and before.probe == claim.token
            self._begin(claim, place, told, now, probe=probe)

    def _begin(self, claim: Claim, place: str, told: CoolDown, now: int, *, probe: bool) -> None:
        before = self.cool_downs.get(place)
        found = before or Running(now, now, told.by_address)
        ms = cool_down_ms(told)
        if ms is None:
            found.chosen = min(found.chosen * (2 if probe else 1), LONGEST_MS) or FIRST_MS
            ms = found.chosen
        if before and not probe and now + ms <= max(now, before.until):
            return
        found.until, found.why = now + ms, stored_why(told)
        if probe or not before:
            found.since, found.probe, found.probe_until = now, "", 0
            self.journal("cool_down", claim)
        self.cool_downs[place] = found
