"""What can happen next: the workers' steps, the venue, time and operators."""

from collections.abc import Iterator

from tests.model import world as w
from tests.model.transition_table import SENDING, UNKNOWN, WAITING, Ask, lease_over
from tests.model.worker_steps import LIES, WorkerSteps
from tests.model.world import State, Step, Worker


class Steps(WorkerSteps):
    """The steps of one configuration."""

    def next(self, state: State) -> Iterator[Step]:
        """Every step that can be taken now."""
        for index in range(len(state.workers)):
            yield from self.worker(state, index)
        yield from self._venue(state)
        yield from self._time_and_people(state)

    def _venue(self, state: State) -> Iterator[Step]:
        for index, worker in enumerate(state.workers):
            if worker.at == w.AWAIT and worker.request in ("fresh", "stale"):
                yield from self._answer(state, index, worker)
        if self.config.lists and state.executed and not state.denied and self.config.kind == "withdraw":
            yield Step("the venue rejects what it had taken", state._replace(denied=True))
        if state.late:
            arrived = state._replace(late=state.late - 1)
            yield Step("a late request arrives and is executed", arrived._replace(executed=_more(state)))
            yield Step("a late request is refused or lost", arrived)

    def _answer(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        executed = state._replace(executed=_more(state))
        # A venue that lies, or what stands in front of it: a refusal that is not listed, and a yes that contradicts.
        answers = [("refused", state), *((lie, state) for lie in LIES)]
        if self.on_the_wire(worker):
            answers += [("executed", executed), ("not_executed", state), *((lie, executed) for lie in LIES)]
        for answer, after in answers:
            step = self.put(after, index, worker._replace(request=answer), f"'s request: the venue says {answer}")
            yield step._replace(by=-1)

    def _time_and_people(self, state: State) -> Iterator[Step]:
        rec, config = state.rec, self.config
        if rec.lease:
            yield Step("the owner's lease ends", state._replace(rec=lease_over(rec)))
        for index, worker in enumerate(state.workers):
            if config.window and worker.request == "fresh":
                step = self.put(state, index, worker._replace(request="stale"), "'s signature gets too old")
                yield step._replace(by=-1)
        if config.deadline and not state.past_deadline:
            yield Step("the deadline passes", state._replace(past_deadline=True))
        if config.halts and state.halt != w.HALT_LIFTED:
            said = ("halts", "lifts the halt")[state.halt]
            yield Step(f"the operator {said}", state._replace(halt=state.halt + 1))
        if "resolve by timer" in self.broken and rec.state == UNKNOWN:
            yield Step("a timer ends the unknown", state._replace(rec=rec._replace(state="SETTLED", report="not_sent")))
        open_states = (SENDING, WAITING) if "resolve what is open" in self.broken else ()
        if config.operator and rec.state in (UNKNOWN, *open_states) and not state.resolved:
            yield from self._resolve(state)

    def _resolve(self, state: State) -> Iterator[Step]:
        """An operator or a reconcile says what the venue shows now."""
        # A patient one has waited for longer than the window since the lease ended. Where there is none, waiting proves
        # nothing.
        patient = self.config.operator == "patient" and self.config.window
        if patient and (state.late or any(worker.request == "fresh" for worker in state.workers)):
            return
        if self.config.lists and "stale read" in self.broken:
            yield self._resolved(state, "not_sent")
        if state.denied and "record says no" not in self.broken:
            return
        yield self._resolved(state, "accepted" if state.executed else "not_sent")

    def _resolved(self, state: State, report: str) -> Step:
        ask = Ask("resolve", report=report)
        row, _ = self.table.row(state.rec, ask)
        rec, _ = self.table.apply(state.rec, ask)
        return Step(f"the operator resolves: {report}", state._replace(rec=rec, resolved=True), row)


def _more(state: State) -> int:
    return min(state.executed + 1, 2)
