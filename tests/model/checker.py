"""Breadth-first search through every state of a bounded world; the first broken rule comes with its shortest trace.

python -m tests.model.checker            the worlds of the test run
python -m tests.model.checker --long     larger ones, some minutes
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from tests.model.breaks import LONG_BREAKS
from tests.model.pacing import PACING, PACING_LONG
from tests.model.rules import broken_at_end, broken_by_state, broken_by_step
from tests.model.steps import Steps
from tests.model.world import Config, State, Step
from tests.model.worlds import CANNOT_HOLD, HOLD, HOLES, LONG

Parents = dict[Hashable, tuple[Hashable | None, str]]


class Model(Protocol):
    """What is searched. Each of the last three returns the rule that does not hold, or nothing."""

    def start(self) -> Any:
        """The first state."""

    def next(self, state: Any) -> Iterator[Any]:
        """Every step that can be taken now, with its ``label`` and the ``state`` after it."""

    def broken_by_step(self, before: Any, step: Any) -> str: ...

    def broken_by_state(self, state: Any) -> str: ...

    def broken_at_end(self, state: Any) -> str:
        """Of a state in which nothing more can happen."""


class OneCommand:
    """One command in one world."""

    def __init__(self, config: Config) -> None:
        self._config, self.start, self.next = config, config.start, Steps(config).next

    def broken_by_step(self, before: State, step: Step) -> str:
        return broken_by_step(self._config, before, step)

    def broken_by_state(self, state: State) -> str:
        return broken_by_state(self._config, state)

    def broken_at_end(self, state: State) -> str:
        return broken_at_end(state)


@dataclass(frozen=True)
class Result:
    """The result of a search."""

    states: int
    steps: int
    broken: str = ""  # the rule, or nothing when all hold everywhere
    trace: tuple[str, ...] = ()
    stuck: int = 0  # states from which no end can be reached any more


def search(config: Config) -> Result:
    """Look at every reachable state of a world of one command."""
    return explore(OneCommand(config))


def explore(model: Model) -> Result:
    """Look at every reachable state."""
    start = model.start()
    parents: Parents = {start: (None, "")}
    queue = deque([start])
    before: dict[Hashable, list[Hashable]] = {}
    ends: list[Hashable] = []
    taken = 0
    while queue:
        state = queue.popleft()
        moves = 0
        for step in model.next(state):
            if step.state == state:
                continue
            taken += 1
            moves += not step.label.endswith(" dies")
            known = step.state in parents
            broken = model.broken_by_step(state, step) or ("" if known else model.broken_by_state(step.state))
            if broken:
                return Result(len(parents), taken, broken, (*_trace(parents, state), step.label))
            before.setdefault(step.state, []).append(state)
            if not known:
                parents[step.state] = (state, step.label)
                queue.append(step.state)
        if not moves:
            ends.append(state)
            if broken := model.broken_at_end(state):
                return Result(len(parents), taken, broken, tuple(_trace(parents, state)))
    return Result(len(parents), taken, stuck=len(parents) - _count_leading_to(ends, before))


def _count_leading_to(ends: list[Hashable], before: dict[Hashable, list[Hashable]]) -> int:
    """The number of states from which one of these can be reached."""
    found, waiting = set(ends), list(ends)
    while waiting:
        new = set(before.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return len(found)


def _trace(parents: Parents, state: Hashable) -> list[str]:
    labels = []
    at: Hashable | None = state
    while at is not None:
        at, label = parents[at]
        labels.append(label)
    return labels[-2::-1]


def main() -> None:
    """Print every search; exit with 1 if a rule is broken that should hold, or holds where it can't."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="larger worlds too")
    is_long = parser.parse_args().long
    hold, paced, broken = (HOLD | LONG, PACING | PACING_LONG, LONG_BREAKS) if is_long else (HOLD, PACING, {})
    worlds = {name: (config, "") for name, config in hold.items()} | HOLES | CANNOT_HOLD
    models = {name: (OneCommand(config), expected) for name, (config, expected) in worlds.items()}
    models |= {name: (model, "") for name, model in paced.items()}
    models |= {name: (OneCommand(each.world()), each.finds) for name, each in broken.items()}
    wrong = 0
    for name, (model, expected) in models.items():
        started = time.monotonic()
        result = explore(model)
        print(f"{name}: {result.states} states, {result.steps} steps, {time.monotonic() - started:.1f} s")
        for line in (result.broken, *result.trace) if result.broken else ():
            print(f"    {line}", flush=True)
        wrong += not result.broken.startswith(expected) or bool(result.broken) != bool(expected) or bool(result.stuck)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
