"""Every scenario, round after round: ``python -m tests.stress`` (20 minutes for a round of all).

Prints what was found beside what is promised, and writes every figure to a JSON file. With ``--beside DIR`` the workers
of another checkout take turns with these. Server, venues, workers and sender are processes of this machine; everything
ends by itself, and with Ctrl-C.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import chosen, over_rounds
from tests.benchmarks.machine import machine
from tests.stress.scenarios import SCENARIOS, targets
from tests.support.node import ROOT


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help=f"some of: {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--beside", type=Path, metavar="DIR", help="another checkout, whose workers take turns")
    parser.add_argument("--json", type=Path, default=Path("stress.json"))
    options = parser.parse_args(words)
    options.scenarios = [name.strip() for name in options.scenarios.split(",")]
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    return options


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A record for each scenario, round and checkout; of a scenario that failed, why."""
    checkouts = {"this": ROOT, **({"beside": options.beside.resolve()} if options.beside else {})}
    records: list[dict[str, Any]] = []
    for number in range(1, options.rounds + 1):
        for name in options.scenarios:
            for workers, folder in checkouts.items():
                if workers != "this" and not SCENARIOS[name].comparable:
                    continue
                record: dict[str, Any] = {"scenario": name, "workers": workers, "round": number}
                try:
                    record |= SCENARIOS[name].run(folder)
                except (AssertionError, RuntimeError, TimeoutError) as problem:
                    record["problem"] = str(problem)
                records.append(record)
                print(json.dumps(record), file=sys.stderr, flush=True)
    return records


def table(records: Sequence[dict[str, Any]]) -> str:
    """Every figure that is a number, as its median with the least and the largest."""
    lines = ["| scenario | workers | figure | median (least to largest) |", "|---|---|---|---|"]
    for name, workers in dict.fromkeys((each["scenario"], each["workers"]) for each in records):
        rows = chosen(records, scenario=name, workers=workers)
        figures = dict.fromkeys(
            figure for row in rows for figure, value in row.items() if isinstance(value, int | float)
        )
        for figure in [each for each in figures if each != "round"]:
            told = over_rounds(rows, figure)
            if told is not None:
                low, middle, high = told
                spread = f" ({low:.4g} to {high:.4g})" if low != high else ""
                lines.append(f"| {name} | {workers} | {figure} | {middle:.4g}{spread} |")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, save; 1 when a promise is not kept or a scenario failed."""
    options = parse(words)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)  # also where a shell has Ctrl-C ignored; the rigs clean up
    started = time.time()
    records = measure(options)
    found = [*targets(records)]
    run = {"machine": machine(sys.executable), "seconds": time.time() - started, "records": records}
    options.json.write_text(json.dumps(run, indent=1) + "\n")
    print(table(records), "\n\n| promised | wanted | found | |\n|---|---|---|---|", sep="")
    for each in found:
        print(f"| {each.what} | {each.wanted} | {each.found} | {each.verdict} |")
    problems = [
        f"{each['scenario']}, round {each['round']}: {each['problem']}" for each in records if "problem" in each
    ]
    print("\n".join(problems))
    return 1 if problems or any(each.met is False for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
