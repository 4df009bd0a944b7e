"""What a worker can do next.

It follows :mod:`worker.execution.executor` and :mod:`worker.execution.lease` step by step; each call of
the ledger is one step, whose reply may be lost (the call is then repeated), and between any two steps anything else may
happen: that is what a slow, stopped or frozen worker is.
"""

from collections.abc import Iterator

from tests.model import world as w
from tests.model.transition_table import SENDING, Ask, Rec, outcome
from tests.model.world import Config, State, Step, Worker, canonical, token

LIES = ("unlisted", "contradiction")
"""Answers that prove nothing: a refusal that is not listed for the venue (also a page of something in front of it), and
a yes that is about something else or whose record says no. The venue may have executed the request or not."""

BELIEVED = {
    "an unlisted refusal is believed": ("unlisted", "refused"),
    "an unlisted refusal is transient": ("unlisted", "not_executed"),
    "a contradiction is a yes": ("contradiction", "executed"),
    "a contradiction is a refusal": ("contradiction", "refused"),
}
"""What a worker may wrongly take them for."""


class WorkerSteps:
    """The steps of the workers of one configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.broken = config.broken
        self.table = config.table

    def worker(self, state: State, index: int) -> Iterator[Step]:
        """What this worker can do next."""
        worker = state.workers[index]
        if worker.at in (w.DONE, w.DEAD):
            return
        if worker.at == w.IDLE:
            # Deliveries are alike, so they are numbered in the order in which they come.
            first = index == 0 or state.workers[index - 1].at != w.IDLE
            if first and not ("acknowledge early" in self.broken and index):
                yield self.put(state, index, self._fresh(worker), "gets the message")
            return
        deaths = sum(other.at == w.DEAD for other in state.workers)
        if deaths < len(state.workers) - 1:
            late = int(self.on_the_wire(worker))
            gone = Worker(at=w.DEAD, epoch=worker.epoch)
            yield self.put(state._replace(late=min(state.late + late, 2)), index, gone, "dies")
        at = (
            None, self._begin, self._refuse, self._abandon, self._connect, self._lease, self._sign, self._send,
            self._await, self._pause, self._again, self._settle,
        )[worker.at]  # fmt: skip
        assert at is not None
        yield from at(state, index, worker)

    def _fresh(self, worker: Worker) -> Worker:
        """The start of an execution, with a token of its own."""
        epoch = worker.epoch + (worker.at != w.IDLE)
        if "send before begin" in self.broken and not worker.refusing:
            return Worker(w.CONNECT, epoch, attempt=1, left=self.config.attempts)
        return Worker(w.REFUSE if worker.refusing else w.BEGIN, epoch, worker.refusing)

    def on_the_wire(self, worker: Worker) -> bool:
        """Whether its request is under way and may still be executed."""
        return worker.at == w.AWAIT and (
            worker.request == "fresh" or (worker.request == "stale" and not self.config.window)
        )

    def put(self, state: State, index: int, worker: Worker, label: str, row: str = "", act: str = "") -> Step:
        """The step that leaves this worker so."""
        workers = (*state.workers[:index], worker, *state.workers[index + 1 :])
        name = "ABC"[index] + ("" if label.startswith("'") else " ")
        return Step(name + label, canonical(state._replace(workers=workers)), row, index, act)

    def _ask(self, state: State, index: int, move: str, **more: object) -> tuple[str, str, Rec]:
        ask = Ask(move, token(index, state.workers[index]), repeatable=self.config.repeatable, **more)  # type: ignore[arg-type]
        name, row = self.table.row(state.rec, ask)
        return name, row.answer, row.effect(state.rec, ask)

    def _lost_reply(self, state: State, index: int, rec: Rec, row: str) -> Iterator[Step]:
        if rec != state.rec:
            yield self.put(state._replace(rec=rec), index, state.workers[index], f"[{row}], the reply is lost", row)

    def _begin(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        row, answer, rec = self._ask(state, index, "begin", attempt=1, halted=state.halt == w.HALT_NOW)
        yield from self._lost_reply(state, index, rec, row)
        moved = state._replace(rec=rec)
        label = f"[{row}] {answer}"
        if answer == "begun":
            left = max(0, self.config.attempts - (rec.tries - 1))
            begun = worker._replace(at=w.CONNECT, attempt=1, left=left, tainted=rec.tainted, begun=1)
            if not left:
                begun = self._give_up(begun)
            yield self.put(moved, index, begun, label, row)
        elif answer == "ended":
            yield self._deliver(moved, index, rec.report, label)
        elif answer == "halted":
            yield self.put(moved, index, Worker(w.REFUSE, worker.epoch + 1, refusing=True), label)
        elif answer == "orphaned":
            yield self.put(moved, index, self._orphaned(worker, rec), label)

    def _orphaned(self, worker: Worker, rec: Rec) -> Worker:
        doubt = rec.state == SENDING or rec.tainted
        if "an orphan was not sent" in self.broken:
            doubt = False
        return worker._replace(at=w.ABANDON, dead=rec, report="unknown" if doubt else "not_sent")

    def _refuse(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        row, answer, rec = self._ask(state, index, "refuse", report="not_sent")
        yield from self._lost_reply(state, index, rec, row)
        moved, label = state._replace(rec=rec), f"[{row}] {answer}"
        if answer in ("done", "ended"):
            yield self._deliver(moved, index, rec.report, label, row)
        elif answer == "orphaned":
            yield self.put(moved, index, self._orphaned(worker, rec), label)

    def _abandon(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        row, answer, rec = self._ask(state, index, "abandon", dead=worker.dead, report=worker.report)
        yield from self._lost_reply(state, index, rec, row)
        moved, label = state._replace(rec=rec), f"[{row}] {worker.report}"
        if answer == "done":
            yield self._deliver(moved, index, worker.report, label, row)
        else:
            back = w.REFUSE if worker.refusing else w.BEGIN
            yield self.put(moved, index, worker._replace(at=back, dead=Rec(), report=""), label)

    def _connect(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        checked = worker._replace(at=w.LEASE)
        if "deadline before connecting" in self.broken and state.past_deadline:
            checked = self._give_up(worker)
        if self.config.sign_first or "send before begin" in self.broken:
            checked = checked._replace(at=w.SIGN)
        yield self.put(state, index, checked, "connects")
        yield self._judged(state, index, worker, "not_executed", "finds no connection")

    def _lease(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        after = worker._replace(at=w.SEND if self.config.sign_first else w.SIGN)
        mine = state.rec.token == token(index, worker) and state.rec.state == SENDING
        if (mine and state.rec.lease) or "no lease" in self.broken:
            yield self.put(state, index, after, "finds its lease long enough")
        row, answer, rec = self._ask(state, index, "renew")
        yield from self._lost_reply(state, index, rec, row)
        if self.config.sign_first:
            # The clock may have run on during the call: it is read, and signed, and the lease looked at once more.
            after = worker._replace(at=w.SIGN)
        renewed = after if answer == "done" else self._fresh(worker)
        yield self.put(state._replace(rec=rec), index, renewed, f"[{row}]", row)

    def _sign(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        late = state.past_deadline and "deadline before connecting" not in self.broken
        if late and not ("clock read once" in self.broken and worker.attempt > 1):
            yield self.put(state, index, self._give_up(worker), "finds the deadline passed")
            return
        at = w.LEASE if self.config.sign_first else w.SEND
        signed = worker._replace(at=at, request="fresh", signed=worker.attempt)
        yield self.put(state, index, signed, "reads the clock and signs", act="sign")

    def _send(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        sent = state._replace(doubts=min(state.doubts + 1, 3))
        yield self.put(sent, index, worker._replace(at=w.AWAIT), "sends", act="send")
        yield self._judged(state, index, worker, "not_executed", "loses the connection before anything is sent")

    def _await(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        late = int(self.on_the_wire(worker))
        lost = state._replace(late=min(state.late + late, 2))
        yield self._judged(lost, index, worker, "unknown", "loses the reply")
        if worker.request not in ("fresh", "stale"):
            proven = worker.request not in LIES
            heard = state._replace(doubts=state.doubts - 1) if proven else state
            yield self._judged(heard, index, worker, worker.request, f"reads: {worker.request}")

    # -- what an answer leads to (worker.execution.retry_policy and reports.conclude) ---------------------

    def _judged(self, state: State, index: int, worker: Worker, proof: str, label: str) -> Step:
        worker = worker._replace(request="" if "signature kept" not in self.broken else worker.request)
        ends = {"executed": "accepted", "refused": "unknown" if worker.tainted else "rejected"}
        if "refusal after doubt" in self.broken:
            ends["refused"] = "rejected"
        if "lost is never left" in self.broken and proof == "unknown":
            proof = "not_executed"
        if proof in LIES:
            proof = next(
                (to for name, (lie, to) in BELIEVED.items() if name in self.broken and lie == proof), "unknown"
            )
        if proof in ends:
            return self.put(state, index, self._to_settle(worker, ends[proof]), label)
        if not self._may_repeat(proof):
            return self.put(state, index, self._to_settle(worker, "unknown"), label)
        worker = worker._replace(left=worker.left - 1, tainted=worker.tainted or proof == "unknown")
        if not worker.left:
            return self.put(state, index, self._give_up(worker), label)
        return self.put(state, index, worker._replace(at=w.PAUSE), label)

    def _may_repeat(self, proof: str) -> bool:
        """The contract's table: proven not executed, or executing it twice has the effect of once."""
        return proof == "not_executed" or self.config.repeatable or "resend after unknown" in self.broken

    def _give_up(self, worker: Worker) -> Worker:
        doubt = worker.tainted and "giving up forgets" not in self.broken
        return self._to_settle(worker, "unknown" if doubt else "not_sent")

    def _to_settle(self, worker: Worker, report: str) -> Worker:
        return worker._replace(at=w.SETTLE, report=report, request="")

    def _pause(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        tries = state.rec.tries
        row, answer, rec = self._ask(state, index, "pause", tries=tries, tainted=worker.tainted)
        yield from self._lost_reply(state, index, rec, row)
        paused = worker._replace(at=w.AGAIN) if answer == "done" else self._fresh(worker)
        yield self.put(state._replace(rec=rec), index, paused, f"[{row}]", row)
        # Out of time or budget: decided before anything is written.
        yield self.put(state, index, self._give_up(worker), "has no time for another attempt")

    def _again(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        attempt, halted = worker.attempt + 1, state.halt == w.HALT_NOW
        row, answer, rec = self._ask(state, index, "begin", attempt=attempt, halted=halted)
        yield from self._lost_reply(state, index, rec, row)
        moved, label = state._replace(rec=rec), f"[{row}] {answer}"
        if answer == "begun":
            begun = worker._replace(at=w.CONNECT, attempt=attempt, begun=attempt, tainted=rec.tainted)
            if "signature kept" in self.broken and worker.request:
                begun = begun._replace(at=w.SEND)
            yield self.put(moved, index, begun, label, row)
        elif answer == "halted":
            yield self.put(moved, index, self._give_up(worker), label)
        else:
            yield self.put(moved, index, self._fresh(worker), label)

    def _settle(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        row, answer, rec = self._ask(state, index, "settle", report=worker.report)
        yield from self._lost_reply(state, index, rec, row)
        moved, label = state._replace(rec=rec), f"[{row}] {worker.report}"
        if answer == "stands" and not rec.report:
            yield self.put(moved, index, self._fresh(worker), label)
        else:
            own = answer == "done" or "own report over another" in self.broken
            yield self._deliver(moved, index, worker.report if own else rec.report, label, row)

    def _deliver(self, state: State, index: int, report: str, label: str, row: str = "") -> Step:
        told = state._replace(delivered=state.delivered | w.OUTCOMES[outcome(report)])
        done = Worker(at=w.DONE, epoch=state.workers[index].epoch)
        return self.put(told, index, done, f"{label}, and reports {report}", row)
