"""One seed's world: commands, workers, a broker that delivers until a report is stored, and people."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from producers.report import Outcome, Reason
from tests.model.judge import Command, Run
from tests.model.scheduler import Process, Scheduler, Weather
from tests.model.sim_twins import ProcessClock, Sent, SimCasebook, SimLedger, SimTransport
from tests.model.sim_venue import KEY, SECRET, Chances, Venue
from worker.execution.backoff import RetryLimits
from worker.execution.context import Envelope
from worker.execution.executor import Executor
from worker.execution.lease import RequeueMessage
from worker.ledger.base import Halted, State
from worker.reconciliation.reconciler import Reconciler
from worker.reconciliation.window import ReconcileLimits
from worker.venues.accounts import Account, Credentials
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.everstrike.queries import EverstrikeReads

START_MS = 1_800_000_000_000
ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials(KEY, SECRET))
VENUES = {"everstrike": Everstrike()}
RETRY = RetryLimits(attempts=3)
PATIENCE_MS = 60_000
REDELIVERY_MS = (20_000, 50_000, 65_000)
BEGINS = ("begin 1: asks", "begin 1: Begun", "begin 2: asks", "begin 2: Begun", "pause: True", "renew", "settle")
ENDS = ("Orphaned", "Halted", "refuse: asks", "abandon as", "True", "hands over")
SENDS = ("sleeps", "connects", "reads the clock", "about to send", "sends", "the answer", "no answer")
POINTS = (*BEGINS, *ENDS, *SENDS)
"""Parts of points' labels: where an ambush may lie."""


@dataclass
class _DeskClock:
    """The clock of the machine that reconciles, which is right."""

    scheduler: Scheduler

    def now_ms(self) -> int:
        """UNIX milliseconds."""
        return int(self.scheduler.now)

    def monotonic(self) -> float:
        """Seconds."""
        return self.scheduler.now / 1000

    def sleep(self, seconds: float) -> None:
        """Nobody waits in a run."""
        raise NotImplementedError


