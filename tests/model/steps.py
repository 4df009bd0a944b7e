"""The steps that are possible in a state: of the workers, the venue, time and operators.

A worker follows :mod:`worker.execution.executor` and :mod:`worker.execution.lease` step by step. Each call of the
ledger is one step, whose reply may be lost (the call is then repeated). Anything else may happen between any two steps,
which models a slow, stopped or frozen worker.
"""

from collections.abc import Iterator

from tests.model.look_steps import LookSteps
from tests.model.transition_table import HELD, OPEN, SENDING, UNKNOWN, Ask, Rec, Table, outcome
from tests.model.world import (
    HALT_LIFTED,
    HALT_NOW,
    MAX_TRIES,
    OUTCOMES,
    TAKES,
    Config,
    State,
    Step,
    Worker,
    canonical,
    token,
)

LIES = ("unlisted", "contradiction")
"""Answers that prove nothing: a refusal that is not listed for the venue (also a page of something in front of it), and
a yes that is about something else or whose record says no. The venue may have executed the request or not."""

BELIEVED = {
    "an unlisted refusal is believed": ("unlisted", "refused"),
    "an unlisted refusal is transient": ("unlisted", "not_executed"),
    "a contradiction is a yes": ("contradiction", "executed"),
    "a contradiction is a refusal": ("contradiction", "refused"),
    "what was seen is a refusal": ("seen", "refused"),
    "what was seen is sent again": ("seen", "not_executed"),
    "what was seen is a yes": ("seen", "executed"),
}
"""What a broken worker takes such an answer for."""


FORGOTTEN = {"looks": False, "seen": False, "absences": 0, "ending": "", "once": False, "outdated": False}
"""What a worker need not know any more that ends a command."""


