"""Running the simulator: `serve` in this process until Ctrl-C, `SimulatorServer` in a process of its own.

serve(host="127.0.0.1", port=9100, demo=True, allow_remote=False, ...)   blocks; the CLI's `orders simulator`
with SimulatorServer(port=0, demo=True, log_level="warning") as server:  # .url .port .pid .control
    ...
server.start(); server.stop(); server.start()                            # the second start reuses the port
"""

import ipaddress
import os
import selectors
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

from worker.simulator.control import SimulatorControl

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9100


class SimulatorError(Exception):
    """The simulator could not be started."""


def check_host(host: str, *, allow_remote: bool) -> None:
    """Refuse an address that other machines can reach, because the control API has no password.

    Raises ValueError. A host name other than localhost counts as remote, because it may resolve to any address.
    """
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and not allow_remote:
        raise ValueError(
            f"the simulator listens on loopback addresses only, not on {host}: "
            "its control API has no password. --allow-remote overrides this"
        )


def serve(
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    demo: bool = True,
    allow_remote: bool = False,
    on_ready: Callable[[str], None] | None = None,
    stop_with_stdin: bool = False,
) -> None:
    """Serve the venues until Ctrl-C or SIGTERM. Logs a line for each request, at INFO of the logger
    `worker.simulator`.

    `port` 0 takes a free port. `on_ready` is called with the URL once the server listens. `stop_with_stdin` ends it
    when its standard input ends, and so also when its parent process is killed. Raises ValueError as `check_host` does,
    and SystemExit if the port is taken.
    """
    check_host(host, allow_remote=allow_remote)
    from worker.simulator.http.app import run  # not at the top: the parent of a simulator process needs no web server

    run(host, port, demo=demo, on_ready=on_ready, stop_with_stdin=stop_with_stdin)


def _environment() -> dict[str, str]:
    """The environment, with this package importable from any working directory."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


class SimulatorServer:
    """A simulator in a process of its own: `start`, `stop`, or a `with` block. Not for use from several threads."""

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = DEFAULT_HOST,
        demo: bool = True,
        log_level: str = "warning",
        start_seconds: float = 30.0,
    ) -> None:
        self.port = port
        self._host = host
        self._demo = demo
        self._log_level = log_level
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of all venues."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def control(self) -> SimulatorControl:
        """A client of its control API."""
        return SimulatorControl(self.url)

    @property
    def pid(self) -> int | None:
        """The id of the process, or None if there is none."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start the process and return once it listens; raises SimulatorError after `start_seconds`.

        Port 0 is replaced by the port that the process got, so that it listens on the same one when started again.
        """
        if self._process is not None:
            raise SimulatorError("the simulator is running already")
        read_end, write_end = os.pipe()
        try:
            # Its standard input is a pipe that ends with this process, even if that is killed.
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                self._command(write_end), stdin=subprocess.PIPE, pass_fds=(write_end,), env=_environment()
            )
        finally:
            os.close(write_end)
        try:
            self.port = int(self._first_line(read_end).rsplit(":", 1)[1])
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(read_end)
        return self

    def stop(self, grace_seconds: float = 5.0) -> None:
        """End the process with SIGTERM, after a grace period with SIGKILL. Does nothing if there is none."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            if process.stdin is not None:
                process.stdin.close()

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def _command(self, ready_fd: int) -> list[str]:
        options = ["--host", self._host, "--port", str(self.port), "--log-level", self._log_level]
        options += ["--ready-fd", str(ready_fd), "--stop-with-stdin"]
        return [sys.executable, "-m", "worker.simulator", *options, *([] if self._demo else ["--empty"])]

    def _first_line(self, read_end: int) -> str:
        with selectors.DefaultSelector() as selector:
            selector.register(read_end, selectors.EVENT_READ)
            ready = selector.select(self._start_seconds)
        # One write of fewer than PIPE_BUF bytes arrives whole; an empty read means that the process has ended.
        line = os.read(read_end, 512).decode().strip() if ready else ""
        if not line:
            raise SimulatorError(f"the simulator did not start listening within {self._start_seconds} s; see its log")
        return line

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
