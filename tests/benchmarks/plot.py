"""Draws a run: ``.venv-bench/bin/python -m tests.benchmarks.plot benchmarks.json benchmarks.svg``.

It runs where matplotlib is. A bar is the median over the rounds, its whisker the least and the largest.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from tests.benchmarks.figures import Record, chosen, labels, over_rounds
from tests.benchmarks.table import number

OURS, THEIRS = "#1f6f8b", "#b8b8b8"


def bars(axes: Any, records: Sequence[Record], figure: str, title: str, scale: str = "linear") -> None:
    """One bar for each contender; nothing where nothing was measured."""
    spans = [(label, over_rounds(chosen(records, contender=label), figure)) for label in labels(records)]
    found = [(label, told) for label, told in spans if told]
    if not found:
        axes.set_axis_off()
        return
    who = [label for label, _ in found]
    medians = [told[1] for _, told in found]
    whiskers = [[told[1] - told[0] for _, told in found], [told[2] - told[1] for _, told in found]]
    drawn = axes.barh(
        who, medians, xerr=whiskers, ecolor="#444", color=[OURS if each.startswith("ours") else THEIRS for each in who]
    )
    axes.bar_label(drawn, [f" {number(each)}" for each in medians], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9)
    axes.set_xscale(scale)
    axes.margins(x=0.15)


def growth(axes: Any, records: Sequence[Record]) -> None:
    """Commands a second by number of processes, beside the straight line."""
    counts = sorted({each["processes"] for each in records})
    spans = [over_rounds(chosen(records, processes=count), "rate") or (0, 0, 0) for count in counts]
    low, middle, high = zip(*spans, strict=True)
    axes.plot(counts, middle, marker="o", color=OURS)
    axes.plot(counts, [middle[0] * count / counts[0] for count in counts], linestyle=":", color=OURS, linewidth=1)
    axes.fill_between(counts, low, high, color=OURS, alpha=0.2)
    axes.set_ylim(0)
    axes.set_title("this worker: commands/s by processes, venue 100 ms (dotted: linear)", fontsize=9)


def draw(run: dict[str, Any], path: Path) -> None:
    """All panels in one picture."""
    records = run["records"]
    figure, panels = plt.subplots(3, 2, figsize=(12, 12))
    rates, waits, scaled = (chosen(records, part=part) for part in ("throughput", "latency", "scaling"))
    for axes, latency in zip(panels[0], (0.0, 20.0), strict=True):
        bars(axes, chosen(rates, latency_ms=latency), "rate", f"commands/s, venue {latency:g} ms")
    bars(panels[1][0], waits, "wire_p50_ms", "enqueue to wire at 100/s, p50 ms", "log")
    bars(panels[1][1], waits, "wire_p99_ms", "enqueue to wire at 100/s, p99 ms", "log")
    bars(panels[2][0], chosen(rates, latency_ms=20.0), "worker_cpu_ms", "worker CPU of a command, ms, venue 20 ms")
    if scaled:
        growth(panels[2][1], scaled)
    else:
        panels[2][1].set_axis_off()
    machine, rounds = run["machine"], run["asked"]["rounds"]
    where = f"{machine['cores']} cores, {machine['memory_gb']} GB, Python {machine['python']}"
    figure.suptitle(f"{rounds} round{'s'[: rounds != 1]}; {where}")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
