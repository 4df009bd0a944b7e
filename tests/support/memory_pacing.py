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
        """Whether an attempt that has begun is a probe; also one that shows nothing any more."""
        names = claim.token, f"?{claim.token}"
        return claim.pace is not None and any(each.probe in names for each in self._found(claim.pace))

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
        if pace is None or (told is None and not claim.probe):
            return
        place = {True: pace.host, False: pace.bucket}.get(told.by_address) if told else None
        renewed = False
        for key in (pace.bucket, pace.host):
            found = self.cool_downs.get(key)
            if found and found.probe == claim.token:
                if told and place in (key, None):
                    self._renew(claim, key, found, told, now)
                    renewed = True
                else:
                    del self.cool_downs[key]
            elif found and found.probe == f"?{claim.token}":
                found.probe, found.probe_until = "", 0
        if told and place and not renewed:
            self._extend(claim, place, told, now)

    def _renew(self, claim: Claim, key: str, found: Running, told: CoolDown, now: int) -> None:
        ms = cool_down_ms(told)
        if ms is None:
            ms = found.chosen = max(FIRST_MS, min(2 * found.chosen, LONGEST_MS))
        self.cool_downs[key] = Running(now + ms, now, found.by_address, found.chosen, stored_why(told))
        self.journal("cool_down", claim)

    def _extend(self, claim: Claim, place: str, told: CoolDown, now: int) -> None:
        found, asked = self.cool_downs.get(place), cool_down_ms(told)
        chosen = max(FIRST_MS, found.chosen if found else 0) if asked is None else None
        ms = asked if asked is not None else chosen or 0
        if found is None:
            self.cool_downs[place] = Running(now + ms, now, bool(told.by_address), chosen or 0, stored_why(told))
            self.journal("cool_down", claim)
        elif ms > max(0, found.until - now):
            found.until, found.why, found.chosen = now + ms, stored_why(told), chosen or found.chosen
            if found.probe and not found.probe.startswith("?"):
                found.probe = f"?{found.probe}"
