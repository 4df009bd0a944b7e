"""What a metric is, as the catalogue lists them."""

from dataclasses import dataclass

FAST = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Buckets in seconds, for what takes milliseconds when all is well and is bounded by a timeout."""
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 300.0)
"""Buckets in seconds, for waiting at a venue or in a queue. 15 is how long Everstrike accepts a signed order
(``docs/venues.md``), 7.5 half of that."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    kind: str
    """``counter``, ``histogram`` or ``gauge``."""
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, in seconds."""


def counter(name: str, labels: str, text: str) -> Metric:
    """A counter; its labels are separated by blanks, here and below."""
    return Metric(name, "counter", tuple(labels.split()), text)


def gauge(name: str, labels: str, text: str) -> Metric:
    """A gauge."""
    return Metric(name, "gauge", tuple(labels.split()), text)


def histogram(name: str, labels: str, text: str, buckets: tuple[float, ...]) -> Metric:
    """A histogram."""
    return Metric(name, "histogram", tuple(labels.split()), text, buckets)
