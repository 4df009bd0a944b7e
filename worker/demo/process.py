"""A process of the demo, with a log file and a way to report that it is ready.

The standard input of every process is a pipe from the demo, and the process ends when the pipe is closed. So none
outlives the demo, even if that is killed with SIGKILL (only the temporary folder remains then). Each process has its
own process group, so that Ctrl-C in the terminal reaches the demo alone, which then stops the processes in order.
"""

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from worker.demo.signals import heard_later

START_SECONDS = 120.0
"""How long a process may take to be ready: longer than a worker's imports take where ten programs share each core.
One that has ended is noticed at once."""
STOP_SECONDS = 10.0
"""How long a process may take to end after SIGTERM before it is killed."""
TAIL_LINES = 15


class ProcessFailed(Exception):
    """Raised when a process did not start or has ended; the text has its name, the reason and the end of its log."""


class DemoProcess:
    """One process; not for use from several threads."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str], *, ready_fd: bool = False
    ) -> None:
        """``ready_fd`` appends the number of a pipe to the command, to which the process writes a line once it is
        ready."""
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [*command]
        self._folder = folder
        self._environment = {**environment}
        self._ready_fd = ready_fd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start the process; returns the line that it wrote when it was ready, or "" without ``ready_fd``.

        Raises:
            ProcessFailed: the process ended, or was not ready in time.
        """
        if not self._ready_fd:
            self._spawn()
            return ""
        read_end, write_end = os.pipe()
        try:
            try:
                self._spawn(write_end)
            finally:
                os.close(write_end)
            return self._ready_line(read_end)
        finally:
            os.close(read_end)

    def _spawn(self, *pass_fds: int) -> None:
        # A process that was begun and is not known would outlive the folder, and write it anew.
        with self.log.open("ab") as log, heard_later():
            self._process = subprocess.Popen(  # noqa: S603 - our own modules, no shell
                [*self._command, *map(str, pass_fds)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                pass_fds=pass_fds,
                process_group=0,
            )

    def _ready_line(self, read_end: int) -> str:
        with selectors.DefaultSelector() as selector:
            selector.register(read_end, selectors.EVENT_READ)
            if not selector.select(START_SECONDS):
                raise self.failure(f"was not ready within {START_SECONDS:g} s")
        # A line of fewer than PIPE_BUF bytes arrives whole; an empty read means that the process has ended.
        line = os.read(read_end, 512).decode().strip()
        if not line:
            raise self.failure(f"ended before it was ready ({self._how_it_ended()})")
        return line

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until ``ready`` returns true.

        Raises:
            ProcessFailed: the process ended, or was not ready in time.
        """
        ends_at = time.monotonic() + START_SECONDS
        while not ready():
            self.check()
            if time.monotonic() > ends_at:
                raise self.failure(f"was not ready within {START_SECONDS:g} s")
            time.sleep(0.05)

    def check(self) -> None:
        """Raise ProcessFailed if the process has ended."""
        if not self.running:
            raise self.failure(f"ended by itself ({self._how_it_ended()})")

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End the process with SIGTERM, after a grace period with SIGKILL."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            if self._process.stdin is not None:
                self._process.stdin.close()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of its log."""
        try:
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def failure(self, why: str) -> ProcessFailed:
        """The error that says what happened to this process."""
        tail = self.tail() or "(nothing was logged)"
        return ProcessFailed(f"the {self.name} {why}. The last lines of {self.log}:\n\n{tail}")

    def _how_it_ended(self) -> str:
        if self._process is None:
            return "it was never started"
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "it is still running"
        return f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
