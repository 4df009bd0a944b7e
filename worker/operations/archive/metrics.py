"""Metrics of an archive; :mod:`worker.observability.catalogue` names them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from worker.observability import catalogue
from worker.operations.archive.archiver import ArchiveState

if TYPE_CHECKING:
    from prometheus_client import Metric


def serve_metrics(state: ArchiveState, port: int) -> None:
    """Serve the metrics of an archive on every address of this machine.

    Raises:
        OSError: the port is taken.
    """
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector

    class StateCollector(Collector):
        """Reads the state when it is asked."""

        def collect(self) -> Iterator["Metric"]:
            values = (state.follows, state.tampered, state.last_checkpoint)
            for metric, value in zip(catalogue.ARCHIVE, values, strict=True):
                family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                if value is not None:
                    yield family(metric.name, metric.help, float(value))

    registry = CollectorRegistry()
    registry.register(StateCollector())
    start_http_server(port, registry=registry)
