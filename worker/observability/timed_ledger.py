"""A ledger that times every call of another ledger and counts those that fail."""

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Protocol, TypeVar

from producers.report import Report
from worker.ledger.base import (
    NOT_SIGNED,
    BeginAnswer,
    Claim,
    Following,
    Ledger,
    LedgerUnavailable,
    LookAnswer,
    Orphaned,
    Progress,
    QueryAnswer,
    Record,
)
from worker.ledger.pacing import CoolDown

T = TypeVar("T")


class Stopwatch(Protocol):
    """Receives the times. Neither method may raise."""

    def answered(self, move: str, seconds: float) -> None:
        """The ledger answered this move."""

    def not_answered(self, move: str) -> None:
        """The move raised :class:`LedgerUnavailable`."""


class TimedLedger:
    """A :class:`~worker.ledger.base.Ledger` that calls another one."""

    def __init__(self, ledger: Ledger, stopwatch: Stopwatch, *, on_disk: bool) -> None:
        """``on_disk``: a withdrawal's begin waits for the server's disk and has a move of its own in the metrics."""
        self._ledger = ledger
        self._stopwatch = stopwatch
        self._on_disk = on_disk

    def _timed(self, move: str, call: Callable[..., T], *arguments: object) -> T:
        started = perf_counter()
        try:
            answer = call(*arguments)
        except LedgerUnavailable:
            self._stopwatch.not_answered(move)
            raise
        self._stopwatch.answered(move, perf_counter() - started)
        return answer

    def begin(self, claim: Claim, attempt: int) -> BeginAnswer:
        """See :class:`~worker.ledger.base.Ledger`, here and below."""
        move = "begin_on_disk" if self._on_disk and claim.command == "withdraw" else "begin"
        return self._timed(move, self._ledger.begin, claim, attempt)

    def take_to_look(self, claim: Claim) -> LookAnswer | None:  # noqa: D102
        return self._timed("take_to_look", self._ledger.take_to_look, claim)

    def renew(self, claim: Claim) -> bool:  # noqa: D102
        return self._timed("renew", self._ledger.renew, claim)

    def pause(  # noqa: D102
        self, claim: Claim, progress: Progress, lease_ms: int, cool_down: CoolDown | None = None
    ) -> bool:
        return self._timed("pause", self._ledger.pause, claim, progress, lease_ms, cool_down)

    def park(  # noqa: D102
        self, claim: Claim, progress: Progress, wait_ms: int, doubt: str = "", cool_down: CoolDown | None = None
    ) -> bool:
        return self._timed("park", self._ledger.park, claim, progress, wait_ms, doubt, cool_down)

    def settle(  # noqa: D102
        self, claim: Claim, report: Report, cool_down: CoolDown | None = None, following: Following | None = None
    ) -> Report | None:
        return self._timed("settle", self._ledger.settle, claim, report, cool_down, following)

    def refuse(self, claim: Claim, report: Report) -> BeginAnswer | None:  # noqa: D102
        return self._timed("refuse", self._ledger.refuse, claim, report)

    def abandon(self, claim: Claim, orphan: Orphaned, report: Report) -> bool:  # noqa: D102
        return self._timed("abandon", self._ledger.abandon, claim, orphan, report)

    def resolve(  # noqa: D102
        self, report: Report, *, who: str, why: str, signed: Mapping[str, str] = NOT_SIGNED
    ) -> Report | None:
        return self._timed("resolve", lambda: self._ledger.resolve(report, who=who, why=why, signed=signed))

    def read(self, command_id: str) -> Record | None:  # noqa: D102
        return self._timed("read", self._ledger.read, command_id)

    def stored_result(self, command_id: str) -> bytes | None:  # noqa: D102
        return self._timed("stored_result", self._ledger.stored_result, command_id)

    def admit_query(self, claim: Claim) -> QueryAnswer:  # noqa: D102
        return self._timed("halted", self._ledger.admit_query, claim)

    def cool_down(self, claim: Claim, cool_down: CoolDown | None) -> None:  # noqa: D102
        self._timed("cool_down", self._ledger.cool_down, claim, cool_down)
