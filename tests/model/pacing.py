"""Cool-downs and their probe: a table of what the ledger keeps of an account, attempts around it, and their rules.

Commands of one account try to send. Each answer may be that the venue wants no more for a while; workers die or stop at
any step, and replies of the ledger are lost. How the records of these commands move, :mod:`tests.model.steps` knows.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

NO, ON, OVER = "", "on", "over"


class Brakes(NamedTuple):
    """What the ledger keeps of an account: ``over`` until an attempt after the cool-down shows that it answers."""

    cool_down: str = NO
    probe: int = 0  # whose attempt shows it
    lease: bool = False  # whether that one may be alive
    outdated: bool = False  # whether the venue has asked for a cool-down since the probe began


class Call(NamedTuple):
    """What an attempt asks or says: ``begin``, ``again`` when the reply to that was lost, ``limited`` when the venue
    wants no more for a while, ``answered``, and ``silent`` when nothing was heard."""

    move: str
    token: int = 0
    passes: bool = False  # whether the venue takes such a command while it limits others


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; the first one counts whose guard holds."""

    move: str
    answer: str
    guard: Callable[[Brakes, Call], bool] = lambda _brakes, _call: True
    effect: Callable[[Brakes, Call], Brakes] = lambda brakes, _: brakes


def _is_probe(brakes: Brakes, call: Call) -> bool:
    return brakes.cool_down == OVER and brakes.probe == call.token > 0 and not brakes.outdated


def _was_probe(brakes: Brakes, call: Call) -> bool:
    return brakes.probe == call.token > 0 and brakes.outdated


def _without_probe(brakes: Brakes, _: Call) -> Brakes:
    return Brakes(brakes.cool_down)


TABLE: Mapping[str, Row] = {
    "begin: passes": Row("begin", "begun", lambda _, call: call.passes),
    "begin: cool-down": Row("begin", "throttled", lambda brakes, _: brakes.cool_down == ON),
    "begin: it is the probe": Row("begin", "probe", _is_probe, lambda brakes, _: brakes._replace(lease=True)),
    "begin: another is the probe": Row(
        "begin", "throttled", lambda brakes, _: brakes.cool_down == OVER and brakes.lease
    ),
    "begin: as the probe": Row(
        "begin",
        "probe",
        lambda brakes, _: brakes.cool_down == OVER,
        lambda _, call: Brakes(OVER, call.token, lease=True),
    ),
    "begin": Row("begin", "begun"),
    # It has begun, whatever the venue has asked for since.
    "again: as the probe": Row("again", "probe", lambda brakes, call: brakes.probe == call.token > 0),
    "again": Row("again", "begun"),
    "limited: the probe": Row("limited", "done", _is_probe, lambda _brakes, _call: Brakes(ON)),
    "limited: it was the probe": Row("limited", "done", _was_probe, lambda _brakes, _call: Brakes(ON)),
    # What the probe has heard may be older: it ends nothing any more, and no other goes while it may be alive.
    "limited": Row(
        "limited", "done", effect=lambda brakes, _: brakes._replace(cool_down=ON, outdated=brakes.probe > 0)
    ),
    "answered: the probe": Row("answered", "done", _is_probe, lambda _brakes, _call: Brakes()),
    "answered: it was the probe": Row("answered", "done", _was_probe, _without_probe),
    "answered": Row("answered", "done"),
    # It has shown nothing: the next one waits longer.
    "silent: the probe": Row("silent", "done", _is_probe, lambda _brakes, _call: Brakes(ON)),
    "silent: it was the probe": Row("silent", "done", _was_probe, _without_probe),
    "silent": Row("silent", "done"),
    # Time that passes.
    "it ends": Row("it ends", "", effect=lambda brakes, _: brakes._replace(cool_down=OVER)),
    "the probe's lease ends": Row("the probe's lease ends", "", effect=lambda brakes, _: brakes._replace(lease=False)),
}


class Attempt(NamedTuple):
    """A command's present attempt in some worker."""

    at: str = "waits"
    """Then ``asks`` if it has begun as the probe and the reply was lost; ``begun``, ``sent``, one of the last three
    moves of :class:`Call`; ``done``, ``dead``."""
    tries: int = 0
    probe: bool = False  # whether it was told that it is the probe
    leased: bool = False  # whether its lease as the probe lasts
    recent: bool = False  # whether it began after the latest cool-down that was recorded


class State(NamedTuple):
    """A state of the model; the last two are what the venue has in mind."""

    brakes: Brakes
    attempts: tuple[Attempt, ...]
    asked: bool = False  # whether the time is running for which it wants nothing
    unheard: bool = False  # whether nobody has heard since such a time that it answers again


class Step(NamedTuple):
    """One step from a state to another."""

    label: str
    state: State
    by: int = -1
    row: str = ""


MAX_TRIES = 2


