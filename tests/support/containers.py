"""Nodes that are containers, on this machine's network, so that one address does for all.

Workers, server, simulator and tests meet at 127.0.0.1 as they do when they are processes; that is what lets the same
tests run on both. tests/stack looks at the networks of the real stack. The images are those that compose/offline/build
makes, unless `ORDERS_TEST_WORKER_IMAGE` and `ORDERS_TEST_SERVER_IMAGE` name others.
"""

import os
import shlex
import signal as signals
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import docker
from docker.models.containers import Container
from pytest_docker_tools import wrappers

from tests.support.node import START_SECONDS, Node

WORKER_IMAGE = os.environ.get("ORDERS_TEST_WORKER_IMAGE", "order-execution-worker:local")
SERVER_IMAGE = os.environ.get("ORDERS_TEST_SERVER_IMAGE", "orders-server:local")
LABEL = "orders-test"
"""On every container, with the mark of the test run that made it."""


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
    server_program = "valkey-server"
    data_folder = "/data"

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(name, folder, environment)
        self._image = WORKER_IMAGE if name == "worker" else SERVER_IMAGE
        self._container: Container | None = None

    @property
    def status(self) -> str:
        """`running` or `exited`."""
        if self._container is None:
            return "exited"
        self._container.reload()
        return "running" if self._container.status == "running" else "exited"

    @property
    def pid(self) -> int:
        """The process id, as this machine counts."""
        assert self._container is not None
        self._container.reload()
        return int(self._container.attrs["State"]["Pid"])

    @property
    def exit_code(self) -> int | None:
        """What the program exited with, None while it runs; an end by signal N is -N, where Docker says 128 + N."""
        if self._container is None or self.status == "running":
            return None
        code = int(self._container.attrs["State"]["ExitCode"])
        return 128 - code if code > 128 else code

    def logs(self) -> str:
        """Everything that the program printed, over all of its starts."""
        return self._container.logs().decode(errors="replace") if self._container else ""

    def written_files(self, suffix: str) -> list[bytes]:
        """The files below the data folder whose names end like this, in their order."""
        found = wrappers.Container(self._container).get_files(self.data_folder)
        return [content for name, content in sorted(found.items()) if name.endswith(suffix) and content is not None]

    def start(self) -> None:
        """Start the container; returns when Docker has."""
        assert self.status != "running", f"{self.name} runs already"
        if self._container is None:
            self._container = self._create()
        self._log_start = self.log_size()
        self._container.start()

    def _create(self) -> Container:
        program, *arguments = self.arguments()
        # A file that a setting names is there under its own name.
        files = {value for value in self.environment.values() if value.startswith("/") and Path(value).is_file()}
        return engine().containers.create(
            self._image,
            entrypoint=[program],
            command=arguments,
            name=f"orders-test-{self.name}",
            environment=self.environment,
            network_mode="host",
            labels={LABEL: os.environ.get("TEST_SESSION_MARK", "")},
            volumes={file: {"bind": file, "mode": "ro"} for file in files},
        )

    def _signal(self, number: signals.Signals) -> None:
        assert self._container is not None
        self._container.kill(int(number))
        if number is signals.SIGKILL:
            self._container.wait(timeout=START_SECONDS)

    def stop(self, timeout: float = 10) -> None:
        """SIGTERM, and SIGKILL when that takes longer than `timeout`."""
        if self._container is not None:
            self._container.stop(timeout=int(timeout))

    def teardown(self) -> None:
        """Remove the container whatever state it is in; safe to call twice."""
        container, self._container = self._container, None
        if container is not None:
            container.remove(force=True, v=True)

    def exec_run(self, command: str | Sequence[str]) -> tuple[int, bytes]:
        """Run a command in the container: exit code and output."""
        assert self._container is not None
        words = shlex.split(command) if isinstance(command, str) else list(command)
        done = self._container.exec_run(["python3" if word == sys.executable else word for word in words])
        return done.exit_code, done.output
