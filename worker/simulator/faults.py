"""Faults: what to do wrong, to which request, how often. How it is done is in `misbehave`.

A fault is armed with criteria; the first armed fault that matches a request, is past its `skip` and not yet used up
decides what happens to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Self

from pydantic import Field, JsonValue, model_validator

from worker.simulator.records import Record

COMMAND_PATHS = {
    "/auth/close": "close",
    "/auth/cancel": "cancel",
    "/auth/withdraw": "withdraw",
    "/Contract/getContractActivePositions": "positions",
    "/position": "positions",
    "/active_positions": "positions",
}
"""The command that a venue path serves; a fault's `path` may be either."""


class Kind(StrEnum):
    """The ways to misbehave; `Fault` says what each reads."""

    ENVELOPE = "envelope"
    STATUS = "status"
    RESPOND = "respond"
    GARBAGE = "garbage"
    CUT_BEFORE = "cut_before"
    CUT_AFTER = "cut_after"
    HALF = "half"
    SILENT = "silent"
    DRIP = "drip"
    HUGE = "huge"
    SLOW = "slow"
    HOLD = "hold"


SPOILS_THE_ANSWER = frozenset({Kind.CUT_AFTER, Kind.HALF, Kind.GARBAGE, Kind.DRIP, Kind.HUGE, Kind.SLOW})
"""Kinds that execute unless told otherwise: the request itself was fine. The others stand in front of the venue."""

MAX_DELAY_MS = 60_000


class Fault(Record):
    """One armed fault; also the JSON of the control API.

    Criteria, all of which must match: `path` (a path, or a command: close, cancel, withdraw, positions), `api_key`,
    `where` (form or query fields as received, e.g. `{"id": "order-1"}`). The first `skip` matches go unharmed, the
    next `times` are hit (null: for ever).

    `execute`: whether a valid request takes effect all the same. Default: see `SPOILS_THE_ANSWER`; never with
    `cut_before`, always with `cut_after`; with `hold` true means before the wait, false after it.

    - envelope: `status` (503) and `{"code": status, "msg": message, "result": {}}`, with `retry_after` if given
    - status: `status`, `headers`, `body` as they are
    - respond: 200 with `data` as JSON
    - garbage: 200 with `body`, else with bytes that are neither UTF-8 nor JSON
    - cut_before, cut_after: the connection ends without an answer; `reset` true (default) RST, false FIN
    - half: status line, headers, half of the ordinary body, then FIN (`reset` true: RST, which may overtake the bytes)
    - silent: no answer; the connection ends when the client gives up or after `delay_ms` (default and most: 60 s)
    - drip: the ordinary answer, its body a byte at a time with `delay_ms` (default 20) before each
    - huge: 200 with an envelope padded to `size_mib` MiB
    - slow: `delay_ms` (default 1000) later, the ordinary answer
    - hold: waits for `POST /_control/release`

    `chunked` sends half, drip and huge without a content length. `headers` and `retry_after` are added to any answer.
    """

    kind: Kind
    path: str | None = None
    api_key: str | None = None
    where: dict[str, str] = Field(default_factory=dict)
    skip: int = Field(default=0, ge=0)
    times: int | None = Field(default=1, ge=1)
    execute: bool | None = None
    status: int = Field(default=503, ge=200, le=599)
    headers: dict[str, str] = Field(default_factory=dict)
    retry_after: str | None = None
    body: str | None = None
    message: str = "Invalid request"
    data: JsonValue = None
    reset: bool | None = None
    delay_ms: int | None = Field(default=None, ge=0, le=MAX_DELAY_MS)
    size_mib: int = Field(default=8, ge=1, le=256)
    chunked: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.kind is Kind.CUT_BEFORE and self.execute:
            raise ValueError("cut_before never executes: use cut_after")
        if self.kind is Kind.CUT_AFTER and self.execute is False:
            raise ValueError("cut_after always executes: use cut_before")
        if any(name.lower() in {"content-length", "transfer-encoding"} for name in self.headers):
            raise ValueError("the length of an answer is true: use half or chunked")
        return self

    @property
    def executes(self) -> bool:
        """Whether a valid request takes effect under this fault (for `hold`: before the wait)."""
        return self.kind in SPOILS_THE_ANSWER if self.execute is None else self.execute

    @property
    def resets(self) -> bool:
        """Whether the connection ends with RST and not with FIN."""
        return self.kind is not Kind.HALF if self.reset is None else self.reset

    def matches(self, path: str, api_key: str | None, fields: Mapping[str, str]) -> bool:
        """Whether all criteria hold; counting is the board's."""
        if self.path is not None and self.path not in (path, COMMAND_PATHS.get(path)):
            return False
        if self.api_key is not None and self.api_key != api_key:
            return False
        return all(fields.get(name) == value for name, value in self.where.items())


@dataclass(slots=True)
class ArmedFault:
    """A fault with its counts: requests that `matched` its criteria, and those it was `applied` to."""

    id: int
    fault: Fault
    matched: int = 0
    applied: int = 0

    @property
    def used_up(self) -> bool:
        """Whether it has hit as often as it should."""
        return self.fault.times is not None and self.applied >= self.fault.times


class FaultBoard:
    """The armed faults, in the order they were armed. Used-up ones stay listed with their counts, and harm no one."""

    def __init__(self) -> None:
        self._armed: dict[int, ArmedFault] = {}
        self._live: list[ArmedFault] = []
        self._ids = count(1)

    def arm(self, fault: Fault) -> ArmedFault:
        """Add a fault behind those already armed."""
        armed = ArmedFault(next(self._ids), fault)
        self._armed[armed.id] = armed
        self._live.append(armed)
        return armed

    def take(self, path: str, api_key: str | None, fields: Mapping[str, str]) -> ArmedFault | None:
        """The fault that hits this request, counted as applied; None when the request goes unharmed."""
        for armed in self._live:
            if not armed.fault.matches(path, api_key, fields):
                continue
            armed.matched += 1
            if armed.matched <= armed.fault.skip:
                continue
            armed.applied += 1
            if armed.used_up:
                self._live.remove(armed)
            return armed
        return None

    def list(self) -> list[ArmedFault]:
        """Every fault since the last clearing, with its counts."""
        return [*self._armed.values()]

    def clear(self, fault_id: int | None = None) -> int:
        """Disarm one fault, or all of them; returns how many were known."""
        ids = [*self._armed] if fault_id is None else [fault_id]
        gone = [self._armed.pop(number) for number in ids if number in self._armed]
        self._live = [armed for armed in self._live if armed not in gone]
        return len(gone)
