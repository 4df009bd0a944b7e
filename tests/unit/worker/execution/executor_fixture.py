"""Executors over the in-memory ledger, a clock that tests move, and a transport that answers from a script."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import groupby
from math import inf
from typing import Any

import pytest

from producers.redaction import HIDDEN
from producers.report import Report, error_for
from tests.support.fakes import ScriptedTransport, Step, TurnedClock
from tests.support.memory_ledger import MemoryLedger
from worker.execution.backoff import RetryLimits
from worker.execution.context import Envelope
from worker.execution.events import Observer, Observers
from worker.execution.executor import Executor
from worker.execution.outage import RequeueMessage
from worker.execution.parking import PROGRESS_HEADER, SINCE_HEADER, Parking, ParkMessage
from worker.execution.policy.rulings import PERMITTED, Ruling
from worker.ledger.base import Claim, LedgerUnavailable
from worker.ledger.pacing import CoolDown, Pace
from worker.observability.log_lines import LogObserver
from worker.venues.accounts import Account, Credentials
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import NoResponse, Response

ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials("key-of-main", "secret-of-main"))

ACCEPTED = Response(200, b'{"code":200,"msg":null,"result":{"id":"1"}}')
NOTHING = Response(200, b'{"code":200,"msg":null,"result":{}}')
BUSY = Response(429, b"")
BUSY_FOR_8_SECONDS = Response(429, b"", {"Retry-After": "8"})
INVALID = Response(503, b'{"code":503,"msg":"Invalid request","result":{}}')
NOT_FOUND = Response(503, b'{"code":503,"msg":"The order was not found","result":{}}')
LOST = NoResponse(bytes_left=True, message="the reply was lost")
NEVER_LEFT = NoResponse(bytes_left=False, message="no connection to the venue")

CANCEL = {"account": "main", "order_id": "1"}
CLOSE = {"account": "main", "pair": "USD_BTC_PERP"}
WITHDRAW = {"account": "main", "asset": "ETH", "qty": "1", "address": "0xabc"}
POSITIONS = {"account": "main"}

ENVELOPE_FIELDS = {PROGRESS_HEADER: "progress", SINCE_HEADER: "waits_since", "expires": "expires_at"}
"""Where a worker finds the headers of a message that was parked."""

Ended = tuple[str, str, int]
CRASHED: Ended = ("unknown", "crashed", 1)
ACCEPTED_AT_ONCE: Ended = ("accepted", "ok", 1)
ACCEPTED_AT_LAST: Ended = ("accepted", "ok", 2)


class Dead(BaseException):
    """A worker that is killed: nothing after this line of it is ever run."""


def dies(*_: object) -> Response:
    """A step, or a sleep, at which the worker is killed."""
    raise Dead


def ended(report: Report) -> Ended:
    """Outcome, reason and attempts: what most tests are about."""
    return report.outcome.value, report.reason.value, report.attempts


def stored(report: Report) -> bytes:
    """A report as Celery's backend stores it."""
    error = error_for(report)
    if error is None:
        return json.dumps({"status": "SUCCESS", "result": report.to_json()}).encode()
    told = {"exc_type": type(error).__name__, "exc_message": [report.to_json()], "exc_module": "producers.errors"}
    return json.dumps({"status": "FAILURE", "result": told}).encode()


