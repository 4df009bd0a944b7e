"""The world of one seed: commands, workers, a broker that delivers until a report is stored, and operators."""

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from producers.report import Outcome, Reason
from tests.model.judge import Command, Run
from tests.model.scheduler import Chances, Process, Scheduler
from tests.model.simulated_lookups import RULES, Ids, WithLookups
from tests.model.simulated_parts import ProcessClock, SimulatedLedger, SimulatedTransport, reconcile_store
from tests.model.simulated_venue import KEY, SECRET, SECRETS, Venue
from tests.support.policies import KEYS
from worker.execution.backoff import RetryLimits
from worker.execution.context import Envelope
from worker.execution.events import CommandRef, Observer
from worker.execution.executor import Executor
from worker.execution.held_commands import AGAIN_MS
from worker.execution.holding import HeldForApproval
from worker.execution.outage import RequeueMessage
from worker.execution.parking import PROGRESS_HEADER, SINCE_HEADER, Parking, ParkMessage
from worker.execution.policy.rulings import PERMITTED, Approval, Ruling
from worker.ledger.base import Following, Halted, State
from worker.ledger.decisions import APPROVE, DENY, Decision
from worker.ledger.limits import Limit
from worker.rate_limits import RateLimit
from worker.reconciliation.reconciler import Reconciler
from worker.reconciliation.window import ReconcileLimits
from worker.venues.accounts import Account, Credentials
from worker.venues.everstrike.adapter import Everstrike
from worker.venues.everstrike.queries import EverstrikeReads

START_MS = 1_800_000_000_000
NO_HEADERS: Mapping[str, object] = {}
ACCOUNT = Account("main", "everstrike", "https://venue.test", Credentials(KEY, SECRET))
RATES = ((), (RateLimit(2, 1_000),), (RateLimit(1, 3_000), RateLimit(4, 20_000)), (RateLimit(2, 10_000),))
RETRY = RetryLimits(attempts=3)
PATIENCE_MS = 60_000
DAY_MS, HOLD_MS, RELEASE_MS = 86_400_000, 120_000, 5_000
EVENTS = {APPROVE: "approved", DENY: "denied"}
APPROVERS = {name: key.public() for name, key in KEYS.items()}
REDELIVERY_MS = (20_000, 50_000, 65_000)
BEGINS = ("begin 1: asks", "begin 1: Begun", "begin 2: asks", "begin 2: Begun", "pause: True", "renew", "settle")
ENDS = ("Orphaned", "Halted", "refuse not_sent: asks", "abandon", "True", "hands over")
SENDS = ("sleeps", "connects", "reads the clock", "about to send", "sends", "the answer", "no answer")
POINTS = (*BEGINS, *ENDS, *SENDS)
PARKED_POINTS = ("begin 1: Throttled", "begin 1: Busy", "park: asks", "park: True", "gives its message", "is parked")
"""Parts of the labels of points, for ambushes."""


class FaultWatch(Observer):
    """Keeps the faults of workers, of which a command may recover."""

    def __init__(self, faults: list[str]) -> None:
        self._faults = faults

    def fault(self, ref: CommandRef, kind: str, raised_at: str) -> None:
        self._faults.append(f"{ref.command_id}: {kind} at {raised_at}")


class Lenient(Everstrike):
    """A venue that takes cancels while it limits others."""

    passes_cool_down = frozenset({"cancel"})


