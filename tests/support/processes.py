"""Nodes that are local processes."""

import shlex
import signal as signals
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.node import ROOT, START_SECONDS, Node, outer_environment


class ProcessNode(Node):
    """A local process in the place of a Docker container: same names, same meanings."""

    celery = (sys.executable, "-m", "celery")
    cwd = ROOT
    """Where it runs; of a worker also whose code it is."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(name, folder, environment)
        self.log_file = self.folder / f"{self.name}.log"
        self.log_file.touch()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def status(self) -> str:
        """`running` or `exited`."""
        return "running" if self.process is not None and self.process.poll() is None else "exited"

    @property
    def pid(self) -> int:
        """The process id of the present or the last run."""
        assert self.process is not None
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """What the process exited with; None while it runs."""
        return self.process.poll() if self.process is not None else None

    def logs(self) -> str:
        """Everything that the process printed, over all of its starts."""
        return self.log_file.read_text(errors="replace")

    def start(self) -> None:
        """Start the process; returns at once."""
        assert self.status != "running", f"{self.name} runs already"
        self._log_start = self.log_size()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                list(self.arguments()),
                cwd=self.cwd,
                env={**outer_environment(), **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _signal(self, number: signals.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number is signals.SIGKILL:
            self.process.wait(START_SECONDS)

    def teardown(self) -> None:
        """End the process whatever state it is in; safe to call twice."""
        self.kill()

    def stop(self, timeout: float = 10) -> None:
        """SIGTERM, and SIGKILL when that takes longer than `timeout`."""
        if self.process is None or self.status == "exited":
            return
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def exec_run(self, command: str | Sequence[str]) -> tuple[int, bytes]:
        """Run a command with this node's environment: exit code and output."""
        words = shlex.split(command) if isinstance(command, str) else list(command)
        environment = {**outer_environment(), **self.environment}
        output = subprocess.PIPE
        done = subprocess.run(words, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
        return done.returncode, done.stdout
