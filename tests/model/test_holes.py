"""What the search found in the code as it once was, played on the real executor. docs/model.md tells each of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from producers.report import Outcome, Reason, Report
from tests.support.memory_ledger import MemoryLedger
from tests.twins import START_MS, ScriptedTransport, Step, TurnedClock
from worker.execution.backoff import RetryLimits
from worker.execution.context import Envelope
from worker.execution.executor import Executor
from worker.ledger.base import BeginAnswer, Claim, Halted, LedgerUnavailable
from worker.venues.accounts import Account, Credentials
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.http.base import Response

ACCEPTED = Response(200, b'{"code":200,"msg":null,"result":{"id":"1"}}')
BUSY = Response(429, b"")
WITHDRAW = {"account": "main", "asset": "ETH", "qty": "1", "address": "0xabc"}
CANCEL = {"account": "main", "order_id": "1"}
HALT = Halted("ann", "stop", START_MS)


class Dead(BaseException):
    """A worker that is killed."""


class Scene:
    """Workers over one ledger and one clock, and a venue that counts what it executes."""

    def __init__(self) -> None:
        self.clock = TurnedClock()
        self.ledger = MemoryLedger(self.clock.now_ms)
        self.executed = 0

    def worker(self, *steps: Step, clock: TurnedClock | None = None) -> Executor:
        """One more."""
        account = Account("main", "everstrike", "https://venue.test", Credentials("key-of-main", "secret-of-main"))
        return Executor(
            ledger=self.ledger,
            venues={"everstrike": Everstrike()},
            accounts={"main": account},
            transport=ScriptedTransport(steps),  # type: ignore[arg-type] # the twin
            clock=clock or self.clock,
            retry=RetryLimits(attempts=3),
        )

    def executes(self, then: Step) -> Callable[[], Step]:
        """A step at which the venue executes the request."""

        def step() -> Step:
            self.executed += 1
            return then

        return step

    def truthful(self) -> bool:
        """Whether the ledger's report is true of what the venue did."""
        record = self.ledger.read("id")
        outcome = record.report.outcome if record and record.report else None
        return outcome is Outcome.UNKNOWN or (outcome is Outcome.ACCEPTED) == (self.executed > 0)


def dies() -> Step:
    """A step at which the worker is killed."""
    raise Dead


def test_what_was_found_orphaned_is_still_so_when_it_is_ended() -> None:
    """B finds A between two attempts, halted, and stalls. The halt is lifted, A goes on, its withdrawal is executed and
    A dies. B then ends it as not sent, for good."""
    scene = Scene()
    b = scene.worker()
    abandon = scene.ledger.abandon

    def stalled(*found: Any) -> bool:
        scene.ledger.halts.clear()
        a_wakes()
        scene.clock.turn(60)
        return abandon(*found)

    def a_wakes() -> None:
        # The rest of A's run, which the clock below interrupted: its second attempt, and its death.
        assert scene.ledger.begin(replace(claims[0]), 2)
        scene.executed += 1

    claims: list[Claim] = []
    begin = scene.ledger.begin
    scene.ledger.begin = lambda claim, attempt: (claims.append(claim), begin(claim, attempt))[1]  # type: ignore[method-assign]
    scene.clock.on_sleep = lambda _: dies()
    with pytest.raises(Dead):
        scene.worker(BUSY).execute(Envelope("id", "orders.withdraw", WITHDRAW))
    scene.clock.on_sleep = lambda _: None
    scene.clock.turn(60)
    scene.ledger.halts["*/*"] = HALT
    scene.ledger.abandon = stalled  # type: ignore[method-assign]
    b.execute(Envelope("id", "orders.withdraw", WITHDRAW))
    assert scene.truthful()


def test_a_granted_begin_is_not_halted_when_it_is_repeated() -> None:
    """A sleeps between two attempts, B takes over, its cancel is executed and it dies. A takes over in turn; the reply
    is lost, the operator halts, and A, which never heard of B's send, ends the command as not sent."""
    scene = Scene()
    begin = scene.ledger.begin

    def lossy(claim: Claim, attempt: int) -> BeginAnswer:
        answer = begin(claim, attempt)
        if attempt == 2 and not scene.ledger.halts:
            scene.ledger.halts["*/cancel"] = HALT
            raise LedgerUnavailable("the reply was lost")
        return answer

    def overslept(_: float) -> None:
        scene.clock.on_sleep = lambda _: None
        scene.clock.turn(60)
        with pytest.raises(Dead):
            scene.worker(scene.executes(dies)).execute(Envelope("id", "orders.cancel", CANCEL))
        scene.clock.turn(60)

    scene.ledger.begin = lossy  # type: ignore[method-assign]
    scene.clock.on_sleep = overslept
    scene.worker(BUSY, ACCEPTED).execute(Envelope("id", "orders.cancel", CANCEL))
    assert scene.executed == 1
    assert scene.truthful()


def test_nothing_is_signed_after_the_lease() -> None:
    """A is frozen between looking at its lease and reading the clock. Its send is declared unknown, a patient operator
    waits for longer than the venue takes any signature, sees nothing, and says so. A wakes and signs anew."""
    scene = Scene()

    class Freezes(TurnedClock):
        """Stops the process right before the clock is read for the signature."""

        def now_ms(self) -> int:
            if not self.frozen:
                self.frozen = True
                scene.clock.turn(60)
                scene.worker().execute(Envelope("id", "orders.withdraw", WITHDRAW))
                scene.clock.turn(60)
                scene.ledger.resolve(said, who="ann", why="the venue shows nothing")
            return scene.clock.now_ms()

        def monotonic(self) -> float:
            return scene.clock.monotonic()

        frozen = False

    said = Report(
        command_id="id",
        command="withdraw",
        outcome=Outcome.NOT_SENT,
        reason=Reason.UNAVAILABLE,
        message="not sent",
        fingerprint="f" * 64,
    )
    scene.worker(scene.executes(ACCEPTED), clock=Freezes()).execute(Envelope("id", "orders.withdraw", WITHDRAW))
    assert scene.truthful()