class Steps(LookSteps):
    """The steps of one configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.broken = config.broken
        self.table = Table(config.rows)

    def next(self, state: State) -> Iterator[Step]:
        """Every step that can be taken now."""
        for index, worker in enumerate(state.workers):
            yield from self._worker(state, index, worker)
            if worker.at == "await_answer" and worker.request in ("fresh", "stale"):
                yield from self._venue_answers(state, index, worker)
        yield from self._venue(state)
        yield from self._time(state)
        yield from self._operator(state)

    # -- the venue, time and people ------------------------------------------------------------------------------------

    def _venue(self, state: State) -> Iterator[Step]:
        if self.config.lists and state.executed and not state.denied and self.config.kind == "withdraw":
            yield Step("the venue rejects what it had taken", state._replace(denied=True))
        if state.late:
            arrived = state._replace(late=state.late - 1)
            if self._takes_another(state):
                yield Step("a late request arrives and is executed", _executes(arrived))
            if self._rejects(state):
                yield Step("a late request arrives and is rejected for good", arrived._replace(recorded=True))
            yield Step("a late request is refused or lost", arrived)

    def _takes_another(self, state: State) -> bool:
        """Whether the venue takes a request, as far as its client order id goes."""
        return self.config.looks != "unique" or not (state.executed or state.recorded)

    def _rejects(self, state: State) -> bool:
        """Whether the venue may take down that it rejected a request."""
        return self.config.records and not state.recorded and self._takes_another(state)

    def _venue_answers(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        lies = LIES[:1] if self.config.looks else LIES
        answers = [("refused", state), *((lie, state) for lie in lies)]
        if self._on_the_wire(worker):
            answers.append(("not_executed", state))
            if self._takes_another(state):
                executed = _executes(state)
                answers += [("executed", executed), *((lie, executed) for lie in lies)]
                # Something in front of the venue repeats the request.
                answers += [("seen", executed)] if self.config.looks == "unique" else []
            if self.config.looks in ("unique", "open") and (state.executed or state.recorded):
                answers.append(("seen", state))
            if self._rejects(state):
                recorded = state._replace(recorded=True)
                answers.append((LIES[0], recorded))
                answers += [("seen", recorded)] if self.config.looks == "unique" else []
        for answer, after in answers:
            step = self._put(after, index, worker._replace(request=answer), f"'s request: the venue says {answer}")
            yield step._replace(by=-1)

    def _time(self, state: State) -> Iterator[Step]:
        if state.rec.lease:
            _, _, rec = self.table.ask(state.rec, Ask("lease ends"))
            yield Step("the owner's lease ends", state._replace(rec=rec))
        for index, worker in enumerate(state.workers):
            if self.config.window and not self.config.looks and worker.request == "fresh":
                step = self._put(state, index, worker._replace(request="stale"), "'s signature gets too old")
                yield step._replace(by=-1)
        if self.config.looks:
            yield from self._window(state)
        if self.config.budget and state.rec.state in OPEN and not state.spent:
            workers = tuple(worker._replace(spent=worker.begun > 0) for worker in state.workers)
            yield Step("the time for retries ends", state._replace(spent=True, workers=workers))
        if self.config.deadline and not state.past_deadline:
            yield Step("the deadline passes", state._replace(past_deadline=True))
        if state.rec.state == HELD and state.rec.hold != "over":
            _, _, rec = self.table.ask(state.rec, Ask("hold ends"))
            yield Step("the hold ends", state._replace(rec=rec))
        if self.config.limits and state.full != HALT_LIFTED:
            become = ("full", "free again")[state.full]
            yield Step(f"the limits are {become}", state._replace(full=state.full + 1))
        if "resolve by timer" in self.broken and state.rec.state == UNKNOWN:
            ended = state.rec._replace(state="SETTLED", report="not_sent")
            yield Step("a timer ends the unknown", state._replace(rec=ended))

    def _operator(self, state: State) -> Iterator[Step]:
        config = self.config
        if config.halts and state.halt != HALT_LIFTED:
            said = ("halts", "lifts the halt")[state.halt]
            yield Step(f"the operator {said}", state._replace(halt=state.halt + 1))
        if state.rec.state == HELD and not state.decision:
            name, _, rec = self.table.ask(state.rec, Ask("decide"))
            for decision in ("approved", "denied"):
                yield Step(f"it is {decision}", state._replace(rec=rec, decision=decision), name)
        may_resolve = (UNKNOWN, *(OPEN if "resolve what is open" in self.broken else ()))
        if not config.operator or state.rec.state not in may_resolve or state.resolved:
            return
        # A patient one has waited for longer than the window since the lease ended. Where there is none, waiting proves
        # nothing.
        patient = config.operator == "patient" and config.window
        if patient and (state.late or any(worker.request == "fresh" for worker in state.workers)):
            return
        if config.lists and "stale read" in self.broken:
            yield self._resolved(state, "not_sent")
        if not state.denied or "record says no" in self.broken:
            yield self._resolved(state, "accepted" if state.executed else "not_sent")

    def _resolved(self, state: State, report: str) -> Step:
        name, _, rec = self.table.ask(state.rec, Ask("resolve", report=report))
        return Step(f"the operator resolves: {report}", state._replace(rec=rec, resolved=True), name)

    # -- a worker ------------------------------------------------------------------------------------------------------

    def _worker(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        if worker.at in ("done", "dead"):
            return
        if worker.at in ("held", "parked"):
            yield from getattr(self, f"_{worker.at}_message")(state, index, worker)
            return
        if worker.at == "idle":
            # Deliveries are alike, so they are numbered in the order in which they come.
            first = index == 0 or state.workers[index - 1].at != "idle"
            if first and not ("acknowledge early" in self.broken and index):
                yield self._put(state, index, self._fresh(worker), "gets the message")
            return
        if sum(other.at == "dead" for other in state.workers) < len(state.workers) - 1:
            gone = Worker("dead", worker.epoch)
            yield self._put(self._left_behind(state, worker), index, gone, "dies")
        yield from getattr(self, f"_{worker.at}")(state, index, worker)

    def _fresh(self, worker: Worker) -> Worker:
        """The worker at the start of an execution, which has its own token."""
        epoch = worker.epoch + (worker.at != "idle")
        if "send before begin" in self.broken and not worker.refusing:
            return Worker("connect", epoch, attempt=1, left=self.config.attempts)
        at = "refuse" if worker.refusing else "take" if self.config.looks else "begin"
        return Worker(at, epoch, worker.refusing, place=worker.place)

    def _blank(self, worker: Worker, at: str, *, refusing: bool = False) -> Worker:
        """The worker without all that it knows of the command."""
        return Worker(at, worker.epoch, refusing, place=worker.place)

    def _ends_it(self, worker: Worker) -> Worker:
        """The worker that ends it instead, after it has asked whether there is something to look for."""
        at = "take" if self.config.looks else "refuse"
        return Worker(at, worker.epoch + 1, refusing=True, place=worker.place)

    def _held_message(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        """A held command's message was acknowledged. It is published again once somebody has decided, or the hold is
        over; and the broker delivers again what a dead worker had taken."""
        due = state.rec.state == HELD and state.rec.hold in ("decided", "over")
        if "a held message is lost" not in self.broken and due:
            yield self._put(state, index, self._fresh(worker), "gets the message, published again")
        elif state.rec.state != HELD and any(other.at == "dead" for other in state.workers):
            yield self._put(state, index, self._fresh(worker), "gets the dead worker's message")

    def _parked_message(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        """It comes again when the broker's clock says so, to any worker: the ledger may have another opinion."""
        for able in sorted({"able", *self.config.workers}) if "a parked message is lost" not in self.broken else ():
            fresh = self._fresh(worker._replace(refusing=able == "unable", place=self.config.place(able)))
            yield self._put(state, index, fresh, f"'s message comes again, to a worker that is {able}")

    def _give_back(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        """The broker parks the message: the ledger knows all by now. Where that fails, it is delivered again; that it
        is both parked and delivered again is like any other second delivery."""
        yield self._put(state, index, Worker("parked", worker.epoch), "'s message is parked")
        yield self._put(state, index, self._fresh(worker), "'s message can't be parked, and is delivered again")

    def _waits(self, state: State, index: int, worker: Worker, label: str) -> Iterator[Step]:
        """The worker can't begin now. Where it does not park, it asks again."""
        if "who waits goes away" in self.broken:
            yield self._put(state, index, Worker("done", worker.epoch), label)
        elif self.config.parks:
            yield self._put(state, index, self._blank(worker, "give_back", refusing=worker.refusing), label)

    def _on_the_wire(self, worker: Worker) -> bool:
        """Whether the request of this worker is under way and may still be executed."""
        takes = ("fresh",) if self.config.window else ("fresh", "stale")
        return worker.at == "await_answer" and worker.request in takes and not worker.over

    def _left_behind(self, state: State, worker: Worker) -> State:
        """The state in which nobody waits for the request of this worker any more."""
        return state._replace(late=min(state.late + self._on_the_wire(worker), 2))

    def _put(self, state: State, index: int, worker: Worker, label: str, row: str = "", act: str = "") -> Step:
        """The step after which the worker at this index is ``worker``."""
        workers = (*state.workers[:index], worker, *state.workers[index + 1 :])
        name = "ABC"[index] + ("" if label.startswith("'") else " ")
        return Step(name + label, canonical(state._replace(workers=workers)), row, index, act)

    def _ask(self, state: State, index: int, move: str, **more: object) -> tuple[str, str, State, list[Step]]:
        """Call the ledger: the row's name, the answer, the state after it, and the step in which the reply is lost."""
        asking, halted = token(index, state.workers[index]), state.halt == HALT_NOW
        lookup = ("2" if state.lookup == "1" else "1") if self.config.looks else ""
        of = {"repeatable": self.config.repeatable, "lookup": lookup, "place": state.workers[index].place}
        ask = Ask(move, asking, halted=halted, full=state.full == HALT_NOW, **of, **more)
        name, row, rec = self.table.ask(state.rec, ask)
        # Who takes up what is parked has what is left of its time for retries; who takes over has a new one.
        spent = state.spent and not (name == "begin: first" or name.startswith("begin: take over"))
        begins = state.begins + (row.answer == "begun" and name != "begin: granted, reply lost")
        after = state._replace(rec=rec, spent=spent, begins=min(begins, MAX_TRIES))
        if self.config.looks and row.answer == "begun":
            noted = state.noted if "what was noted is not forgotten" in self.broken else 0
            stored = rec.lookup if rec.tainted else lookup
            after = after._replace(window=TAKES, lookup=stored, noted=noted, seen=state.seen and rec.tainted)
        if rec == state.rec or self.config.calm:
            return name, row.answer, after, []
        lost = self._put(after, index, state.workers[index], f"[{name}], the reply is lost", name)
        return name, row.answer, after, [lost]

    def _begin(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        needs_approval = self.config.approval and worker.at != "begin_approved"
        row, answer, after, lost = self._ask(state, index, "begin", attempt=1, needs_approval=needs_approval)
        yield from lost
        rec, label = after.rec, f"[{row}] {answer}"
        if answer == "begun":
            left = max(0, self.config.attempts - (rec.tries - 1))
            spent = after.spent and "budget forgotten" not in self.broken
            begun = worker._replace(at="connect", attempt=1, left=left, tainted=rec.tainted, begun=1, spent=spent)
            begun = begun._replace(looks=self._finds_all(rec, worker), seen=after.seen)
            if after.seen:
                begun = self._in_doubt(begun, "unknown")
            yield self._put(after, index, begun if left else self._give_up(begun), label, row)
        elif answer == "lookfirst":
            yield self._put(after, index, self._blank(worker, "take"), label)
        elif answer == "ended":
            yield self._deliver(after, index, rec.report, label)
        elif answer == "held":
            yield self._put(after, index, self._held(after, worker), label, row)
        elif answer in ("halted", "denied", "holdover"):
            yield self._put(after, index, self._ends_it(worker), label)
        elif answer == "orphaned":
            yield self._put(after, index, self._orphaned(worker, rec), label)
        elif answer == "busy":
            yield from self._waits(after, index, worker, label)
        if self.config.throttled and worker.at == "begin":
            yield from self._begin_throttled(state, index, worker)

    _begin_approved = _begin

    def _finds_all(self, rec: Rec, worker: Worker) -> bool:
        """Whether a look finds every attempt."""
        return bool(rec.lookup) and rec.place == worker.place

    def _begin_throttled(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        row, answer, after, lost = self._ask(state, index, "begin", throttled=True)
        yield from lost
        if answer == "throttled":
            yield from self._waits(after, index, worker, f"[{row}]")
            yield self._put(after, index, self._ends_it(worker), f"[{row}] for longer than it may wait")

    def _held(self, state: State, worker: Worker) -> Worker:
        """What a worker does with a held command, by what it is told has been decided."""
        decision = state.decision if state.rec.hold == "decided" else ""
        if decision == "approved" or "nobody is asked" in self.broken:
            return worker._replace(at="begin_approved")
        if decision == "denied" and "a denial is an approval" in self.broken:
            return worker._replace(at="begin_approved")
        if decision == "denied":
            return self._ends_it(worker)
        return self._blank(worker, "held")

    def _orphaned(self, worker: Worker, rec: Rec) -> Worker:
        doubt = (rec.state == SENDING or rec.tainted) and "an orphan was not sent" not in self.broken
        return worker._replace(at="abandon", dead=rec, report="unknown" if doubt else "not_sent")

    def _refuse(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        row, answer, after, lost = self._ask(state, index, "refuse", report="not_sent")
        yield from lost
        label = f"[{row}] {answer}"
        if answer in ("done", "ended"):
            yield self._deliver(after, index, after.rec.report, label, row)
        elif answer == "orphaned":
            yield self._put(after, index, self._orphaned(worker, after.rec), label)
        elif answer == "busy":
            yield from self._waits(after, index, worker, label)

    def _abandon(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        row, answer, after, lost = self._ask(state, index, "abandon", dead=worker.dead, report=worker.report)
        yield from lost
        label = f"[{row}] {worker.report}"
        if answer == "done":
            yield self._deliver(after, index, worker.report, label, row)
        else:
            back = "refuse" if worker.refusing else "begin"
            yield self._put(after, index, worker._replace(at=back, dead=Rec(), report=""), label)

    def _connect(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        at = "sign" if self.config.sign_first or "send before begin" in self.broken else "look_at_lease"
        late = "deadline before connecting" in self.broken and state.past_deadline
        yield self._put(state, index, self._give_up(worker) if late else worker._replace(at=at), "connects")
        if not self.config.calm:
            yield self._judged(state, index, worker, "not_executed", "finds no connection")

    def _look_at_lease(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        mine = state.rec.token == token(index, worker) and state.rec.state == SENDING
        if (mine and state.rec.lease) or "no lease" in self.broken:
            after = worker._replace(at="send" if self.config.sign_first else "sign")
            yield self._put(state, index, after, "finds its lease long enough")
        row, answer, renewed, lost = self._ask(state, index, "renew")
        yield from lost
        # The clock may have run on during the call: it is read, and signed, and the lease looked at once more.
        again = worker._replace(at="sign") if answer == "done" else self._fresh(worker)
        yield self._put(renewed, index, again, f"[{row}]", row)

    def _sign(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        late = state.past_deadline and "deadline before connecting" not in self.broken
        if late and not ("clock read once" in self.broken and worker.attempt > 1):
            yield self._put(state, index, self._give_up(worker), "finds the deadline passed")
            return
        at = "look_at_lease" if self.config.sign_first else "send"
        signed = worker._replace(at=at, request="fresh", signed=worker.attempt)
        yield self._put(state, index, signed, "reads the clock and signs", act="sign")

    def _send(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        to = worker.place if state.sent_to in ("", worker.place) else "*"
        sent = state._replace(doubts=min(state.doubts + (not worker.over), 3), sent_to=to)
        yield self._put(sent, index, worker._replace(at="await_answer"), "sends", act="send")
        if not self.config.calm:
            yield self._judged(state, index, worker, "not_executed", "loses the connection before anything is sent")

    def _await_answer(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        yield self._judged(self._left_behind(state, worker), index, worker, "unknown", "loses the reply")
        if worker.request not in ("fresh", "stale"):
            proven = worker.request not in (*LIES, "seen")
            heard = state._replace(doubts=max(state.doubts - 1, 0)) if proven else state
            yield self._judged(heard, index, worker, worker.request, f"reads: {worker.request}")

    def _judged(self, state: State, index: int, worker: Worker, proof: str, label: str) -> Step:
        """What an answer leads to: :mod:`worker.execution.retry_policy` and ``Executor._conclude``."""
        worker = worker._replace(request=worker.request if "signature kept" in self.broken else "", over=False)
        if proof in (*LIES, "seen"):
            believed = (to for name, (lie, to) in BELIEVED.items() if name in self.broken and lie == proof)
            proof = next(believed, "unknown" if proof in LIES else proof)
        elif proof == "unknown" and "lost is never left" in self.broken:
            proof = "not_executed"
        doubt = worker.tainted and "refusal after doubt" not in self.broken
        ends = {"executed": "accepted", "refused": "unknown" if doubt else "rejected"}
        may_repeat = self.config.repeatable or "resend after unknown" in self.broken
        if proof == "refused" and doubt:
            return self._put(state, index, self._in_doubt(worker, "unknown", "rejected"), label)
        if proof in ends:
            return self._put(state, index, self._to_settle(worker, ends[proof]), label)
        worker = worker._replace(left=worker.left - 1)
        if proof == "seen" or (proof == "unknown" and not may_repeat):
            worker = worker._replace(seen=worker.seen or proof == "seen")
            return self._put(state, index, self._in_doubt(worker, "unknown"), label)
        worker = worker._replace(tainted=worker.tainted or proof == "unknown")
        if not worker.left or worker.spent:
            return self._put(state, index, self._give_up(worker), label)
        if proof == "unknown" and worker.looks and self.config.repeatable:
            return self._put(state, index, self._in_doubt(worker, "unknown")._replace(once=True), label)
        return self._put(state, index, worker._replace(at="pause"), label, act="wait")

    def _give_up(self, worker: Worker) -> Worker:
        if worker.tainted and "giving up forgets" not in self.broken:
            return self._in_doubt(worker, "unknown", "not_sent")
        return self._to_settle(worker, "not_sent")

    def _to_settle(self, worker: Worker, report: str) -> Worker:
        return worker._replace(at="settle", report=report, request="", **FORGOTTEN)

    def _pause(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        row, answer, after, lost = self._ask(state, index, "pause", tries=state.rec.tries, tainted=worker.tainted)
        yield from lost
        paused = worker._replace(at="begin_again") if answer == "done" else self._fresh(worker)
        yield self._put(after, index, paused, f"[{row}]", row)
        # Out of time or budget: decided before anything is written.
        yield self._put(state, index, self._give_up(worker), "has no time for another attempt")
        if self.config.parks:
            yield from self._park(state, index, worker)

    def _park(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        row, answer, after, lost = self._ask(state, index, "park", tries=state.rec.tries, tainted=worker.tainted)
        yield from lost
        parked = self._blank(worker, "give_back") if answer == "done" else self._fresh(worker)
        after = after._replace(noted=0, seen=worker.seen) if answer == "done" else after
        yield self._put(after, index, parked, f"[{row}]", row)

    def _begin_again(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        attempt = worker.attempt + 1
        row, answer, after, lost = self._ask(state, index, "begin", attempt=attempt)
        yield from lost
        going_on = self._fresh(worker)
        if answer == "begun":
            at = "send" if "signature kept" in self.broken and worker.request else "connect"
            going_on = worker._replace(at=at, attempt=attempt, begun=attempt, tainted=after.rec.tainted, over=False)
            going_on = going_on._replace(looks=self._finds_all(after.rec, worker), absences=0)
        elif answer == "halted":
            going_on = self._give_up(worker)
        yield self._put(after, index, going_on, f"[{row}] {answer}", row)
        if self.config.throttled:
            row, answer, after, lost = self._ask(state, index, "begin", attempt=attempt, throttled=True)
            yield from lost
            if answer == "throttled":
                yield self._put(after, index, self._give_up(worker), f"[{row}] for longer than it may wait")
                yield self._put(after, index, worker._replace(at="pause"), f"[{row}]")

    def _settle(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        row, answer, after, lost = self._ask(state, index, "settle", report=worker.report)
        for step in lost:
            stored = self.config.follows and answer == "done"
            yield step._replace(state=_tells(step.state, worker.report)) if stored else step
        label, stands = f"[{row}] {worker.report}", after.rec.report
        if answer == "stands" and not stands:
            yield self._put(after, index, self._fresh(worker), label)
        else:
            own = answer == "done" or "own report over another" in self.broken
            yield self._deliver(after, index, worker.report if own else stands, label, row)

    def _deliver(self, state: State, index: int, report: str, label: str, row: str = "") -> Step:
        done = Worker("done", state.workers[index].epoch)
        return self._put(_tells(state, report), index, done, f"{label}, and reports {report}", row)


def _tells(state: State, report: str) -> State:
    return state._replace(delivered=state.delivered | OUTCOMES[outcome(report)])


def _executes(state: State) -> State:
    return state._replace(executed=min(state.executed + 1, 2))
