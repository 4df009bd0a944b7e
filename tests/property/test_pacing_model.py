"""Any sequence of begins and answers under rate limits and cool-downs: both ledgers say the same, and rules hold."""

from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.model.conformance import InMemory, OnServer, UnderTest, claim
from tests.support.servers import Server
from worker.ledger.base import Admitted, Begun, Claim, Progress
from worker.ledger.connection import connect
from worker.ledger.pacing import Brake, CoolDown, Pace, Throttled, Urgency, allowed, span_ms
from worker.rate_limits import RateLimit

STEP_MS = 100_000
"""Time passes in steps of this, and every span ends in the middle of one: the moments that the test itself takes change
nothing."""
LIMITS = (RateLimit(3, 150_000 - 500), RateLimit(5, 350_000 - 500))
PACES = tuple(
    Pace(bucket, host, LIMITS, urgency, passes)
    for bucket, host in (("b1", "h1"), ("b2", "h1"))
    for urgency in Urgency
    for passes in (False, True)
)
TOLD = st.sampled_from(
    [
        CoolDown(seconds, by_address=by_address, why=f"{seconds}")
        for seconds in (None, 50.0, 270.0)  # of which none is ever as much as another has left
        for by_address in (False, True, None)
    ]
)


@dataclass
class Attempt:
    """One that has begun and has no answer yet."""

    claim: Claim
    probe: bool


class PacingMachine(RuleBasedStateMachine):
    """Commands of two keys at one host."""

    server: Server

    @initialize()
    def start(self) -> None:
        self.client = connect(self.server.url(2))
        self.client.flushdb()
        self.ledgers: list[UnderTest] = [InMemory(), OnServer(self.client, disk_ms=0)]
        self.now, self.number = 0, 0
        self.begun: list[tuple[int, Pace]] = []
        self.under_way: list[Attempt] = []
        self.cools_until: dict[str, int] = {}

    @rule(pace=st.sampled_from(PACES), query=st.booleans())
    def begin(self, pace: Pace, query: bool) -> None:
        """Both answer alike, and whatever begins may."""
        self.number += 1
        mine = claim(str(self.number), f"run {self.number}", pace=pace, command="cancel", lease_ms=150_000)
        said = [self.answer(under, mine, query=query) for under in self.ledgers]
        assert said[0] == said[1]
        if isinstance(said[0], bool):
            self.begun.append((self.now, pace))
            self.under_way.append(Attempt(mine, said[0]))
            if not pace.passes_cool_down:
                assert all(self.cools_until.get(key, 0) <= self.now for key in (pace.bucket, pace.host))

    def answer(self, under: UnderTest, mine: Claim, *, query: bool) -> object:
        """Whether it is a probe, or what stops it, for how many steps."""
        answer = under.ledger.admit_query(mine) if query else under.ledger.begin(mine, 1)
        if isinstance(answer, Throttled):
            if answer.brake is Brake.PROBE:
                return answer
            return replace(answer, wait_ms=-(-answer.wait_ms // STEP_MS))
        assert isinstance(answer, Begun | Admitted)
        return answer.probe

    @rule(number=st.integers(0, 9), told=st.none() | TOLD, move=st.sampled_from(["pause", "park", "query"]))
    def end(self, number: int, told: CoolDown | None, move: str) -> None:
        """An attempt has its answer."""
        if not self.under_way:
            return
        attempt = self.under_way.pop(number % len(self.under_way))
        mine = replace(attempt.claim, probe=attempt.probe)
        for under in self.ledgers:
            match move:
                case "pause":
                    under.ledger.pause(mine, Progress(tries=1), 0, told)
                case "park":
                    under.ledger.park(mine, Progress(tries=1), 0, "", told)
                case _:
                    under.ledger.cool_down(mine, told)
        if told and told.seconds and told.by_address is not None and mine.pace and not attempt.probe:
            key = mine.pace.host if told.by_address else mine.pace.bucket
            self.cools_until[key] = max(self.cools_until.get(key, 0), self.now + int(told.seconds * 1000))

    @rule(steps=st.integers(1, 4))
    def wait(self, steps: int) -> None:
        """Time passes."""
        self.now += steps * STEP_MS
        for under in self.ledgers:
            under.age(steps * STEP_MS)

    @invariant()
    def holds(self) -> None:
        """Within any span no class has begun more than it may, the more urgent ones counted."""
        for limit in LIMITS:
            for bucket in ("b1", "b2"):
                recent = [p for at, p in self.begun if p.bucket == bucket and at > self.now - span_ms(limit)]
                for number, pace in enumerate(recent):
                    assert number < allowed(limit, pace.urgency)

    def teardown(self) -> None:
        if hasattr(self, "client"):
            self.client.close()


def test_any_sequence_of_begins_and_answers() -> None:
    with Server("--appendfsync", "no") as PacingMachine.server:
        run_state_machine_as_test(PacingMachine, settings=settings(max_examples=75, stateful_step_count=40))
