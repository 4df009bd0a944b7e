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


@dataclass(frozen=True)
class Result:
    """What a search found."""

    states: int
    steps: int
    broken: str = ""
    """The rule, or nothing when all hold everywhere."""
    trace: tuple[str, ...] = ()
    stuck: int = 0
    """States from which no end can be reached any more."""


Parents = dict[State, tuple[State | None, str]]


def search(config: Config, most: int = 10_000_000) -> Result:
    """Look at every reachable state, up to ``most``.

    Raises:
        RuntimeError: there are more, so that nothing is proven.
    """
    steps = Steps(config)
    start = config.start()
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
            broken = broken_at_end(state)
            if broken:
                return Result(len(parents), taken, broken, tuple(_trace(parents, state)))
            ends.append(state)
        if len(parents) > most:
            raise RuntimeError(f"more than {most} states")
    return Result(len(parents), taken, stuck=len(parents) - len(_lead_to(ends, before)))


def _lead_to(ends: list[State], before: dict[State, list[State]]) -> set[State]:
    """The states from which one of these can be reached."""
    found = set(ends)
    waiting = list(ends)
    while waiting:
        for state in before.get(waiting.pop(), ()):
            if state not in found:
                found.add(state)
                waiting.append(state)
    return found


def _trace(parents: Parents, state: State) -> list[str]:
    labels = []
    at: State | None = state
    while at is not None:
        at, label = parents[at]
        labels.append(label)
    return labels[-2::-1]


def main() -> None:
    """Print what was looked at; exit 1 when a rule is broken that should hold, or holds where it can't."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="larger worlds too")
    worlds = {name: (config, "") for name, config in HOLD.items()} | HOLES | CANNOT_HOLD
    if parser.parse_args().long:
        worlds |= {name: (config, "") for name, config in LONG.items()}
    wrong = 0
    for name, (config, expected) in worlds.items():
        started = time.monotonic()
        result = search(config)
        seconds = time.monotonic() - started
        sys.stdout.write(f"{name}: {result.states} states, {result.steps} steps, {seconds:.1f} s\n")
        lines = [result.broken, *result.trace] if result.broken else []
        sys.stdout.write("".join(f"    {line}\n" for line in lines))
        sys.stdout.flush()
        wrong += not result.broken.startswith(expected) or bool(result.broken) != bool(expected) or bool(result.stuck)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
