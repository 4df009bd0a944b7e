"""Any sequence of ledger moves, by any workers: both ledgers and the table say and do the same, and the rules hold."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.model.conformance import LEASE_ENDS, InMemory, OnServer, UnderTest, do, expected, record_of
from tests.model.transition_table import ABSENT, SENDING, TABLE, UNKNOWN, Ask, Rec, Table
from tests.servers import Server
from worker.ledger.connection import connect

workers = st.integers(1, 3)
reports = st.sampled_from(["accepted", "rejected", "not_sent", "unknown", "unknown/2"])


class LedgerMachine(RuleBasedStateMachine):
    """Three workers over one command."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.client = connect(self.server.url(2))
        self.client.flushdb()
        self.ledgers: list[UnderTest] = [InMemory(), OnServer(self.client, disk_ms=0)]
        self.table, self.rec, self.before, self.ask, self.repeatable = Table(TABLE), Rec(), Rec(), LEASE_ENDS, False

    @initialize(repeatable=st.booleans())
    def choose(self, repeatable: bool) -> None:
        self.repeatable = repeatable

    def move(self, ask: Ask) -> None:
        """The move on the table and on both ledgers."""
        self.before, self.ask = self.rec, ask
        _, row, self.rec = self.table.ask(self.rec, ask)
        for ledger in self.ledgers:
            assert (do(ledger, ask), record_of(ledger)) == (expected(row, ask, self.rec), self.rec)

    @rule(token=workers, attempt=st.integers(1, 3), halted=st.booleans(), same=st.integers(0, 5))
    def begin(self, token: int, attempt: int, halted: bool, same: int) -> None:
        self.move(Ask("begin", token, attempt, self.repeatable, halted, bool(same) or self.rec.state == ABSENT))

    @rule(token=workers)
    def renew(self, token: int) -> None:
        self.move(Ask("renew", token))

    @rule(token=workers, doubt=st.booleans())
    def pause(self, token: int, doubt: bool) -> None:
        """As an owner does it: it forgets no doubt."""
        tainted = self.rec.tainted or (doubt and self.repeatable)
        self.move(Ask("pause", token, tries=self.rec.tries, sent=self.rec.sent + 1, tainted=tainted))

    @precondition(lambda self: self.rec.state != ABSENT)
    @rule(token=workers, report=reports)
    def settle(self, token: int, report: str) -> None:
        self.move(Ask("settle", token, report=report))

    @rule(token=workers, dead=workers, state=st.sampled_from([SENDING, "WAITING"]), tries=st.integers(1, 4))
    def abandon(self, token: int, dead: int, state: str, tries: int) -> None:
        self.move(Ask("abandon", token, report="unknown", dead=Rec(state, dead, tries=tries)))

    @rule(token=workers, same=st.booleans())
    def refuse(self, token: int, same: bool) -> None:
        self.move(Ask("refuse", token, same_arguments=same or self.rec.state == ABSENT, report="not_sent"))

    @rule(report=reports)
    def resolve(self, report: str) -> None:
        self.move(Ask("resolve", report=report))

    @rule()
    def lease_ends(self) -> None:
        self.before, self.ask, self.rec = self.rec, LEASE_ENDS, self.rec._replace(lease=False)
        for ledger in self.ledgers:
            do(ledger, LEASE_ENDS)

    @invariant()
    def holds(self) -> None:
        """Fences only grow, doubt is never forgotten, an end stays an end, and a send is taken over only where it may
        be repeated, in doubt."""
        before, after, ask = self.before, self.rec, self.ask
        assert after.fence - before.fence in (0, 1)
        assert after.tainted >= before.tainted
        if before.report != after.report and before.report:
            assert before.state == UNKNOWN
            assert ask.move == "resolve" or (ask.move == "settle" and ask.token == before.token)
        if before.state == SENDING and after.token != before.token:
            assert self.repeatable
            assert after.tainted
        if after != before and ask.token != before.token and before.state != ABSENT and ask.move != "resolve":
            assert not before.lease or ask is LEASE_ENDS

    def teardown(self) -> None:
        self.client.close()


def test_any_sequence_of_moves() -> None:
    with Server("--appendfsync", "no") as LedgerMachine.server:
        run_state_machine_as_test(
            LedgerMachine, settings=settings(max_examples=150, stateful_step_count=25, deadline=None)
        )
