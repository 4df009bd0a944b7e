"""Faults: what goes wrong, for which requests and how often. `http/fault_effects.py` carries them out.

A fault has criteria. The first armed fault that matches a request, has skipped enough matches and is not used up is
applied to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import StrEnum
from itertools import count
from typing import Any, Self

from pydantic import Field, JsonValue, model_validator

from worker.simulator.accounts import Snapshot
from worker.simulator.false_answers import LIES
from worker.simulator.records import Record

_ORDER = frozenset({"close", "submit"})
_COMMANDS: Mapping[str, frozenset[str]] = {
    "POST /auth/close": frozenset({"close"}),
    "POST /auth/cancel": frozenset({"cancel"}),
    "POST /auth/withdraw": frozenset({"withdraw"}),
    "POST /Contract/getContractActivePositions": frozenset({"positions"}),
    "GET /position": frozenset({"positions"}),
    "GET /active_positions": frozenset({"positions"}),
    "POST /derivatives/api/v3/sendorder": _ORDER,
    "POST /derivatives/api/v3/cancelorder": frozenset({"cancel"}),
    "GET /derivatives/api/v3/openpositions": frozenset({"positions"}),
    "GET /derivatives/api/v3/orders/status": frozenset({"lookup"}),
    "POST /derivatives/api/v3/orders/status": frozenset({"lookup"}),
    "GET /derivatives/api/v3/openorders": frozenset({"lookup"}),
    "GET /derivatives/api/v3/fills": frozenset({"lookup"}),
    "GET /api/history/v2/orders": frozenset({"lookup"}),
    "GET /api/history/v3/orders": frozenset({"lookup"}),
    "GET /api/history/v2/triggers": frozenset({"lookup"}),
    "GET /api/history/v3/triggers": frozenset({"lookup"}),
    "POST /api/v5/trade/order": _ORDER,
    "POST /api/v5/trade/order-algo": _ORDER,
    "POST /api/v5/trade/cancel-order": frozenset({"cancel"}),
    "POST /api/v5/trade/cancel-algos": frozenset({"cancel"}),
    "POST /api/v5/asset/withdrawal": frozenset({"withdraw"}),
    "GET /api/v5/account/positions": frozenset({"positions"}),
    "GET /api/v5/trade/order": frozenset({"lookup"}),
    "GET /api/v5/trade/order-algo": frozenset({"lookup"}),
    "GET /api/v5/trade/orders-pending": frozenset({"lookup"}),
    "GET /api/v5/trade/orders-history": frozenset({"lookup"}),
    "GET /api/v5/trade/orders-algo-pending": frozenset({"lookup"}),
    "GET /api/v5/trade/orders-algo-history": frozenset({"lookup"}),
    "GET /api/v5/asset/withdrawal-history": frozenset({"lookup"}),
}
"""The commands that each method and path of a venue serves, and `lookup` for reads that find an order."""

_MUTATING = frozenset({"close", "submit", "cancel", "withdraw"})


def serves(method: str, path: str, named: str) -> bool:
    """Whether `named`, a path or a command, names this request to a venue."""
    return named == path or named in _COMMANDS.get(f"{method} {path}", ())


def mutates(method: str, path: str) -> bool:
    """Whether this request to a venue changes anything."""
    return not _MUTATING.isdisjoint(_COMMANDS.get(f"{method} {path}", ()))


class Kind(StrEnum):
    """The kinds of fault, see `Fault`."""

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
    ALTERED = "altered"
    STALE = "stale"
    RAW = "raw"
    SURPLUS = "surplus"


EXECUTES_BY_DEFAULT = frozenset(
    {
        Kind.CUT_AFTER,
        Kind.HALF,
        Kind.GARBAGE,
        Kind.DRIP,
        Kind.HUGE,
        Kind.SLOW,
        Kind.ALTERED,
        Kind.SURPLUS,
    }
)
"""Kinds that execute the request by default, because they spoil only the response. The others act in front of the
venue."""

MAX_DELAY_MS = 60_000


class Fault(Record):
    """A fault to arm; also the JSON of the control API.

    The criteria, all of which must match: `path` (a path, or a command: close, submit, cancel, withdraw, positions,
    or lookup for reads of orders where there are client order ids), `api_key`, `where` (form, query or JSON fields as
    received, e.g. `{"id": "order-1"}`). The fault is not applied to the first `skip` matches, and is applied to the
    next `times` (null: to all).

    `execute`: whether a valid request takes effect nevertheless. Default: see `EXECUTES_BY_DEFAULT`; never with
    `cut_before` and `stale`, always with `cut_after`; with `hold` true means before the wait, false after it.

    `lie` names one of `worker.simulator.false_answers.LIES`: its fields apply unless the fault sets them itself.
    A lie executes by default.

    - envelope: `status` (503) and the venue's own JSON of a refusal with `message`, with `retry_after` if given
    - status: `status`, `headers`, `body` as they are
    - respond: 200 with `data` as JSON
    - garbage: 200 with `body`, else with bytes that are neither UTF-8 nor JSON
    - cut_before, cut_after: the connection ends without a response; `reset` true (default) RST, false FIN
    - half: status line, headers, half of the ordinary body, then FIN (`reset` true: RST, which may discard the bytes)
    - silent: no response; the connection ends when the client gives up, or after `delay_ms` (default and maximum: 60 s)
    - drip: the ordinary response, its body a byte at a time with `delay_ms` (default 20) before each
    - huge: 200 with an envelope padded to `size_mib` MiB
    - slow: the ordinary response, `delay_ms` (default 1000) later
    - hold: waits for `POST /_control/release`
    - altered: the ordinary response with each field that `changes` names replaced, at any depth of its record; if not
      executed, the response that would have been sent
    - stale: for reads; the ordinary response as of the time when the fault was armed, with `Age` (600) and `changes`
    - raw: sends exactly `body`, in latin-1, including the status line, then FIN (`reset` true: RST); `$BODY` and
      `$LENGTH` in it are replaced by the ordinary body (a refusal if not executed) and its length
    - surplus: the ordinary response, followed by `body` in latin-1; the connection stays open

    `chunked` sends half, drip and huge without a content length. `headers` and `retry_after` are added to any
    response except a raw one. `$API_KEY`, `$SIGNATURE` and `$PASSPHRASE` in envelope, status, respond and raw are
    replaced by those of the request, so that the response echoes them.
    """

    lie: str | None = None
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
    changes: dict[str, str | int | bool | None] = Field(default_factory=dict)
    reset: bool | None = None
    delay_ms: int | None = Field(default=None, ge=0, le=MAX_DELAY_MS)
    size_mib: int = Field(default=8, ge=1, le=256)
    chunked: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_in_lie(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping) or fields.get("lie") is None:
            return fields
        lie = LIES.get(str(fields["lie"]))
        if lie is None:
            raise ValueError(f"there is no lie {fields['lie']!r}; there are {', '.join(sorted(LIES))}")
        if fields.get("kind", lie["kind"]) != lie["kind"]:
            raise ValueError(f"the lie {fields['lie']} is of the kind {lie['kind']}: leave kind out")
        return {**lie, **fields}

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.kind is Kind.CUT_BEFORE and self.execute:
            raise ValueError("cut_before never executes: use cut_after")
        if self.kind is Kind.CUT_AFTER and self.execute is False:
            raise ValueError("cut_after always executes: use cut_before")
        if any(name.lower() in {"content-length", "transfer-encoding"} for name in self.headers):
            raise ValueError("the length of a response can't be set: use half or chunked")
        if self.kind is Kind.STALE and self.execute:
            raise ValueError("stale applies to reads, which execute nothing")
        if self.kind is Kind.ALTERED and not self.changes:
            raise ValueError("altered needs changes: the fields of the record and their new values")
        if self.changes and self.kind not in (Kind.ALTERED, Kind.STALE):
            raise ValueError("changes are for altered and stale: the other kinds send no record of the venue's")
        if self.kind in (Kind.RAW, Kind.SURPLUS):
            if not self.body:
                raise ValueError(f"{self.kind} needs a body: the bytes to send, in latin-1")
            if not all(ord(character) < 256 for character in self.body):
                raise ValueError(f"the body of {self.kind} is bytes in latin-1: it has characters beyond them")
        return self

    @property
    def executes(self) -> bool:
        """Whether a valid request takes effect under this fault (for `hold`: before the wait)."""
        return self.kind in EXECUTES_BY_DEFAULT if self.execute is None else self.execute

    @property
    def resets(self) -> bool:
        """Whether the connection ends with RST and not with FIN."""
        return self.kind not in (Kind.HALF, Kind.RAW) if self.reset is None else self.reset

    def matches(self, method: str, path: str, api_key: str | None, fields: Mapping[str, str]) -> bool:
        """Whether a request meets all criteria."""
        if self.path is not None and not serves(method, path, self.path):
            return False
        if self.kind is Kind.STALE and mutates(method, path):
            return False
        if self.api_key is not None and self.api_key != api_key:
            return False
        return all(fields.get(name) == value for name, value in self.where.items())


@dataclass(slots=True)
class ArmedFault:
    """A fault and its counts: how many requests `matched` its criteria, and to how many it was `applied`."""

    id: int
    fault: Fault
    snapshot: Snapshot = dataclass_field(default_factory=dict)
    """The holdings when the fault was armed; only for `stale`."""
    matched: int = 0
    applied: int = 0

    @property
    def used_up(self) -> bool:
        """Whether it has been applied as often as it should."""
        return self.fault.times is not None and self.applied >= self.fault.times


class FaultBoard:
    """The armed faults in the order of arming. Those that are used up stay listed with their counts."""

    def __init__(self) -> None:
        self._armed: dict[int, ArmedFault] = {}
        self._live: list[ArmedFault] = []
        self._ids = count(1)

    def arm(self, fault: Fault, snapshot: Snapshot) -> ArmedFault:
        """Add a fault after those already armed; a stale one shows `snapshot`."""
        armed = ArmedFault(next(self._ids), fault, snapshot)
        self._armed[armed.id] = armed
        self._live.append(armed)
        return armed

    def take(self, method: str, path: str, api_key: str | None, fields: Mapping[str, str]) -> ArmedFault | None:
        """The fault to apply to this request, counted as applied; None if there is none."""
        for armed in self._live:
            if not armed.fault.matches(method, path, api_key, fields):
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
        """Every fault since the last `clear`, with its counts."""
        return [*self._armed.values()]

    def clear(self, fault_id: int | None = None) -> int:
        """Disarm one fault, or all; returns how many there were."""
        ids = [*self._armed] if fault_id is None else [fault_id]
        removed = [self._armed.pop(number) for number in ids if number in self._armed]
        self._live = [armed for armed in self._live if armed not in removed]
        return len(removed)
