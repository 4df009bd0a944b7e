"""A node that is a container: pytest-celery's own kind, on this machine's network, so that one address does for all.

Workers, server, simulator and tests meet at 127.0.0.1 as they do when they are processes; that is what lets the same
tests run on both. How the stack's own networks part them is looked at by tests/stack. The images are those that
compose/offline/build makes, unless `ORDERS_TEST_WORKER_IMAGE` and `ORDERS_TEST_SERVER_IMAGE` name others.
"""

import os
import shlex
import signal as signals
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
from docker.models.containers import Container
from pytest_docker_tools.wrappers import Container as Wrapped

from tests.support.node import START_SECONDS, Node

IMAGES = {
    "worker": os.environ.get("ORDERS_TEST_WORKER_IMAGE", "order-execution-worker:local"),
    "server": os.environ.get("ORDERS_TEST_SERVER_IMAGE", "orders-server:local"),
}
KILLED = 128
"""Docker tells an end by a signal as 128 and its number; the rest of the world as minus its number."""

LABEL = "orders-test"
"""On every container, with the mark of the run that made it."""


@cache
def engine() -> docker.DockerClient:
    """Docker, where the environment says it is."""
    return docker.from_env()


def left_behind(mark: str) -> list[str]:
    """Remove the containers that a run forgot; their names."""
    found = engine().containers.list(all=True, filters={"label": f"{LABEL}={mark}"})
    for each in found:
        each.remove(force=True, v=True)
    return [each.name for each in found]


class ContainerNode(Node):
    """A container, made at its first start and removed by `teardown`. Its data and its log outlive a `kill`."""

    celery = ("celery",)
    server = "valkey-server"

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._id = uuid4().hex
        self._name = f"orders-test-{name}-{self._id[:6]}"
        self._image = IMAGES["worker" if name == "worker" else "server"]
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environment = dict(environment or {})
        self._made: Container | None = None

    @property
    def data_folder(self) -> str:
        """Where a server keeps its data."""
        return "/data"

    def written(self, suffix: str) -> list[bytes]:
        """The files below the data folder whose names end like this, in their order."""
        found = self.get_files(self.data_folder)
        return [content for name, content in sorted(found.items()) if name.endswith(suffix) and content is not None]

    @property
    def id(self) -> str:
        """Ours, for Docker's own is not known before it is made, and a worker is named by it."""
        return self._id

    @property
    def name(self) -> str:
        """As Docker knows it."""
        return self._name

    @property
    def attrs(self) -> dict[str, Any]:
        """Docker's attributes, with our id as the name of the host."""
        found = dict(self._made.attrs) if self._made else {}
        return {**found, "Config": {**found.get("Config", {}), "Hostname": self._id[:12]}}

    def reload(self) -> None:
        """Ask Docker again."""
        if self._made:
            self._made.reload()

    @property
    def status(self) -> str:
        """`running` or `exited`."""
        self.reload()
        return "running" if self._made and self._made.status == "running" else "exited"

    @property
    def pid(self) -> int:
        """The process id, as this machine counts."""
        assert self._made is not None
        self.reload()
        return int(self._made.attrs["State"]["Pid"])

    @property
    def exit_code(self) -> int | None:
        """What it exited with; None while it runs, or has never run."""
        if self._made is None or self.status == "running":
            return None
        code = int(self._made.attrs["State"]["ExitCode"])
        return KILLED - code if code > KILLED else code

    def logs(self) -> str:
        """Everything it said, over all of its starts."""
        return self._made.logs().decode(errors="replace") if self._made else ""

    def start(self) -> None:
        """Start it; returns when Docker has."""
        assert self.status != "running", f"{self.name} runs already"
        if self._made is None:
            self._made = self._make()
            # From here on it has all that pytest-celery's containers have.
            Wrapped.__init__(self, self._made)
        self._log_start = self.log_size()
        self._made.start()

    def _make(self) -> Container:
        entry, *rest = self.arguments()
        # A file that a setting names is there under its own name.
        files = {value for value in self.environment.values() if value.startswith("/") and Path(value).is_file()}
        return engine().containers.create(
            self._image,
            entrypoint=[entry],
            command=rest,
            name=self._name,
            environment=self.environment,
            network_mode="host",
            labels={LABEL: os.environ.get("TEST_SESSION_MARK", "")},
            volumes={file: {"bind": file, "mode": "ro"} for file in files},
        )

    def kill(self, signal: str | int | None = None) -> None:
        """Send a signal, SIGKILL unless said otherwise. After SIGKILL it is gone when this returns."""
        number = signals.Signals[signal] if isinstance(signal, str) else signals.Signals(signal or signals.SIGKILL)
        if self._made is None or self.status != "running":
            return
        self._made.kill(int(number))
        if number is signals.SIGKILL:
            self._made.wait(timeout=START_SECONDS)

    def stop(self, timeout: float = 10) -> None:
        """SIGTERM, and SIGKILL when that takes longer than `timeout`."""
        if self._made is not None:
            self._made.stop(timeout=int(timeout))

    def teardown(self) -> None:
        """End and remove it whatever state it is in; safe to call twice."""
        made, self._made = self._made, None
        if made is not None:
            made.remove(force=True, v=True)

    def exec_run(self, command: str | Sequence[str], **_: Any) -> tuple[int, bytes]:
        """Run a command in it: exit code and output."""
        assert self._made is not None
        words = shlex.split(command) if isinstance(command, str) else list(command)
        done = self._made.exec_run(["python3" if word == sys.executable else word for word in words])
        return done.exit_code, done.output
