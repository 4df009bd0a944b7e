"""What a simulated run did to an account's pace, and a checker over it, which shares no code with the ledger."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.ledger.base import Begun, Claim
from worker.ledger.pacing import CoolDown

FIRST_CHOSEN_MS = 1000
"""How long a cool-down lasts at least where the venue does not say."""
TOLERANCE_MS = 2000
"""How long what takes no time in a thread may take here."""


@dataclass(frozen=True, slots=True)
class Begin:
    """An attempt that the ledger let begin; a repeated call is none."""

    at: int
    token: str
    command_id: str
    lease_ms: int
    since_ms: int
    probe: bool
    passes: bool


@dataclass(frozen=True, slots=True)
class Fate:
    """What the ledger was told of an attempt: until when the venue wants nothing, or 0; whether its worker takes it for
    a probe, whether the venue answered, and whether it asked for that wait. Else a probe has shown nothing, of no
    weight when it is not the probe any more."""

    at: int
    token: str
    until: int
    probe: bool
    heard: bool
    asked: bool


@dataclass(frozen=True, slots=True)
class Parked:
    """A command that was parked until it is due."""

    at: int
    token: str
    command_id: str
    due: int


Event = Begin | Fate | Parked


@dataclass
class Paced:
    """What was begun and told, in its order."""

    events: list[Event] = field(default_factory=list)
    _done: set[tuple[str, str, int]] = field(default_factory=set)

    def note(self, move: str, claim: Claim, rest: Sequence[Any], answer: object, at: int, heard: bool) -> bool:
        """Note a move of the ledger, if it says anything of the pace; whether an attempt begins."""
        done = move, claim.token, rest[0] if move == "begin" else 0
        first = isinstance(answer, Begun | bool) and done not in self._done
        self._done |= {done} if first else set()
        if isinstance(answer, Begun) and first:
            passes = claim.pace is not None and claim.pace.passes_cool_down
            begun = claim.lease_ms, answer.since_ms, answer.probe, passes
            self.events.append(Begin(at, claim.token, claim.command_id, *begun))
            return True
        if move in ("pause", "park", "settle"):
            told = next((each for each in rest if isinstance(each, CoolDown)), None)
            lasts = 0 if told is None else FIRST_CHOSEN_MS if told.seconds is None else int(told.seconds * 1000)
            asked = told is not None and told.by_address is not None
            self.events.append(Fate(at, claim.token, at + lasts if told else 0, claim.probe, heard, asked))
        if move == "park" and answer and first:
            self.events.append(Parked(at, claim.token, claim.command_id, at + rest[1]))
        return False


def untrue_paces(events: Sequence[Event], limits: Sequence[tuple[int, int]], budget_ms: int) -> Iterator[str]:
    """Every begin that should have waited. ``limits`` are pairs of a number of requests and milliseconds;
    ``budget_ms`` is the time for retries, 0 where workers stood still."""
    yield from _cool_downs(events)
    yield from _probes(events)
    yield from _parked(events, budget_ms)
    begins = [event for event in events if isinstance(event, Begin)]
    for most, within in limits:
        for first, last in zip(begins, begins[most:], strict=False):
            if last.at - first.at < within:
                yield f"pace: more than {most} begins within {within} ms, from {first.at} on"


def _parked(events: Sequence[Event], budget_ms: int) -> Iterator[str]:
    parked: dict[str, Parked] = {}
    budget_from: dict[str, int] = {}
    for event in events:
        if isinstance(event, Parked):
            parked[event.command_id] = event
            if budget_ms and event.due > budget_from[event.command_id] + budget_ms + TOLERANCE_MS:
                yield f"{event.command_id} is parked until {event.due}, and its time for retries is over"
        elif isinstance(event, Begin):
            before = parked.pop(event.command_id, None)
            if before is not None and event.at < before.due:
                yield f"{event.command_id} begins at {event.at}, and is parked until {before.due}"
            if before is None:
                budget_from[event.command_id] = event.at


def _probes(events: Sequence[Event]) -> Iterator[str]:
    probe = None
    for event in events:
        if isinstance(event, Begin) and event.probe:
            probe = event
        elif isinstance(event, Fate) and probe and event.token == probe.token:
            if not event.probe:
                yield f"pace: the probe that began at {probe.at} is over, and its worker does not know that it was one"
            probe = None


def _cool_downs(events: Sequence[Event]) -> Iterator[str]:
    until, unheard, probe, outdated = 0, False, None, False
    for event in events:
        if isinstance(event, Parked):
            continue
        if isinstance(event, Fate):
            is_probe = probe is not None and event.token == probe.token
            counts = is_probe and not outdated
            # What the venue has asked for since makes the probe's own answer worth nothing.
            outdated = outdated or (event.asked and not is_probe and event.until > max(until, event.at))
            if event.asked or counts:
                until, unheard = max(until, event.until), unheard or bool(event.until)
            if counts:
                unheard = unheard and bool(event.until or not event.heard)
            probe = None if is_probe else probe
            continue
        if event.passes:
            continue
        if event.at < until:
            yield f"pace: a begin at {event.at} in a cool-down until {until}"
        if unheard and not event.probe:
            yield f"pace: a begin at {event.at} before a probe has shown that the venue answers again"
        if event.probe and probe is not None and event.token != probe.token and event.at < probe.at + probe.lease_ms:
            yield f"pace: a second probe at {event.at}, and the first began at {probe.at}"
        probe, outdated = (event, False) if event.probe else (probe, outdated)
