"""The real executor and in-memory ledger under a seeded scheduler, and a judge over what they leave behind.

python -m tests.model.simulation --seeds 100000 --processes 2     figures, and the seeds that failed
python -m tests.model.simulation --seed 4711 --trace              one of them, step by step
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from tests.model.judge import judge
from tests.model.paced import Begin, Fate
from tests.model.simulated_world import World


@dataclass
class Tally:
    """The results of many seeds."""

    seeds: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failed: dict[int, list[str]] = field(default_factory=dict)


def simulate(seeds: Iterable[int], people: str = "", *, looks: bool = False) -> Tally:
    """Play and judge these seeds."""
    tally = Tally()
    for seed in seeds:
        _one(World(seed, people=people, looks=looks), tally)
    return tally


def _one(world: World, tally: Tally) -> None:
    run = world.play()
    tally.seeds += 1
    for command_id, report in run.stored.items():
        if report is not None:
            tally.counts[report.outcome.value] += 1
        told = [said.outcome for said in run.delivered if said.command_id == command_id]
        # The result backend keeps what was handed over last, which may be older than what the ledger says.
        tally.counts["older word last"] += bool(told and report and told[-1] != report.outcome)
    tally.counts.update(deliveries=len(run.delivered), requests=len(run.sent), executed=len(run.book))
    tally.counts["held"] += sum(line["event"] == "held" for line in run.journal)
    tally.counts["approved"] += len(run.approved)
    tally.counts["resolved"] += sum(line["event"] == "resolve" for line in run.journal)
    begins = [event for event in run.paced if isinstance(event, Begin)]
    tally.counts["parked"] += run.parked
    tally.counts["followed"] += run.followed
    tally.counts["cool-downs"] += sum(isinstance(event, Fate) and event.until > 0 for event in run.paced)
    tally.counts["probes"] += sum(event.probe for event in begins)
    tally.counts["looked"] += sum(line["event"] == "look" for line in run.journal)
    tally.counts["killed"] += sum(process.dead for process in world.processes)
    if found := judge(run):
        tally.failed[world.seed] = found


def main() -> None:
    """Play seeds and print a summary; exit with 1 if the judge found something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many, from 0 or --seed on")
    parser.add_argument("--seed", type=int, default=0, help="the first one, or with --trace the one")
    parser.add_argument("--processes", type=int, default=1)
    people = "who settles unknowns: a patient operator by the book, or the real reconcile by what the lists show"
    parser.add_argument("--people", choices=("operator", "reconcile"), default="", help=people)
    parser.add_argument("--operator", dest="people", action="store_const", const="operator", help="--people operator")
    parser.add_argument("--looks", action="store_true", help="at a venue with client order ids")
    parser.add_argument("--trace", action="store_true", help="one seed, step by step")
    arguments = parser.parse_args()
    first, last = arguments.seed, arguments.seed + arguments.seeds
    if arguments.trace:
        found = judge(World(first, print, arguments.people, looks=arguments.looks).play())
        print("\n".join(found or ["all true"]))
        sys.exit(bool(found))
    started = time.monotonic()
    tally = Tally()
    chunks = [range(at, min(at + 1000, last)) for at in range(first, last, 1000)]
    with ProcessPoolExecutor(arguments.processes) as pool:
        for part in pool.map(partial(simulate, people=arguments.people, looks=arguments.looks), chunks):
            tally.seeds += part.seeds
            tally.counts += part.counts
            tally.failed |= part.failed
    seconds = time.monotonic() - started
    print(f"{tally.seeds} seeds, {seconds:.1f} s, {tally.seeds / seconds:.0f}/s, {dict(tally.counts)}")
    for seed, found in sorted(tally.failed.items()):
        print(f"--seed {seed} --trace: {'; '.join(found)}")
    sys.exit(bool(tally.failed))


if __name__ == "__main__":
    main()
