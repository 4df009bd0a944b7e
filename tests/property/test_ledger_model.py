"""Any sequence of ledger moves, by any workers, against a plain model of what must hold.

Run on the real server and on the twin side by side: after every move both must have said the same.
"""

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from producers.report import Outcome, Reason, Report
from tests.servers import Server
from tests.support.memory_ledger import MemoryLedger
from worker.ledger.base import Begun, Claim, Ledger, Orphaned, Progress, State
from worker.ledger.connection import connect
from worker.ledger.redis import RedisLedger

workers = st.sampled_from(["a", "b", "c"])
endings = st.sampled_from(
    [
        (Outcome.ACCEPTED, Reason.OK),
        (Outcome.REJECTED, Reason.REFUSED),
        (Outcome.NOT_SENT, Reason.UNAVAILABLE),
        (Outcome.UNKNOWN, Reason.LOST_REPLY),
    ]
)
LONG, OVER = 600_000, 0
"""A lease that outlasts the test, and one that is over at once: time without waiting."""


class LedgerMachine(RuleBasedStateMachine):
    """Three workers over one command."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.client = connect(self.server.url(2))
        self.client.flushdb()
        self.ledgers: list[Ledger] = [RedisLedger(self.client), MemoryLedger(now_ms=lambda: 0)]
        self.repeatable = False
        self.attempt: dict[str, int] = {}
        self.owner: str | None = None
        self.sends = 0
        """How many sends may have left, by the model's own count."""
        self.doubt = False
        self.fences: list[int] = []
        self.report: Report | None = None

    @initialize(repeatable=st.booleans())
    def choose(self, repeatable: bool) -> None:
        """A repeatable command or another."""
        self.repeatable = repeatable

    def both(self, move: str, *arguments: Any) -> Any:
        """The move on both ledgers; they must agree."""
        real, twin = (getattr(ledger, move)(*arguments) for ledger in self.ledgers)
        if hasattr(real, "lease_left_ms"):
            assert type(real) is type(twin)
        elif hasattr(real, "begun_at"):
            assert replace(real, begun_at=0) == replace(twin, begun_at=0)
        elif hasattr(real, "first_begun_at"):
            assert bool(real.first_begun_at) <= bool(self.fences)
            assert replace(real, first_begun_at=0, lease_until=0) == replace(twin, first_begun_at=0, lease_until=0)
        else:
            assert real == twin, (move, arguments)
        return real

    def claim(self, worker: str, lease: int = LONG) -> Claim:
        """The one command, in this worker's hands."""
        return Claim("id", "f" * 64, "close", "main", self.repeatable, worker, lease, "{}")

    @rule(worker=workers, lease=st.sampled_from([LONG, OVER]))
    def begin(self, worker: str, lease: int) -> None:
        """Try to begin the worker's next attempt."""
        before = self.both("read", "id")
        attempt = self.attempt.get(worker, 0) + 1
        answer = self.both("begin", self.claim(worker, lease), attempt)
        if not isinstance(answer, Begun):
            return
        assert self.report is None, "nothing begins after the end"
        if before is not None and before.state is State.SENDING and self.owner != worker:
            assert self.repeatable, "only a repeatable command is taken over in mid-send"
            assert answer.progress.tainted, "and the send in doubt is remembered"
            self.doubt = True
        if self.owner != worker:
            self.fences.append(answer.fence)
        self.owner, self.attempt[worker] = worker, attempt

    @rule(worker=workers, unknown=st.booleans(), lease=st.sampled_from([LONG, OVER]))
    def pause(self, worker: str, unknown: bool, lease: int) -> None:
        """Record an attempt's fate; an unknown one only for what may be repeated."""
        record = self.both("read", "id")
        if record is None:
            assert not self.both("pause", self.claim(worker), Progress(), lease)
            return
        doubt = unknown and self.repeatable
        progress = replace(
            record.progress,
            sent=record.progress.sent + 1,
            tainted=record.progress.tainted or ("lost_reply" if doubt else ""),
        )
        paused = self.both("pause", self.claim(worker), progress, lease)
        assert paused == (worker == self.owner and self.report is None)
        self.doubt = self.doubt or (paused and doubt)

    @rule(worker=workers)
    def renew(self, worker: str) -> None:
        """Keep the lease."""
        if self.both("renew", self.claim(worker)):
            assert worker == self.owner

    @precondition(lambda self: self.owner is not None)
    @rule(worker=workers, ending=endings, text=st.sampled_from(["x", "y"]))
    def settle(self, worker: str, ending: tuple[Outcome, Reason], text: str) -> None:
        """End it, or be told that it is not this worker's."""
        report = self.make(ending, text)
        stands = self.both("settle", self.claim(worker), report)
        if self.report is None:
            assert (stands == report) == (worker == self.owner)
            self.report = report if worker == self.owner else None
        elif worker == self.owner and self.report.outcome is Outcome.UNKNOWN and ending[0] is not Outcome.UNKNOWN:
            assert stands == report, "its own sender's evidence settles an unknown"
            self.report = report
        else:
            assert stands == self.report

    @rule(worker=workers, dead=workers, sending=st.booleans(), tries=st.integers(1, 4))
    def abandon(self, worker: str, dead: str, sending: bool, tries: int) -> None:
        """Declare a dead worker's send unknown."""
        report = self.make((Outcome.UNKNOWN, Reason.CRASHED), "crashed")
        found = Orphaned(dead, begun_at=0, sending=sending, progress=Progress(tries=tries))
        before = self.both("read", "id")
        if self.both("abandon", self.claim(worker), found, report):
            assert dead == self.owner
            assert (before.state is State.SENDING, before.progress.tries) == (sending, tries)
            assert self.report is None
            self.report = report

    @rule(worker=workers)
    def refuse(self, worker: str) -> None:
        """A worker that can't execute the command."""
        report = self.make((Outcome.NOT_SENT, Reason.INVALID), "refused")
        if self.both("refuse", self.claim(worker), report) is None:
            assert self.owner is None
            assert self.report is None
            self.report, self.owner = report, worker

    def make(self, ending: tuple[Outcome, Reason], text: str) -> Report:
        """A report."""
        return Report(
            command_id="id", command="close", outcome=ending[0], reason=ending[1], message=text, fingerprint="f" * 64
        )

    @invariant()
    def holds(self) -> None:
        """The record is what the model knows; fences only grow; doubt is never forgotten; an end stays an end."""
        record = self.both("read", "id")
        assert self.fences == sorted(set(self.fences))
        assert (record.report if record else None) == self.report
        if record is not None and self.doubt:
            assert record.progress.tainted

    def teardown(self) -> None:
        """Let go of the connection."""
        self.client.close()


def test_any_sequence_of_moves(server: Server) -> None:
    """Hypothesis looks for a sequence that breaks the model or parts the twins."""
    LedgerMachine.server = server
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(LedgerMachine, settings=settings(max_examples=150, stateful_step_count=25, deadline=None))