class World:
    """The world of one seed. ``people`` says who settles unknowns: an ``operator`` who knows the venue's book and waits
    long enough, the real ``reconcile`` by the venue's lists, again and again, or nobody."""

    def __init__(
        self, seed: int, trace: Callable[[str], None] | None = None, people: str = "", *, looks: bool = False
    ) -> None:
        pick = self.pick = random.Random(seed ^ 0x5EED)
        self.seed, self.people = seed, people
        # Much of one kind of trouble finds more than a little of each.
        chances = Chances(
            kill=pick.choice((0, 0.01, 0.05)),
            kills=pick.choice((1, 2, 3)),
            freeze=pick.choice((0, 0, 0.02, 0.1)),
            slow=pick.choice((0.1, 0.5)),
            stay=pick.choice((0.3, 0.8)),
            ambush=[(pick.choice(POINTS), pick.choice(("kill", "freeze"))) for _ in range(pick.choice((0, 1, 2, 3)))],
            ledger_away=pick.choice((0, 0, 0.1)),
            ledger_reply_lost=pick.choice((0, 0.02, 0.2)),
            never_left=pick.choice((0.02, 0.2)),
            lost=pick.choice((0, 0.1, 0.5)),
            late=pick.choice((0, 0, 0.3)),
            lies=pick.choice((0.02, 0.2, 0.6)),
            cached=pick.choice((0, 0.3, 0.9)),
            undone=pick.choice((0, 0.5)),
        )
        self.processes: list[Process] = []
        self.scheduler = Scheduler(seed, chances, START_MS, trace)
        self.ledger = SimulatedLedger(self.scheduler, seed)
        self.follows = self.ledger.beside.random() < 0.5
        self.venue = Venue(self.scheduler, pace=random.Random(seed ^ 0x9ACE))
        self.envelopes: dict[str, Envelope] = {}
        self.policy = random.Random(seed ^ 0xCA9)  # of its own, so that seeds stay what they were
        cap = self.policy.choice((None, 1, 2))
        self.run = Run([], self.ledger.journal, cap=cap)
        limits = () if cap is None else (Limit("a few a day", f"main/ETH/{DAY_MS}", DAY_MS, count=cap),)
        approvals = (Approval("all", APPROVERS, hold_ms=HOLD_MS),) if self.policy.random() < 0.3 else ()
        self.run.needs_approval = bool(approvals)
        self.ruling = Ruling(limits=limits, approvals=approvals)
        self.parking = random.Random(seed ^ 0xBA2C)
        self.parks = self.parking.random() < 0.7
        self.account = replace(ACCOUNT, rate_limits=self.parking.choice(RATES))
        self.adapter = self.parking.choice((Everstrike(), Lenient()))
        self.run.rates = [(limit.requests, limit.window_ms) for limit in self.account.rate_limits]
        self.run.paced = self.ledger.paced.events
        self.venue.busy = self.parking.choice((0, 0, 0.3, 0.7))
        if self.parks and self.parking.random() < 0.4:
            chances.ambush.append((self.parking.choice(PARKED_POINTS), self.parking.choice(("kill", "freeze"))))
        stands_still = chances.freeze or chances.ledger_away or chances.ledger_reply_lost
        if not stands_still and all(happens == "kill" for _, happens in chances.ambush):
            self.run.budget_ms = int(RETRY.budget_seconds * 1000)
        self._released: set[str] = set()
        self._deliveries = 0
        self.ledger.told = self.run.delivered
        self.other: Account | None = None
        if looks:
            self._know_ids(random.Random(seed ^ 0x1D5))

    def _know_ids(self, pick: random.Random) -> None:
        """Let the venue have client order ids; sometimes the alias means another account to some workers."""
        self.run.budget_ms = 0  # looks go on after it
        chances = self.scheduler.chances
        chances.late, chances.freeze = pick.choice((0, 0.3, 0.7)), pick.choice((0, 0, chances.freeze))
        chances.lies = pick.choice((0.02, chances.lies))
        skew = pick.choice((0, 0, -3_000, 5_000, -40_000, 40_000))
        broken = pick.choice((0, 0, 0.3, 0.8))
        self.venue.ids = Ids(self.scheduler, pick, pick.choice(RULES), skew, broken)
        self.venue.delays = (4_000, 12_000, 14_000, 20_000, 30_000, 90_000)
        self.adapter = WithLookups()
        self.adapter.passes_cool_down = pick.choice((frozenset(), frozenset({"cancel"})))
        self.ledger.spoils = pick.choice((0, 0, 0.5))
        if pick.random() < 0.2:
            # Of two accounts each has a pace of its own, which other tests know.
            self.account = replace(self.account, rate_limits=())
            self.other = replace(self.account, credentials=Credentials(*[*SECRETS.items()][1]))
            self.run.rates, self.run.paced = [], []

    def play(self) -> Run:
        """Run this seed to the end."""
        pick, run, scheduler = self.pick, self.run, self.scheduler
        for number in range(pick.choice((1, 1, 2)) + self.parking.choice((0, 0, 1, 3))):
            self._produce(f"id{number}")
        if pick.random() < 0.3:
            self._halts()
        if self.people == "reconcile":
            self._reconcile(self._reconciler(), START_MS + 900_000)
        if pick.random() < 0.1:
            scheduler.at(START_MS + pick.randrange(10_000), self._stop)
        logger = logging.getLogger("orders")
        before, level = random.getstate(), logger.level
        random.seed(self.seed)  # tenacity's jitter
        logger.setLevel(logging.CRITICAL + 1)  # the executor's lines are many, and none is looked at here
        try:
            scheduler.run()
        finally:
            random.setstate(before)
            logger.setLevel(level)
        for command in run.commands:
            record = self.ledger.read(command.command_id)
            run.stored[command.command_id] = record.report if record else None
        run.counted = [each for counter in self.ledger.counters.by_key.values() for each, _ in counter]
        run.book, run.undone, run.stuck = self.venue.book, self.venue.undone, scheduler.stuck
        run.moved_after_death = scheduler.moved_after_death
        run.followed = self.ledger.followed
        return run

    def _produce(self, command_id: str) -> None:
        pick = self.pick
        kind = pick.choice(("withdraw", "withdraw", "close", "close", "cancel", "cancel"))
        arguments: dict[str, Any] = {"account": "main"}
        if kind == "withdraw":
            arguments |= {"asset": "ETH", "qty": "1", "address": command_id}
        elif kind == "cancel":
            arguments |= {"order_id": command_id}
        else:
            arguments |= {"pair": command_id, **({"qty": "1"} if pick.random() < 0.6 else {})}
            if self.venue.ids and self.venue.ids.random.random() < 0.3:
                arguments["trigger_price"] = "7"
        if pick.random() < 0.3:
            arguments["deadline"] = START_MS + pick.choice((1, 300, 2_000, 20_000, 40_000))
        repeatable = not {"qty", "trigger_price"} & arguments.keys()
        self.run.commands.append(Command(command_id, kind, repeatable, arguments.get("deadline")))
        self.envelopes[command_id] = Envelope(command_id, f"orders.{kind}", arguments)
        self._deliver(command_id)
        # A cancel has no timestamp, so that waiting proves nothing.
        if self.people == "operator" and kind != "cancel":
            self._resolve(command_id, START_MS + 400_000)
        for _ in range(pick.choice((0, 1, 2))):
            delay = pick.choice((0, 10, 500, 18_000, 60_000, 200_000))
            self.scheduler.at(START_MS + delay, lambda: self._deliver(command_id))

    def account_of(self, process: Process) -> Account:
        """The account that a worker's alias means."""
        return self.other if self.other and process.name == "p1" else self.account

    def _process(self) -> Process:
        alive = [process for process in self.processes if not process.dead and not process.stopping]
        if len(alive) < 3:
            skew = self.pick.choice((0, 0, -2_000, 2_000, 20_000))
            self.processes.append(Process(f"p{len(self.processes)}", skew))
            alive.append(self.processes[-1])
        return self.pick.choice(alive)

    def _deliver(self, command_id: str, headers: Mapping[str, object] = NO_HEADERS) -> None:
        """Deliver the message, and again until a report is stored."""
        process, scheduler = self._process(), self.scheduler
        self._deliveries += 1
        tag = f"tag{self._deliveries}"
        self.ledger.unacked.add(tag)
        able = self.pick.random() > 0.1
        executor = Executor(
            ledger=self.ledger,
            venues={"everstrike": self.adapter},
            accounts={"main": self.account_of(process)} if able else {},
            transport=SimulatedTransport(scheduler, self.venue, self.run.sent),
            clock=ProcessClock(scheduler, process),
            retry=RETRY,
            stopping=lambda: process.stopping,
            observer=FaultWatch(self.run.faults),
            ruling=lambda command: self.ruling if command.name == "withdraw" else PERMITTED,
        )

        envelope = self.envelopes[command_id]._replace(
            parks=self.parks,
            waits_since=headers.get(SINCE_HEADER),
            progress=headers.get(PROGRESS_HEADER),
            following=self._following(tag) if self.follows else None,
        )

        def work() -> bool:
            try:
                report = executor.execute(envelope)
            except RequeueMessage:
                scheduler.say("gives the message back")
                return False
            except ParkMessage as waits:
                scheduler.point("gives its message back to be parked")
                return self._park(command_id, {**headers, **waits.parking.headers}, waits.parking)
            except HeldForApproval as held:
                scheduler.point("acknowledges what is held")
                self._hold(command_id, held.until)
                return True
            scheduler.point(f"hands over {report.outcome.value if report else None}")
            if report is not None and not (envelope.following and envelope.following.stored):
                self.run.delivered.append(report)
            return report is not None

        def again() -> None:
            if tag in self.ledger.unacked:
                scheduler.at(
                    scheduler.now + self.pick.choice(REDELIVERY_MS), lambda: self._deliver(command_id, headers)
                )

        scheduler.spawn(f"{process.name}{'' if able else '?'}/{command_id}", process, work, again)

    def _following(self, tag: str) -> Following:
        """What follows the end of a command whose message has this tag."""
        return Following(
            lambda report: ("", report.message), lambda _: (0, "unacked_index", "unacked", "", tag, "ended")
        )

    def _park(self, command_id: str, headers: Mapping[str, object], parking: Parking) -> bool:
        """Let a message come again when it is due. It may be that it can't be parked, and is delivered again; or both,
        where the broker loses its last writes. Returns whether the broker has it no longer as taken."""
        roll = self.parking.random()
        if roll > 0.1:
            self.run.parked += 1
            late = self.parking.choice((0, 0, 5, 30_000))
            self.scheduler.say(f"is parked for {parking.wait_ms} ms: {parking.waits_for}")
            due = self.scheduler.now + parking.wait_ms + late
            self.scheduler.at(due, lambda: self._deliver(command_id, headers))
        self.scheduler.point("the message is parked")
        return 0.1 < roll < 0.95

    def _hold(self, command_id: str, until: int) -> None:
        """Let a person decide at some time, or not, and look for when its message is to be published again."""
        if command_id in self._released:
            return
        self._released.add(command_id)
        if (word := self.policy.choice((APPROVE, APPROVE, APPROVE, DENY, ""))) and not self.scheduler.stuck:
            at = self.scheduler.now + self.policy.choice((10, 3_000, 70_000, HOLD_MS + 60_000))
            self.scheduler.at(at, lambda: self._decide(command_id, word, until))
        self.scheduler.at(self.scheduler.now + RELEASE_MS, lambda: self._release(command_id))

    def _decide(self, command_id: str, word: str, until: int) -> None:
        record, name = self.ledger.read(command_id), next(iter(KEYS))
        if record is not None:
            signed = Decision(command_id, record.fingerprint, name, until, word).signed(KEYS[name])
            stored = self.ledger.decide(
                command_id, record.fingerprint, who=name, kid="1", event=EVENTS[word], signed=signed
            )
            self.scheduler.say(f"{command_id}: {word}, {stored}")
            if word == APPROVE and stored:
                self.run.approved.append(command_id)

    def _release(self, command_id: str) -> None:
        """Publish what is due again; see :mod:`worker.execution.held_commands`."""
        due = self.ledger.due.get(command_id)
        if due is None:
            return
        if due <= self.scheduler.now:
            self.ledger.due[command_id] = int(self.scheduler.now) + AGAIN_MS
            self._deliver(command_id)
        self.scheduler.at(self.scheduler.now + RELEASE_MS, lambda: self._release(command_id))

    def _halts(self) -> None:
        """Let an operator halt sending for a while."""
        pick, halts = self.pick, self.ledger.halts
        scopes = pick.choice((["*/*"], ["*/cancel", "*/close", "*/withdraw"]))
        begins = START_MS + pick.choice((0, 20, 1_000, 20_000))
        ends = begins + pick.choice((50, 5_000, 60_000))
        halt = dict.fromkeys(scopes, Halted("ann", "stop", START_MS))
        self.scheduler.at(begins, lambda: (halts.update(halt), self.scheduler.say("HALT"))[1])
        self.scheduler.at(ends, lambda: (halts.clear(), self.scheduler.say("HALT LIFTED"))[1])

    def _resolve(self, command_id: str, until: float) -> None:
        """Resolve an unknown by the book, once no signature made under its lease can be accepted any more."""
        if command_id in self.venue.undone:
            return  # the venue rejected it later: neither outcome would be true
        record, now = self.ledger.read(command_id), self.scheduler.now
        if record is not None and record.state is State.UNKNOWN and now > record.lease_until + PATIENCE_MS:
            assert record.report is not None
            executed = command_id in self.venue.book
            outcome, reason = (Outcome.ACCEPTED, Reason.OK) if executed else (Outcome.NOT_SENT, Reason.UNAVAILABLE)
            said = record.report.model_copy(update={"outcome": outcome, "reason": reason})
            self.scheduler.say(f"RESOLVED as {outcome.value}")
            self.ledger.resolve(said, who="ann", why="the venue's book")
        elif now < until:
            self.scheduler.at(now + 20_000, lambda: self._resolve(command_id, until))

    def _reconciler(self) -> Reconciler:
        """A reconciler on a machine whose clock is right."""
        scheduler = self.scheduler
        store = reconcile_store(self.ledger)
        return Reconciler(
            ledger=self.ledger,
            store=store,
            journal=store,
            accounts={"main": self.account},
            reads={"everstrike": EverstrikeReads(self.venue.read)},
            clock=SimpleNamespace(now_ms=lambda: int(scheduler.now), monotonic=lambda: scheduler.now / 1000),
            limits=ReconcileLimits(),
            publish=self.run.delivered.append,
        )

    def _reconcile(self, reconciler: Reconciler, until: float) -> None:
        """Reconcile all unknowns, now and repeatedly. A run takes no time: unit and contract tests cover what happens
        between two reads."""
        self.venue.cached = self.scheduler.random.random() < self.scheduler.chances.cached
        for found in reconciler.all():
            self.scheduler.say(f"RECONCILE {found.command_id}: {found.finding}, {found.outcome}: {found.words[:80]}")
        if self.scheduler.now < until:
            delay = self.scheduler.random.choice((30_000, 120_000))
            self.scheduler.at(self.scheduler.now + delay, lambda: self._reconcile(reconciler, until))

    def _stop(self) -> None:
        """Tell one worker to stop, and step the clocks of the others."""
        for process in self.processes[:1]:
            process.stopping = True
        for process in self.processes[1:]:
            process.skew_ms += self.pick.choice((-30_000, 3_000))
