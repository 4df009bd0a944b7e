"""The arithmetic: percentiles of one measurement, medians over rounds, ratios within a round."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""One measurement: ``part``, ``round``, ``contender``, what was set, and figures."""
Span = tuple[float, float, float]
"""Least, median and largest."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many per cent of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def spread(values: Sequence[float], name: str) -> dict[str, float]:
    """p50, p99 and the largest of some milliseconds; empty when there are none."""
    if not values:
        return {}
    return {
        f"{name}_p50_ms": percentile(values, 50),
        f"{name}_p99_ms": percentile(values, 99),
        f"{name}_max_ms": max(values),
    }


def chosen(records: Iterable[Record], **wanted: object) -> list[Record]:
    """The records with these entries."""
    return [each for each in records if all(each.get(name) == value for name, value in wanted.items())]


def labels(records: Iterable[Record], name: str = "") -> list[str]:
    """The contenders, of all names or of one, in the order of the run."""
    found = dict.fromkeys(each["contender"] for each in records)
    return [label for label in found if not name or label.split("@")[0] == name]


def span(values: Sequence[float]) -> Span | None:
    """Least, median and largest; None when there are none."""
    return (min(values), statistics.median(values), max(values)) if values else None


def over_rounds(records: Iterable[Record], figure: str) -> Span | None:
    """The span of a figure over all rounds; None when it was not measured."""
    return span([each[figure] for each in records if each.get(figure) is not None])


def paired(over: Iterable[Record], under: Iterable[Record], figure: str) -> Span | None:
    """The span of the ratios within each round, so that a machine that drifts drifts in both; each side has one record
    a round."""
    below = {each["round"]: each[figure] for each in under if each.get(figure)}
    return span([each[figure] / below[each["round"]] for each in over if figure in each and each["round"] in below])


def least(records: Sequence[Record], figure: str) -> str | None:
    """The contender with the least median."""
    medians = {label: over_rounds(chosen(records, contender=label), figure) for label in labels(records)}
    return min((label for label, told in medians.items() if told), key=lambda label: medians[label][1], default=None)
