"""The arithmetic: percentiles of one measurement, medians over rounds, ratios within a round."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""One measurement: ``part``, ``round``, ``contender``, what was set, and figures."""


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that so many per cent of the values don't exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part / 100 * len(ordered)) - 1)]


def spread(values: Sequence[float], prefix: str = "") -> dict[str, float]:
    """p50, p99 and the largest; nothing of nothing."""
    if not values:
        return {}
    return {
        f"{prefix}p50": percentile(values, 50),
        f"{prefix}p99": percentile(values, 99),
        f"{prefix}max": max(values),
    }


def chosen(records: Iterable[Record], **wanted: object) -> list[Record]:
    """The records with these entries."""
    return [each for each in records if all(each.get(name) == value for name, value in wanted.items())]


def over_rounds(records: Iterable[Record], figure: str) -> tuple[float, float, float] | None:
    """Least, median and largest of a figure; None when nobody measured it."""
    values = [each[figure] for each in records if each.get(figure) is not None]
    return (min(values), statistics.median(values), max(values)) if values else None


def by_round(records: Iterable[Record], figure: str) -> dict[int, float]:
    """A figure of each round, the median where a round has several."""
    rounds: dict[int, list[float]] = {}
    for each in records:
        if each.get(figure) is not None:
            rounds.setdefault(each["round"], []).append(each[figure])
    return {number: statistics.median(values) for number, values in rounds.items()}


def paired(over: Iterable[Record], under: Iterable[Record], figure: str) -> tuple[float, float, float] | None:
    """Least, median and largest of the ratios within each round, so that a machine that drifts drifts in both."""
    top, bottom = by_round(over, figure), by_round(under, figure)
    ratios = [top[number] / bottom[number] for number in top if bottom.get(number)]
    return (min(ratios), statistics.median(ratios), max(ratios)) if ratios else None


def best(records: Iterable[Record], name: str, figure: str, better: Callable[..., Any] = max) -> str | None:
    """Of the layouts of this contender, the one with the best median."""
    medians: dict[str, float] = {}
    found = list(records)
    for label in {each["contender"] for each in found if each["contender"].split("@")[0] == name}:
        told = over_rounds(chosen(found, contender=label), figure)
        if told:
            medians[label] = told[1]
    return better(medians, key=medians.__getitem__) if medians else None
