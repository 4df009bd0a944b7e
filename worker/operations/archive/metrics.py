"""Metrics of an archive."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

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
            yield GaugeMetricFamily("orders_archive_last_seq", "seq of the last archived entry.", state.last_seq)
            yield CounterMetricFamily("orders_archive_entries", "Entries archived.", state.entries)
            yield CounterMetricFamily("orders_archive_tampered", "Signs of tampering with the journal.", state.tampered)
            yield CounterMetricFamily("orders_archive_gaps", "Restarts that lost entries.", state.gaps)
            times = (("read", state.last_read), ("checkpoint", state.last_checkpoint))
            for what, at in times:
                name = f"orders_archive_last_{what}_timestamp_seconds"
                yield GaugeMetricFamily(name, f"When the last {what} succeeded, UNIX seconds.", at)

    registry = CollectorRegistry()
    registry.register(StateCollector())
    start_http_server(port, registry=registry)
