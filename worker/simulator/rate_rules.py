"""Rate limits of the simulated venues, and the bans of those who exceed them. They stand in front of the venues: a
request that is refused here reaches neither a fault nor an account.

Times are seconds on the monotonic clock.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from pydantic import Field

from worker.simulator.faults import serves
from worker.simulator.messages import JSON_HEADERS, PLAIN_REFUSALS, Refusals, Reply
from worker.simulator.records import Record

MAX_SENDERS = 10_000
"""How many keys or addresses each rule remembers; the one that was seen first is forgotten first."""
MAX_BANS = 1_000
"""How many of its last bans each rule lists."""

LIMITED, BANNED = "limited", "banned"
"""What the `fault` of an arrival says: it exceeded a rate limit; it came during a ban."""


class RateRule(Record):
    """A rate limit; also the JSON of the control API.

    Of the requests that match `path` (a path, or a command) and `api_key`, at most `requests` in any `seconds` are let
    through for each API key, or for each client address (`by`). The next one is refused, not counted, and if
    `ban_seconds` is given begins a ban: every request until its end is refused too. With `prolong` each of them lets
    the ban begin anew.

    A refusal has `status` and the venue's own JSON for it, with a `Retry-After` of whole seconds, rounded up, if
    `retry_after` is true.
    """

    requests: int = Field(ge=1, le=10_000)
    seconds: float = Field(default=1.0, gt=0, le=3600)
    ban_seconds: float = Field(default=0.0, ge=0, le=3600)
    prolong: bool = False
    status: int = Field(default=429, ge=200, le=599)
    retry_after: bool = True
    by: Literal["key", "address"] = "key"
    path: str | None = None
    api_key: str | None = None


@dataclass(slots=True)
class Ban:
    """A ban of a key or an address."""

    sender: str
    began: float
    ends: float
    refused: int = 0
    """How many requests it has refused after the one that caused it."""


@dataclass(slots=True)
class _Sender:
    """A key or an address: when its last requests passed, and its last ban."""

    name: str
    passed: deque[float] = field(default_factory=deque)
    ban: Ban | None = None


@dataclass(slots=True)
class ArmedRule:
    """A rate limit and what it has done."""

    id: int
    rule: RateRule
    passed: int = 0
    limited: int = 0
    bans: deque[Ban] = field(default_factory=lambda: deque(maxlen=MAX_BANS))
    senders: dict[str, _Sender] = field(default_factory=dict)

    def sender(self, name: str) -> _Sender:
        """What is known of a key or an address."""
        found = self.senders.get(name)
        if found is None:
            if len(self.senders) >= MAX_SENDERS:
                del self.senders[next(iter(self.senders))]
            found = self.senders[name] = _Sender(name)
        return found

    def begin_ban(self, sender: _Sender, now: float, seconds: float) -> Ban:
        """Refuse everything of a key or an address for some seconds."""
        sender.ban = Ban(sender.name, now, now + seconds)
        sender.passed.clear()
        self.bans.append(sender.ban)
        return sender.ban


class RateRules:
    """The armed rate limits. A request must pass all that match it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._armed: dict[int, ArmedRule] = {}
        self._ids = count(1)

    def arm(self, rule: RateRule) -> ArmedRule:
        """Add a rate limit."""
        armed = ArmedRule(next(self._ids), rule)
        self._armed[armed.id] = armed
        return armed

    def list(self) -> list[ArmedRule]:
        """The armed rate limits."""
        return [*self._armed.values()]

    def clear(self, rule_id: int | None = None) -> int:
        """Disarm one rate limit or all, and with them their bans; returns how many there were."""
        ids = [*self._armed] if rule_id is None else [rule_id]
        return sum(self._armed.pop(number, None) is not None for number in ids)

    def ban(self, rule_id: int, sender: str, seconds: float | None = None) -> Ban:
        """Ban a key or an address now, as if it had exceeded a limit.

        Raises:
            LookupError: there is no such rate limit.
            ValueError: it bans nobody by itself, and no ``seconds`` are given.
        """
        armed = self._armed.get(rule_id)
        if armed is None:
            raise LookupError(f"there is no rate limit {rule_id}")
        seconds = armed.rule.ban_seconds if seconds is None else seconds
        if not seconds:
            raise ValueError("say for how many seconds")
        return armed.begin_ban(armed.sender(sender), self._clock(), seconds)

    def check(
        self, method: str, path: str, api_key: str | None, address: str, refusals: Refusals = PLAIN_REFUSALS
    ) -> tuple[str, Reply] | None:
        """Count a request: None if it passes, else which of `LIMITED` and `BANNED` it is, and the reply."""
        if not self._armed:
            return None
        now = self._clock()
        matching = [
            (armed, armed.sender((api_key or "") if armed.rule.by == "key" else address))
            for armed in self._armed.values()
            if _matches(armed.rule, method, path, api_key)
        ]
        for armed, sender in matching:
            if sender.ban is not None and now < sender.ban.ends:
                return BANNED, _refusal(armed.rule, _seconds_of_ban(armed.rule, sender.ban, now), refusals)
        for armed, sender in matching:
            while sender.passed and sender.passed[0] <= now - armed.rule.seconds:
                sender.passed.popleft()
            if len(sender.passed) >= armed.rule.requests:
                return LIMITED, _refusal(armed.rule, _seconds_exceeded(armed, sender, now), refusals)
        for armed, sender in matching:
            armed.passed += 1
            sender.passed.append(now)
        return None


def _matches(rule: RateRule, method: str, path: str, api_key: str | None) -> bool:
    return (rule.path is None or serves(method, path, rule.path)) and rule.api_key in (None, api_key)


def _seconds_exceeded(armed: ArmedRule, sender: _Sender, now: float) -> float:
    armed.limited += 1
    if armed.rule.ban_seconds:
        ends = armed.begin_ban(sender, now, armed.rule.ban_seconds).ends
    else:
        ends = sender.passed[0] + armed.rule.seconds
    return ends - now


def _seconds_of_ban(rule: RateRule, ban: Ban, now: float) -> float:
    ban.refused += 1
    if rule.prolong:
        ban.ends = max(ban.ends, now + rule.ban_seconds)
    return ban.ends - now


def _refusal(rule: RateRule, wait: float, refusals: Refusals) -> Reply:
    retry_after = ((b"retry-after", str(math.ceil(wait)).encode()),) if rule.retry_after else ()
    return Reply(rule.status, refusals.too_many(rule.status), (*JSON_HEADERS, *retry_after))
