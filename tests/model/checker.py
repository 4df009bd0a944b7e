"""Breadth-first search through every state of a bounded world; the first broken rule comes with its shortest trace.

python -m tests.model.checker            the worlds of the test run
python -m tests.model.checker --long     larger ones, some minutes
"""

import argparse
import sys
import time
from collections import deque
from dataclasses import dataclass

from tests.model.rules import broken_at_end, broken_by_state, broken_by_step
from tests.model.steps import Steps
from tests.model.world import Config, State
from tests.model.worlds import CANNOT_HOLD, HOLD, HOLES, LONG

Parents = dict[State, tuple[State | None, str]]


@dataclass(frozen=True)
class Result:
    """The result of a search."""

    states: int
    steps: int
    broken: str = ""  # the rule, or nothing when all hold everywhere
    trace: tuple[str, ...] = ()
    stuck: int = 0  # states from which no end can be reached any more


def search(config: Config) -> Result:
    """Look at every reachable state."""
    steps, start = Steps(config), config.start()
    parents: Parents = {start: (None, "")}
    queue = deque([start])
    before: dict[State, list[State]] = {}
    ends: list[State] = []
    taken = 0
    while queue:
        state = queue.popleft()
        moves = 0
        for step in steps.next(state):
            if step.state == state:
                continue
            taken += 1
            moves += not step.label.endswith(" dies")
            known = step.state in parents
            broken = broken_by_step(config, state, step) or ("" if known else broken_by_state(config, step.state))
            if broken:
                return Result(len(parents), taken, broken, (*_trace(parents, state), step.label))
            before.setdefault(step.state, []).append(state)
            if not known:
                parents[step.state] = (state, step.label)
                queue.append(step.state)
        if not moves:
            ends.append(state)
            if broken := broken_at_end(state):
                return Result(len(parents), taken, broken, tuple(_trace(parents, state)))
    return Result(len(parents), taken, stuck=len(parents) - _count_leading_to(ends, before))


def _count_leading_to(ends: list[State], before: dict[State, list[State]]) -> int:
    """The number of states from which one of these can be reached."""
    found, waiting = set(ends), list(ends)
    while waiting:
        new = set(before.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return len(found)


def _trace(parents: Parents, state: State) -> list[str]:
    labels = []
    at: State | None = state
    while at is not None:
        at, label = parents[at]
        labels.append(label)
    return labels[-2::-1]


def main() -> None:
    """Print every search; exit with 1 if a rule is broken that should hold, or holds where it can't."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="larger worlds too")
    hold = HOLD | LONG if parser.parse_args().long else HOLD
    wrong = 0
    for name, (config, expected) in (
        {name: (config, "") for name, config in hold.items()} | HOLES | CANNOT_HOLD
    ).items():
        started = time.monotonic()
        result = search(config)
        print(f"{name}: {result.states} states, {result.steps} steps, {time.monotonic() - started:.1f} s")
        for line in (result.broken, *result.trace) if result.broken else ():
            print(f"    {line}", flush=True)
        wrong += not result.broken.startswith(expected) or bool(result.broken) != bool(expected) or bool(result.stuck)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
