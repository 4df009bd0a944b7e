"""Any sequence of ledger moves, by any workers: both ledgers and the table say and do the same, and the rules hold."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.model.conformance import InMemory, OnServer, UnderTest, do, expected
from tests.model.transition_table import ABSENT, PARKED, SENDING, TABLE, UNKNOWN, WAITING, Ask, Rec, Table
from tests.support.servers import Server
from worker.ledger.connection import connect

workers, counts, flags = st.integers(1, 3), st.integers(1, 4), st.booleans()
reports = st.sampled_from(["accepted", "rejected", "not_sent", "unknown", "unknown/2"])
found = st.builds(Rec, st.sampled_from([SENDING, WAITING, PARKED]), workers, tries=counts)
MOVES = {
    "begin": {
        "attempt": counts,
        "halted": flags,
        "full": flags,
        "throttled": flags,
        "needs_approval": flags,
        "same_arguments": st.sampled_from([True, True, True, False]),
    },
    "renew": {},
    "pause": {"tainted": flags},
    "park": {"tainted": flags},
    "settle": {"report": reports},
    "abandon": {"report": st.just("unknown"), "dead": found},
    "refuse": {"report": st.just("not_sent"), "same_arguments": flags},
    "resolve": {"report": reports},
    "lease ends": {},
    "hold ends": {},
    "decide": {"same_arguments": flags},
}
asks = st.one_of(*(st.builds(Ask, st.just(move), workers, **more) for move, more in MOVES.items()))


class LedgerMachine(RuleBasedStateMachine):
    """Three workers over one command."""

    server: Server

    @initialize(repeatable=flags)
    def start(self, repeatable: bool) -> None:
        self.client = connect(self.server.url(2))
        self.client.flushdb()
        self.ledgers: list[UnderTest] = [InMemory(), OnServer(self.client, disk_ms=0)]
        self.table, self.rec, self.repeatable = Table(TABLE), Rec(), repeatable

    @rule(ask=asks)
    def move(self, ask: Ask) -> None:
        """Make the move on the table and on both ledgers. An owner that pauses forgets no doubt, and adds one only for
        a command that may be repeated."""
        before = self.rec
        ask = ask._replace(repeatable=self.repeatable, tries=before.tries, sent=before.sent + 1)
        ask = ask._replace(tainted=before.tainted or (ask.tainted and self.repeatable))
        if before.state == ABSENT:
            ask = ask._replace(same_arguments=True)
        _, row, self.rec = self.table.ask(before, ask)
        for ledger in self.ledgers:
            assert do(ledger, ask) == expected(row, ask, self.rec)
        self.holds(before, ask, self.rec)

    def holds(self, before: Rec, ask: Ask, after: Rec) -> None:
        """Fences only grow, a doubt is never forgotten, an end stays an end, nobody but the owner moves a record during
        its lease, and a send is taken over only if it may be repeated, with a doubt."""
        assert after.fence - before.fence in (0, 1)
        assert after.tainted >= before.tainted
        if before.report and before.report != after.report:
            assert before.state == UNKNOWN
            assert ask.move == "resolve" or (ask.move == "settle" and ask.token == before.token)
        if after != before and before.lease and ask.move != "lease ends":
            assert ask.token == before.token
            assert before.state != PARKED
        if ask.throttled:
            assert after.tries == before.tries or before.attempt == ask.attempt
        if before.state == SENDING and after.token != before.token:
            assert self.repeatable
            assert after.tainted

    def teardown(self) -> None:
        if hasattr(self, "client"):
            self.client.close()


def test_any_sequence_of_moves() -> None:
    with Server("--appendfsync", "no") as LedgerMachine.server:
        run_state_machine_as_test(LedgerMachine, settings=settings(max_examples=60, stateful_step_count=25))
