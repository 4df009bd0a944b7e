"""Serving a worker's metrics to Prometheus: one HTTP port for each worker, its pool's processes included.

A pool of threads is one process, whose values are in its memory. The processes of a prefork pool write theirs to files
in a shared folder (prometheus_client's multiprocess mode), and the parent process serves the sums.
"""

import json
import logging
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

logger = logging.getLogger("orders.metrics")

SHARED_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that prometheus_client reads."""


def share_among_processes() -> Path | None:
    """Let the processes of a pool keep their values in files. To be called before the first metric is created.

    Returns the folder to remove at the end; None when the environment names a folder, which is then not removed.
    """
    from prometheus_client import values

    if os.environ.get(SHARED_DIR):
        return None
    folder = Path(tempfile.mkdtemp(prefix="orders-metrics-"))
    os.environ[SHARED_DIR] = str(folder)
    # prometheus_client chose at its import, and the `celery` program imports it early, with Flower's commands.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call] # the library's gap
    return folder


def registries() -> tuple["CollectorRegistry", "CollectorRegistry"]:
    """The registry for new metrics and the one that is served: the same, unless several processes are summed."""
    from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
    from prometheus_client.multiprocess import MultiProcessCollector

    disable_created_metrics()  # type: ignore[no-untyped-call]
    own = CollectorRegistry()
    served = own
    if os.environ.get(SHARED_DIR):
        served = CollectorRegistry()
        MultiProcessCollector(served)  # type: ignore[no-untyped-call]
    ProcessCollector(registry=served)
    return own, served


@dataclass(slots=True)
class Endpoint:
    """The HTTP port of one worker."""

    address: str
    port: int
    _server: Any
    _target: Path | None
    pid: int
    """Of the process that serves it."""

    def close(self) -> None:
        """Stop serving; in a process of the pool, which inherits the port, only close that."""
        if os.getpid() != self.pid:
            self._server.socket.close()
            return
        self._server.shutdown()
        self._server.server_close()
        if self._target is not None:
            self._target.unlink(missing_ok=True)


def serve(
    registry: "CollectorRegistry", address: str, first_port: int, ports: int, targets_dir: str
) -> Endpoint | None:
    """Serve on the first free one of ``ports`` ports from ``first_port`` on.

    When there is none, log an error and return None: commands are executed anyway. ``targets_dir`` is the folder for
    Prometheus' service discovery, or empty.
    """
    from prometheus_client import start_http_server

    for port in range(first_port, min(first_port + ports, 65_536)):
        try:
            server, _ = start_http_server(port, address, registry)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            continue
        endpoint = Endpoint(address, port, server, _write_target(targets_dir, address, port), os.getpid())
        logger.info("metrics are served on http://%s:%d/metrics", address, port)
        return endpoint
    logger.error(
        "no metrics: none of the ports %d to %d of %s is free (%s). Set ORDERS_METRICS__PORT, or more "
        "ORDERS_METRICS__PORTS; commands are executed all the same",
        first_port,
        first_port + ports - 1,
        address,
        reason,
    )
    return None


def _write_target(folder: str, address: str, port: int) -> Path | None:
    """Write the file that tells Prometheus of this worker (``file_sd_configs``). A worker that was killed leaves its
    file behind, and the next one on its port replaces it."""
    if not folder:
        return None
    host = socket.gethostname() if address in ("0.0.0.0", "::") else address  # noqa: S104 - compared, not bound
    target = Path(folder) / f"{host}_{port}.json"
    targets = [{"targets": [f"{host}:{port}"], "labels": {"pid": str(os.getpid())}}]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Written to another file and moved, because Prometheus reads the file whenever it changes.
        written = target.with_suffix(f".{os.getpid()}.new")
        written.write_text(json.dumps(targets), encoding="utf-8")
        written.replace(target)
    except OSError as error:
        logger.error("ORDERS_METRICS__TARGETS_DIR: %s can't be written: %s", target, error.strerror)  # noqa: TRY400
        return None
    return target


def remove(folder: Path | None) -> None:
    """Remove the folder that :func:`share_among_processes` created."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