@dataclass
class World:
    """One seed's world."""

    seed: int
    trace: Callable[[str], None] | None = None
    people: str = ""
    """Who settles unknowns: an ``operator`` by the venue's book, after a patient wait; the real ``reconcile`` by what
    the venue's lists show, again and again; nobody."""
    processes: list[Process] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        pick = self.pick = random.Random(self.seed ^ 0x5EED)
        # Storms of one kind find more than a little of everything.
        self.weather = Weather(
            kill=pick.choice((0, 0.01, 0.05)),
            kills=pick.choice((1, 2, 3)),
            freeze=pick.choice((0, 0, 0.02, 0.1)),
            slow=pick.choice((0.1, 0.5)),
            stay=pick.choice((0.3, 0.8)),
            ambush=[(pick.choice(POINTS), pick.choice(("kill", "freeze"))) for _ in range(pick.choice((0, 1, 2, 3)))],
        )
        self.chances = Chances(
            ledger_away=pick.choice((0, 0, 0.1)),
            ledger_reply_lost=pick.choice((0, 0.02, 0.2)),
            never_left=pick.choice((0.02, 0.2)),
            lost=pick.choice((0, 0.1, 0.5)),
            late=pick.choice((0, 0, 0.3)),
            lies=pick.choice((0.02, 0.2, 0.6)),
            cached=pick.choice((0, 0.3, 0.9)),
            undone=pick.choice((0, 0.5)),
        )
        self.scheduler = Scheduler(self.seed, self.weather, START_MS, self.trace)
        self.ledger = SimLedger(self.scheduler, self.chances)
        self.venue = Venue(self.scheduler, self.chances)
        self.envelopes: dict[str, Envelope] = {}
        self.run = Run([], self.ledger.journal)

    def play(self) -> Run:
        """Everything this seed holds, to the end."""
        pick, run = self.pick, self.run
        for number in range(pick.choice((1, 1, 2))):
            self._produce(f"id{number}")
        if pick.random() < 0.3:
            self._halts()
        if self.people == "reconcile":
            self._reconcile(self._reconciler(), START_MS + 900_000)
        if pick.random() < 0.1:
            self.scheduler.at(START_MS + pick.randrange(10_000), self._stop)
        before = random.getstate()
        random.seed(self.seed)  # tenacity's jitter
        self.scheduler.run()
        random.setstate(before)
        run.stored = {command.command_id: self._stored(command) for command in run.commands}
        run.book, run.sent, run.stuck = self.venue.book, self.sent, self.scheduler.stuck
        run.undone = self.venue.undone
        run.moved_after_death = self.scheduler.moved_after_death
        return run

    def _stored(self, command: Command) -> Any:
        record = self.ledger.read(command.command_id)
        return record.report if record else None

    def _produce(self, command_id: str) -> None:
        pick = self.pick
        arguments: dict[str, Any] = {"account": "main"}
        kind = pick.choice(("withdraw", "withdraw", "close", "close", "cancel", "cancel"))
        if kind == "withdraw":
            arguments |= {"asset": "ETH", "qty": "1", "address": command_id}
        elif kind == "cancel":
            arguments |= {"order_id": command_id}
        else:
            arguments |= {"pair": command_id, **({"qty": "1"} if pick.random() < 0.6 else {})}
        if pick.random() < 0.3:
            arguments["deadline"] = START_MS + pick.choice((1, 300, 2_000, 20_000, 40_000))
        repeatable = kind == "cancel" or (kind == "close" and "qty" not in arguments)
        self.run.commands.append(Command(command_id, repeatable, arguments.get("deadline")))
        self.envelopes[command_id] = Envelope(command_id, f"orders.{kind}", arguments)
        self._deliver(command_id)
        # A cancel has no timestamp: waiting proves nothing.
        if self.people == "operator" and "order_id" not in arguments:
            self._resolve(command_id, START_MS + 400_000)
        for _ in range(pick.choice((0, 1, 2))):
            delay = pick.choice((0, 10, 500, 18_000, 60_000, 200_000))
            self.scheduler.at(START_MS + delay, lambda: self._deliver(command_id))

    def _process(self) -> Process:
        alive = [process for process in self.processes if not process.dead and not process.stopping]
        if len(alive) < 3:
            skew = self.pick.choice((0, 0, -2_000, 2_000, 20_000))
            self.processes.append(Process(f"p{len(self.processes)}", skew))
            alive.append(self.processes[-1])
        return self.pick.choice(alive)

    def _deliver(self, command_id: str) -> None:
        """One delivery: it ends in a report that is stored, or the message comes again."""
        process, scheduler = self._process(), self.scheduler
        able = self.pick.random() > 0.1
        executor = Executor(
            ledger=self.ledger,
            venues=VENUES,
            accounts={"main": ACCOUNT} if able else {},
            transport=SimTransport(scheduler, self.venue, self.sent),  # type: ignore[arg-type] # the twin
            clock=ProcessClock(scheduler, process),
            retry=RETRY,
            stopping=lambda: process.stopping,
        )

        def work() -> bool:
            try:
                report = executor.execute(self.envelopes[command_id])
            except RequeueMessage:
                scheduler.say("gives the message back")
                return False
            scheduler.point(f"hands over {report.outcome.value if report else None}")
            if report is not None:
                self.run.delivered.append(report)
            return report is not None

        def again() -> None:
            scheduler.at(scheduler.now + self.pick.choice(REDELIVERY_MS), lambda: self._deliver(command_id))

        scheduler.spawn(f"{process.name}{'' if able else '?'}/{command_id}", process, work, again)

    def _halts(self) -> None:
        """An operator halts sending for a while."""
        pick, halts = self.pick, self.ledger.halts
        scopes = pick.choice((["*/*"], ["*/cancel", "*/close", "*/withdraw"]))
        begins = START_MS + pick.choice((0, 20, 1_000, 20_000))
        ends = begins + pick.choice((50, 5_000, 60_000))
        halt = {scope: Halted("ann", "stop", START_MS) for scope in scopes}
        self.scheduler.at(begins, lambda: (halts.update(halt), self.scheduler.say("HALT"))[1])
        self.scheduler.at(ends, lambda: (halts.clear(), self.scheduler.say("HALT LIFTED"))[1])

    def _resolve(self, command_id: str, until: float) -> None:
        """Waits for longer than any signature made under the lease is taken, clocks that are off included."""
        if command_id in self.venue.undone:
            return  # the record says no: neither word would be true
        record, now = self.ledger.read(command_id), self.scheduler.now
        if record is not None and record.state is State.UNKNOWN and now > record.lease_until + PATIENCE_MS:
            assert record.report is not None
            outcome, reason = Outcome.NOT_SENT, Reason.UNAVAILABLE
            if command_id in self.venue.book:
                outcome, reason = Outcome.ACCEPTED, Reason.OK
            said = record.report.model_copy(update={"outcome": outcome, "reason": reason})
            self.scheduler.say(f"RESOLVED as {outcome.value}")
            self.ledger.resolve(said, who="ann", why="the venue's book")
        elif now < until:
            self.scheduler.at(now + 20_000, lambda: self._resolve(command_id, until))

    def _reconciler(self) -> Reconciler:
        store: Any = SimCasebook(self.ledger)
        return Reconciler(
            ledger=self.ledger,
            store=store,
            journal=store,
            accounts={"main": ACCOUNT},
            reads={"everstrike": EverstrikeReads(self.venue.read)},
            clock=_DeskClock(self.scheduler),
            limits=ReconcileLimits(),
            publish=self.run.delivered.append,
        )

    def _reconcile(self, reconciler: Reconciler, until: float) -> None:
        """A run over all unknowns, now and every other while. It takes no time: what comes between two reads is tried
        in tests/unit and tests/contract."""
        self.venue.cached = self.scheduler.random.random() < self.chances.cached
        for found in reconciler.all():
            self.scheduler.say(f"RECONCILE {found.command_id}: {found.finding}, {found.outcome}: {found.words[:80]}")
        if self.scheduler.now < until:
            delay = self.scheduler.random.choice((30_000, 120_000))
            self.scheduler.at(self.scheduler.now + delay, lambda: self._reconcile(reconciler, until))

    def _stop(self) -> None:
        """A worker is told to stop, and another machine's clock is stepped."""
        for process in self.processes[:1]:
            process.stopping = True
        for process in self.processes[1:]:
            process.skew_ms += self.pick.choice((-30_000, 3_000))
