"""The real executor, holder and in-memory ledger under a seeded scheduler, and a judge over what they leave behind.

python -m tests.model.simulation --seeds 100000 --processes 2     figures, and the seeds that failed
python -m tests.model.simulation --seed 4711 --trace              one of them, step by step
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from tests.model.judge import judge
from tests.model.simulated_world import World


@contextmanager
def quiet() -> Iterator[None]:
    """Without the executor's log lines, which are many: none is looked at here."""
    logger = logging.getLogger("orders")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@dataclass
class Tally:
    """What many seeds came to."""

    seeds: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failed: dict[int, list[str]] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Take in another's."""
        self.seeds += other.seeds
        self.counts += other.counts
        self.failed.update(other.failed)


def simulate(seeds: Iterable[int], *, people: str = "") -> Tally:
    """Play and judge these seeds."""
    tally = Tally()
    with quiet():
        for seed in seeds:
            _one(seed, people, tally)
    return tally


def _one(seed: int, people: str, tally: Tally) -> None:
    world = World(seed, people=people)
    run = world.play()
    found = judge(run)
    tally.seeds += 1
    for command_id, report in run.stored.items():
        if report is not None:
            tally.counts[report.outcome.value] += 1
        told = [said.outcome for said in run.delivered if said.command_id == command_id]
        # The result backend keeps what was handed over last, which may be older than what the ledger says.
        tally.counts["older word last"] += bool(told and report and told[-1] != report.outcome)
    tally.counts.update(deliveries=len(run.delivered), requests=len(run.sent), executed=len(run.book))
    tally.counts["resolved"] += sum(line["event"] == "resolve" for line in run.journal)
    tally.counts["killed"] += sum(process.dead for process in world.processes)
    if found:
        tally.failed[seed] = found


def main() -> None:
    """Play seeds and print what came of them; exit 1 when the judge found something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many, from 0 or --seed on")
    parser.add_argument("--seed", type=int, help="the first one, or with --trace the one")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--people",
        choices=("operator", "reconcile"),
        default="",
        help="who settles unknowns: a patient operator by the book, or the real reconcile by what the lists show",
    )
    parser.add_argument("--trace", action="store_true", help="one seed, step by step")
    arguments = parser.parse_args()
    first = arguments.seed or 0
    if arguments.trace or (arguments.seed is not None and arguments.seeds == 2_000):
        with quiet():
            found = judge(World(first, print, arguments.people).play())
        sys.stdout.write("\n".join(found or ["all true"]) + "\n")
        sys.exit(bool(found))
    started = time.monotonic()
    tally = Tally()
    chunks = [range(at, min(at + 1000, first + arguments.seeds)) for at in range(first, first + arguments.seeds, 1000)]
    with ProcessPoolExecutor(arguments.processes) as pool:
        for part in pool.map(partial(simulate, people=arguments.people), chunks):
            tally.add(part)
    seconds = time.monotonic() - started
    sys.stdout.write(f"{tally.seeds} seeds, {seconds:.1f} s, {tally.seeds / seconds:.0f}/s, {dict(tally.counts)}\n")
    for seed, found in sorted(tally.failed.items()):
        sys.stdout.write(f"--seed {seed} --trace: {'; '.join(found)}\n")
    sys.exit(bool(tally.failed))


if __name__ == "__main__":
    main()