@dataclass(frozen=True)
class Pacing:
    """The model of some commands of one account; see :class:`tests.model.checker.Model`."""

    passes: tuple[bool, ...] = (False, False, False)
    """Of each command, whether it passes a cool-down."""
    rows: Mapping[str, Row] = field(default_factory=lambda: TABLE)
    hears_nothing_as_answer: bool = False
    """Whether a worker does wrong on purpose: it takes an attempt of which nothing was heard for an answer."""

    def start(self) -> State:
        return State(Brakes(), tuple(Attempt() for _ in self.passes))

    def next(self, state: State) -> Iterator[Step]:
        """Every step that can be taken now."""
        if state.asked:
            yield Step("the cool-down ends", state._replace(brakes=self.ask(state, "it ends")[2], asked=False))
        if state.brakes.lease or any(each.leased for each in state.attempts):
            over = tuple(each._replace(leased=False) for each in state.attempts)
            brakes = self.ask(state, "the probe's lease ends")[2]
            yield Step("the probe's lease ends", state._replace(brakes=brakes, attempts=over))
        for index, attempt in enumerate(state.attempts):
            if attempt.at not in ("done", "dead"):
                if sum(each.at == "dead" for each in state.attempts) < len(state.attempts) - 1:
                    yield self._put(state, index, Attempt("dead", leased=attempt.leased), "dies")
                yield from self._attempt(state, index, attempt)

    def _attempt(self, state: State, index: int, attempt: Attempt) -> Iterator[Step]:
        if attempt.at == "waits":
            yield from self._begin(state, index, attempt)
        elif attempt.at == "asks":
            row, answer, brakes = self.ask(state, "again", index, attempt)
            begun = attempt._replace(at="begun", tries=attempt.tries + 1, probe=answer == "probe")
            yield self._put(state._replace(brakes=brakes), index, begun, f"[{row}]", row)
        elif attempt.at == "begun":
            yield self._put(state, index, attempt._replace(at="sent"), "sends")
            yield self._put(state, index, attempt._replace(at="silent"), "can't send")
        elif attempt.at == "sent":
            yield self._put(state, index, attempt._replace(at="limited"), "hears that it is too much")
            yield self._put(state, index, attempt._replace(at="answered"), "hears an answer")
            yield self._put(state, index, attempt._replace(at="silent"), "hears nothing")
        else:
            yield from self._tell(state, index, attempt)

    def _begin(self, state: State, index: int, attempt: Attempt) -> Iterator[Step]:
        row, answer, brakes = self.ask(state, "begin", index, attempt)
        if answer == "throttled":
            return
        begun = Attempt("begun", attempt.tries + 1, answer == "probe", answer == "probe", recent=True)
        yield self._put(state._replace(brakes=brakes), index, begun, f"[{row}]", row)
        if brakes != state.brakes:
            asks = begun._replace(at="asks", tries=attempt.tries)
            yield self._put(state._replace(brakes=brakes), index, asks, f"[{row}], the reply is lost", row)

    def _tell(self, state: State, index: int, attempt: Attempt) -> Iterator[Step]:
        silent = attempt.at == "silent"
        move = "answered" if silent and self.hears_nothing_as_answer else attempt.at
        # Who is no probe says nothing of an answer, or of none.
        tells = attempt.probe or attempt.at == "limited"
        row, _, brakes = self.ask(state, move, index, attempt._replace(tries=attempt.tries - 1) if tells else None)
        over = attempt.at == "answered" or attempt.tries >= MAX_TRIES
        after = state._replace(brakes=brakes)
        if row == "silent: the probe":
            after = after._replace(asked=True)
        elif attempt.at == "limited":
            others = tuple(each._replace(recent=False) for each in state.attempts)
            after = after._replace(attempts=others, asked=True, unheard=True)
        elif attempt.at == "answered" and attempt.recent:
            after = after._replace(unheard=False)
        yield self._put(after, index, Attempt("done") if over else Attempt("waits", attempt.tries), f"[{row}]", row)

    def ask(self, state: State, move: str, index: int = 0, attempt: Attempt | None = None) -> tuple[str, str, Brakes]:
        """The row that applies, the answer and what the ledger keeps then. Each attempt has a token of its own."""
        token = index + 1 + 10 * attempt.tries if attempt else 0
        return self.row(state.brakes, Call(move, token, self.passes[index]))

    def row(self, brakes: Brakes, call: Call) -> tuple[str, str, Brakes]:
        """The row that applies to a call, the answer and what the ledger keeps then."""
        for name, row in self.rows.items():
            if row.move == call.move and row.guard(brakes, call):
                return name, row.answer, row.effect(brakes, call)
        raise LookupError(f"no row for {call} in {brakes}")

    def _put(self, state: State, index: int, attempt: Attempt, label: str, row: str = "") -> Step:
        attempts = (*state.attempts[:index], attempt, *state.attempts[index + 1 :])
        return Step(f"{'ABC'[index]} {label}", state._replace(attempts=attempts), index, row)

    # -- the rules -----------------------------------------------------------------------------------------------------

    def broken_by_step(self, before: State, step: Step) -> str:
        after = step.state
        done = step.by >= 0 and before.attempts[step.by].leased and not after.attempts[step.by].leased
        if done and after.brakes.lease and after.brakes.cool_down == OVER:
            return "stands still: the probe is done, and others wait for it"
        waited = step.by >= 0 and before.attempts[step.by].at == "waits"
        if not waited or after.attempts[step.by].at == "dead" or self.passes[step.by]:
            return ""
        if before.asked:
            return "cool-down: it begins while the venue wants nothing"
        if before.unheard and not after.attempts[step.by].probe:
            return "probe: it begins, and nobody has heard that the venue answers again"
        return ""

    def broken_by_state(self, state: State) -> str:
        """A probe whose lease is over may be alive, for it may have been stopped; but it is no longer the one."""
        alive = sum(each.probe and each.leased for each in state.attempts)
        return "probe: more than one" if alive > 1 else ""

    def broken_at_end(self, state: State) -> str:
        waiting = any(attempt.at == "waits" for attempt in state.attempts)
        return "stalled: a command waits, and nothing more can happen" if waiting else ""


PACING = {
    "two commands of one account, cool-downs": Pacing((False, False)),
    "three commands of one account, one of them passes cool-downs": Pacing((True, False, False)),
}
PACING_LONG = {"long: three commands of one account, cool-downs": Pacing()}