class FlakyLedger(MemoryLedger):
    """A ledger that is away for the next so many calls of a move; a call may be done and only its reply be lost."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__(now_ms)
        self.fail: dict[str, int] = {}
        self.done_before_failing = False
        self.on_failure: Callable[[], None] = lambda: None

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return partial(self._flaky, name, found) if name in ("begin", "halted", "pause", "settle") else found

    def _flaky(self, name: str, move: Callable[..., Any], *arguments: Any) -> Any:
        if self.fail.get(name, 0) > 0:
            self.fail[name] -= 1
            self.on_failure()
            if self.done_before_failing:
                move(*arguments)
            raise LedgerUnavailable("the ledger's server can't be reached")
        return move(*arguments)


class ExecutorFixture:
    """Workers with everything around them in reach; each command is executed by a new one."""

    def __init__(self, *steps: Step) -> None:
        self.clock = TurnedClock()
        self.ledger = FlakyLedger(self.clock.now_ms)
        self.transport = ScriptedTransport(steps)
        self.accounts: Mapping[str, Account] = {"main": ACCOUNT}
        self.venues: Mapping[str, Everstrike] = {"everstrike": Everstrike()}
        self.hidden = HIDDEN
        self.observers: tuple[Observer, ...] = ()
        self.stop_at = inf
        self.ruling: Callable[[Any], Ruling] = lambda command: PERMITTED
        self.retry = RetryLimits(attempts=3)
        self.parkings: list[Parking] = []
        self.forgotten: list[str] = []
        self.on_parked: Callable[[], object] = lambda: None

    def executor(self) -> Executor:
        """One more worker."""
        return Executor(
            ledger=self.ledger,
            venues=self.venues,
            accounts=self.accounts,
            transport=self.transport,  # type: ignore[arg-type] # the scripted one
            clock=self.clock,
            retry=self.retry,
            ruling=self.ruling,
            stopping=lambda: self.clock.monotonic() >= self.stop_at,
            observer=Observers(LogObserver(), *self.observers),
            hidden=self.hidden,
            forget_never_sent=self.forgotten.append,
        )

    def execute(self, command: str, arguments: Mapping[str, Any], command_id: str = "id", **more: Any) -> Report | None:
        """Execute and return the report, or None."""
        return self.executor().execute(Envelope(command_id, f"orders.{command}", arguments, **more))

    def run(self, command: str, arguments: Mapping[str, Any], command_id: str = "id", **more: Any) -> Report:
        """Execute and return the report."""
        report = self.execute(command, arguments, command_id, **more)
        assert report is not None
        return report

    def ends(self, command: str, arguments: Mapping[str, Any], **more: Any) -> Ended:
        """Execute and return how it ended."""
        return ended(self.run(command, arguments, **more))

    def run_by_any_worker(self, command: str, arguments: Mapping[str, Any]) -> Report:
        """Execute by one worker after the other until one is not killed."""
        while True:
            with suppress(Dead):
                return self.run(command, arguments)

    def run_parked(self, command: str, arguments: Mapping[str, Any], command_id: str = "id", **more: Any) -> Report:
        """Execute by one worker after the other, each of which takes the message when it is due, and return the
        report."""
        while True:
            try:
                return self.run(command, arguments, command_id, parks=True, **more)
            except ParkMessage as waits:
                self.parkings.append(waits.parking)
                self.clock.turn(waits.parking.wait_ms / 1000)
                self.on_parked()
                headers = waits.parking.headers
                more |= {ENVELOPE_FIELDS[name]: value for name, value in headers.items()}

    def ends_parked(self, command: str, arguments: Mapping[str, Any], **more: Any) -> Ended:
        """Execute as :meth:`run_parked` does and return how it ended."""
        return ended(self.run_parked(command, arguments, **more))

    def cool_down(self, seconds: float | None, *, by_address: bool = False) -> None:
        """The venue has asked another command of the account to wait."""
        pace = Pace(ACCOUNT.bucket, ACCOUNT.host)
        other = Claim("other", "", "cancel", "main", True, "another's", 1, pace=pace)
        self.ledger.cool_down(other, CoolDown(seconds, by_address, "the venue is tired"))

    def requeues(
        self, command: str, arguments: Mapping[str, Any], command_id: str = "id", match: str | None = None
    ) -> None:
        """Execute, and see the message go back to its queue."""
        with pytest.raises(RequeueMessage, match=match):
            self.run(command, arguments, command_id)

    def stop_in(self, seconds: float = 0.0) -> None:
        """Every worker is told to stop then."""
        self.stop_at = self.clock.monotonic() + seconds

    def is_killed(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Execute by a worker that is killed at a step."""
        with pytest.raises(Dead):
            self.run(command, arguments)

    def is_killed_waiting(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Execute by a worker that is killed when it sleeps."""
        self.clock.on_sleep = dies  # type: ignore[assignment] # it raises
        self.is_killed(command, arguments)
        self.clock.on_sleep = lambda _: None

    def step(self, step: Callable[[], Step]) -> None:
        """Decorates what is done at the next step of the transport."""
        self.transport.steps.append(step)

    @property
    def events(self) -> list[str]:
        """The moves of commands in the ledger's journal; a cool-down is an account's. Whoever waits once more, for the
        venue's limits, has the same pause."""
        events = (entry["event"] for entry in self.ledger.journal if entry["event"] != "cool_down")
        return [event for event, _ in groupby(events)]
