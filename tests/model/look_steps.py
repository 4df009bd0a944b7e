"""The steps of a worker that looks for a command in doubt, at a venue that knows client order ids.

They follow :mod:`worker.execution.looking`. Of clocks only the venue's is modelled: a worker's own may say anything.
"""

from collections.abc import Callable, Iterator

from tests.model.world import LISTS_ALL, REFUSES, TAKES, Config, State, Step, Worker

Put = Callable[..., Step]


UNDER_WAY = ("connect", "look_at_lease", "sign", "send", "await_answer")
"""What a worker does between the begin of an attempt and its answer."""


class LookSteps:
    """Part of :class:`tests.model.steps.Steps`."""

    config: Config
    broken: frozenset[str]
    _put: Put
    _ask: Callable[..., tuple[str, str, State, list[Step]]]
    _blank: Callable[..., Worker]
    _fresh: Callable[[Worker], Worker]
    _waits: Callable[..., Iterator[Step]]
    _deliver: Put
    _to_settle: Callable[[Worker, str], Worker]

    def _window(self, state: State) -> Iterator[Step]:
        """The venue's clock goes on: it refuses every request so far, and later lists whatever it took."""
        if self.config.window and state.begins and state.window == TAKES:
            workers = tuple(worker._replace(over=worker.at in UNDER_WAY) for worker in state.workers)
            refused = state._replace(window=REFUSES, late=0, workers=workers)
            yield Step("the venue refuses the request by now", refused)
        elif state.window == REFUSES:
            yield Step("the venue lists all that it took", state._replace(window=LISTS_ALL))

    def _take(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        """Before anything is planned or refused the ledger is asked whether there is something to look for."""
        row, answer, after, lost = self._ask(state, index, "look")
        yield from lost
        rec, label = after.rec, f"[{row}] {answer}"
        if answer == "ended":
            yield self._deliver(after, index, rec.report, label)
        elif answer == "busy":
            yield from self._waits(after, index, worker, label)
        elif answer == "doubtful":
            left = max(0, self.config.attempts - rec.tries)
            gives_up = worker.refusing or not left
            taken = worker._replace(
                at="look",
                left=left,
                tainted=True,
                looks=True,
                outdated=rec.lookup != state.lookup,
                absences=state.noted,
                seen=state.seen,
                ending="not_sent" if gives_up else "",
                once=self.config.repeatable and not gives_up and not state.seen,
            )
            yield self._put(after, index, taken, label, row)
        else:
            yield self._put(after, index, worker._replace(at="refuse" if worker.refusing else "begin"), label)

    def _in_doubt(self, worker: Worker, report: str, ending: str = "") -> Worker:
        """What follows where an attempt is of unknown fate: a look, or this end."""
        if not worker.looks:
            return self._to_settle(worker, report)
        return worker._replace(at="keep", request="", report="", tainted=True, ending=ending, once=False)

    def _keep(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        """The doubt is written down, and the lease taken anew, before anything is asked."""
        row, answer, after, lost = self._ask(state, index, "pause", tries=state.rec.tries, tainted=True)
        yield from lost
        kept = answer == "done"
        after = after._replace(seen=worker.seen) if kept else after
        yield self._put(after, index, worker._replace(at="look") if kept else self._fresh(worker), f"[{row}]", row)

    def _look(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        """Ask the venue. Before all is listed, what it took may be missing; and once it may be, even then."""
        elsewhere = state.sent_to not in (worker.place, "*")
        wrong_place = elsewhere or "stops are looked for among orders" in self.broken
        if state.executed and not wrong_place:
            yield self._put(state, index, self._to_settle(worker, "accepted"), "finds it")
        elif state.recorded and not wrong_place and self._rejection_counts(state):
            yield self._put(state, index, self._to_settle(worker, "rejected"), "finds it, rejected for good")
        hidden = state.executed and not wrong_place
        if not hidden or state.window != LISTS_ALL or state.wrong:
            used = hidden and state.window == LISTS_ALL
            after = state._replace(wrong=state.wrong - used)
            yield self._absent(after, index, worker)
        if "unreadable is absent" in self.broken:
            yield self._absent(state, index, worker)
        yield self._put(state, index, self._again(worker), "can't read what the venue lists")

    def _rejection_counts(self, state: State) -> bool:
        """Another attempt may be on its way, about which the rejection of one says nothing."""
        several = self.config.repeatable or (state.rec.tries > 1 and "a rejection is all" not in self.broken)
        return not several or state.window == LISTS_ALL or "a rejection counts at once" in self.broken

    def _absent(self, state: State, index: int, worker: Worker) -> Step:
        counts = state.window == LISTS_ALL or worker.outdated
        if "absence counts at once" in self.broken or "only the own clock is looked at" in self.broken:
            counts = True
        elif "what is listed late is absent" in self.broken:
            counts = counts or state.window == REFUSES
        if self.config.kind == "withdraw":
            counts = "absence of a withdrawal" in self.broken
        worker = worker._replace(absences=min(worker.absences + counts, 2))
        enough = 1 if "one absence is enough" in self.broken else 2
        proven = worker.absences >= enough and (not worker.seen or "what was seen is absent" in self.broken)
        if not proven:
            return self._put(state, index, self._again(worker), "does not find it")
        cleared = worker._replace(tainted=False, absences=0)
        if worker.ending:
            after = self._to_settle(cleared, worker.ending)
        elif worker.begun:
            after = cleared._replace(
                at="pause" if cleared.left else "settle", report="" if cleared.left else "not_sent"
            )
        else:
            after = cleared._replace(at="let_go")
        return self._put(state._replace(doubts=0), index, after, "does not find it: it never arrived", act="clear")

    def _again(self, worker: Worker) -> Worker:
        """After a look that shows nothing yet."""
        if not worker.once:
            return worker._replace(at="wait_look")
        return worker._replace(at="pause" if worker.begun else "let_go", once=False, absences=0)

    def _wait_look(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        """In its thread or parked; or it has looked often enough."""
        yield self._put(state, index, self._to_settle(worker, "unknown"), "looks no more")
        yield from self._keep(state, index, worker)
        if self.config.parks:
            row, answer, after, lost = self._ask(state, index, "park", tries=state.rec.tries, tainted=True)
            noted = after._replace(noted=worker.absences, seen=worker.seen) if answer == "done" else after
            yield from (step._replace(state=step.state._replace(noted=worker.absences)) for step in lost)
            parked = self._blank(worker, "give_back") if answer == "done" else self._fresh(worker)
            yield self._put(noted, index, parked, f"[{row}]", row)

    def _let_go(self, state: State, index: int, worker: Worker) -> Iterator[Step]:
        """What was taken over to be looked for may begin again: it is parked for no time, and begun by anybody."""
        row, answer, after, lost = self._ask(state, index, "park", tries=state.rec.tries, tainted=worker.tainted)
        yield from lost
        fresh = self._fresh(worker)
        begins = fresh._replace(at="begin") if answer == "done" else fresh
        yield self._put(after, index, begins, f"[{row}]", row)
