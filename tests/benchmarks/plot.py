"""Draws a run: ``.venv-bench/bin/python -m tests.benchmarks.plot benchmarks.json benchmarks.svg``.

Runs where matplotlib is, and knows this project's arithmetic alone. A bar is the median over the rounds, its whisker
the least and the largest.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from tests.benchmarks.figures import Record, chosen, over_rounds
from tests.benchmarks.table import number

OURS, THEIRS = "#1f6f8b", "#b8b8b8"
LATENCIES = (0.0, 20.0, 100.0)


def labels(records: Sequence[Record]) -> list[str]:
    """Contenders, in the order of the run."""
    return list(dict.fromkeys(each["contender"] for each in records))


def colour(label: str) -> str:
    """Ours stands out."""
    return OURS if label.startswith("ours") else THEIRS


def bars(axes: Any, records: Sequence[Record], figure: str, title: str) -> None:
    """One bar for each contender."""
    if not records:
        axes.set_axis_off()  # not measured in this run
        return
    who = [label for label in labels(records) if over_rounds(chosen(records, contender=label), figure)]
    told = [over_rounds(chosen(records, contender=label), figure) or (0, 0, 0) for label in who]
    spans = [[middle - low for low, middle, _ in told], [high - middle for _, middle, high in told]]
    places = range(len(who))
    axes.barh(
        places, [middle for _, middle, _ in told], xerr=spans, color=[colour(each) for each in who], ecolor="#444"
    )
    axes.set_yticks(places, who, fontsize=7)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9)
    for place, (_, middle, high) in zip(places, told, strict=True):
        axes.text(high, place, f" {number(middle)}", va="center", fontsize=7)
    axes.margins(x=0.15)


def growth(axes: Any, records: Sequence[Record]) -> None:
    """Commands a second by processes, beside the straight line."""
    if not records:
        axes.set_axis_off()
        return
    layouts = dict.fromkeys(each["contender"].rpartition("x")[0] for each in records)
    for latency, layout in [(latency, layout) for latency in (20.0, 100.0) for layout in layouts]:
        own = [each for each in records if each["contender"].startswith(f"{layout}x")]
        rows = chosen(own, latency_ms=latency)
        counts = sorted({each["processes"] for each in rows})
        told = [over_rounds(chosen(rows, processes=count), "rate") or (0, 0, 0) for count in counts]
        if not counts:
            continue
        label = f"venue {latency:g} ms, {layout.partition('@')[2]}"
        line = axes.plot(counts, [middle for _, middle, _ in told], marker="o", label=label)[0]
        straight = [told[0][1] * count / counts[0] for count in counts]
        axes.plot(counts, straight, linestyle=":", color=line.get_color(), linewidth=1)
        axes.fill_between(counts, [low for low, _, _ in told], [high for _, _, high in told], alpha=0.2)
    best = max((each["rate"] for each in records), default=1)
    axes.set_ylim(0, best * 1.4)
    axes.set_title("this worker: commands/s by processes (dotted: linear)", fontsize=9)
    axes.legend(fontsize=7)


def draw(told: dict[str, Any], path: Path) -> None:
    """All panels into one picture."""
    records = told["records"]
    figure, panels = plt.subplots(3, 2, figsize=(12, 12))
    rates = chosen(records, part="throughput")
    for axes, latency in zip((panels[0][0], panels[0][1], panels[1][0]), LATENCIES, strict=True):
        bars(axes, chosen(rates, latency_ms=latency), "rate", f"commands/s, venue {latency:g} ms")
    bars(panels[1][1], chosen(records, part="latency"), "wire_p50", "enqueue to wire at 100/s, p50 ms")
    bars(panels[2][0], chosen(records, part="latency"), "wire_p99", "enqueue to wire at 100/s, p99 ms")
    if chosen(records, part="latency"):
        for axes in (panels[1][1], panels[2][0]):
            axes.set_xscale("log")
    growth(panels[2][1], chosen(records, part="scaling"))
    machine, rounds = told["machine"], told["asked"]["rounds"]
    where = f"{machine['cores']} cores, {machine['memory_gb']} GB, Python {machine['python']}"
    figure.suptitle(f"{rounds} round{'s'[: rounds != 1]}; {where}")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
